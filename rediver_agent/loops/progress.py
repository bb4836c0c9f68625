"""Tells the server how far a command is: at once, then when that changes, at most once a second."""

import logging
from dataclasses import dataclass, field
from typing import Final

import anyio
from pydantic import ValidationError

from rediver_agent.client import Client
from rediver_agent.contract.commands import ScanCommand
from rediver_agent.contract.results import Progress
from rediver_agent.errors import ServerError
from rediver_agent.executor import Cause, Executor, Job
from rediver_agent.loops.doorbell import Doorbell

log = logging.getLogger(__name__)

LEAST_SECONDS: Final = 1.0
MAX_MESSAGE: Final = 1000  # the contract's cap


@dataclass(slots=True)
class ProgressSender:
    """One command's progress. The first one moves it to `running` on the server."""

    client: Client
    executor: Executor
    job: Job
    instance_id: str
    _changed: Doorbell = field(default_factory=Doorbell)

    async def run(self) -> None:
        """Send until cancelled. A server that is away costs a missed progress, nothing else."""
        self.job.watcher = lambda _: self._changed.ring()
        await self._send()
        while self._wanted():
            await anyio.sleep(LEAST_SECONDS)
            await self._changed.wait(at_most=float("inf"))
            await self._send()

    def _wanted(self) -> bool:
        command = self.job.command
        return isinstance(command, ScanCommand) and command.payload.report_progress

    async def _send(self) -> None:
        try:
            progress = Progress(
                attempt=self.job.attempt,
                instance_id=self.instance_id,
                percent=self.job.percent,
                message=self.job.message[:MAX_MESSAGE] or None,
            )
            reply = await self.client.progress(self.job.id, progress)
        except (ServerError, ValidationError) as fault:  # a plugin's words may be no text at all
            log.debug("%s: progress: %s", self.job.id, fault)
            return
        if reply.cancel_requested:
            self.executor.cancel(self.job.id, Cause.CANCELLED)
