"""`restart`: end when what runs is done, or after the grace period, and start anew.

Its result is written by the agent that has started: `completed` is never said of a restart that did
not come to be. An agent whose configuration has been broken meanwhile goes on as it is.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import anyio
import anyio.to_thread

from rediver_agent.contract.commands import RestartCommand
from rediver_agent.contract.results import CommandResult, Reason, ResultStatus
from rediver_agent.errors import ConfigurationError, InvalidPayload
from rediver_agent.executor import Job, Outcome, failure
from rediver_agent.spool import Spool

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 20.0  # a file may lie on a share that is away, or be a pipe


@dataclass(frozen=True, slots=True)
class RestartHandler:
    """Restarts. `request` asks the agent to drain for so long and to start anew.

    `check` raises `ConfigurationError` where the next start would.
    """

    spool: Spool
    check: Callable[[], object]
    request: Callable[[timedelta], None]

    async def handle(self, job: Job) -> Outcome:
        """Deferred: the next start is the outcome."""
        if not isinstance(job.command, RestartCommand):
            raise InvalidPayload("a restart command has a number grace_period_seconds")
        try:
            with anyio.fail_after(CHECK_SECONDS):
                await anyio.to_thread.run_sync(self.check, abandon_on_cancel=True)
        except ConfigurationError as fault:
            return failure(Reason.CONFIG_REJECTED, f"the agent could not start anew: {fault}")
        except TimeoutError:
            return failure(
                Reason.CONFIG_REJECTED,
                f"the agent could not start anew: its configuration, or a file that it names, "
                f"could not be read in {CHECK_SECONDS:g} s",
            )
        await anyio.to_thread.run_sync(self.spool.restarting, job.id)
        grace = timedelta(seconds=job.command.payload.grace_period_seconds)
        log.info(
            "%s: the agent starts anew when what runs is done, after %s at most", job.id, grace
        )
        self.request(grace)
        return Outcome(deferred=True)


def give_up_restarts(spool: Spool, now: datetime) -> None:
    """Answer those that will not come to be, because the agent was told to stop meanwhile."""
    for command in spool.held():
        if command.state == "restarting":
            stopped = CommandResult(
                status=ResultStatus.FAILED,
                completed_at=now,
                error="the agent was stopped before it could start anew",
                metadata={"reason": Reason.AGENT_STOPPED.value},
                attempt=command.attempt,
            )
            spool.finish(command.id, stopped, ())
