"""Says what this agent can do and holds, which renews its leases; hears what to let go.

Undelivered commands are named too: their results are on the way.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import anyio.to_thread

from rediver_agent import __version__
from rediver_agent.client import Client
from rediver_agent.contract.heartbeat import Heartbeat, RunningCommand
from rediver_agent.errors import ServerError, SpoolError
from rediver_agent.executor import Cause, Executor
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.settings import AgentSection
from rediver_agent.spool import Spool

log = logging.getLogger(__name__)

RENEW_SECONDS: Final = 20.0  # a third of the server's lease


@dataclass(slots=True)
class HeartbeatLoop:
    """Beats at the configured interval, and at least every 20 s while something is held."""

    client: Client
    executor: Executor
    spool: Spool
    settings: AgentSection
    scanners: Callable[[], list[str]]
    hostname: str
    instance_id: str
    started: datetime
    now: Callable[[], datetime]
    bell: Doorbell
    status: str = "running"

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            try:
                held = await self.beat()
            except SpoolError as fault:
                log.error("heartbeat: %s", fault)
                held = True
            interval = self.settings.heartbeat_interval.total_seconds()
            await self.bell.wait(min(interval, RENEW_SECONDS) if held else interval)

    async def beat(self) -> bool:
        """One heartbeat. Returns whether anything is held."""
        held = await anyio.to_thread.run_sync(self.spool.held)
        running = [
            RunningCommand(command_id=command.id, attempt=command.attempt) for command in held
        ]
        try:
            reply = await self.client.heartbeat(self._heartbeat(running))
        except ServerError as fault:
            log.warning("heartbeat: %s", fault)
            return bool(held)
        for command_id in reply.cancel:
            if self.executor.cancel(command_id, Cause.CANCELLED):
                log.info("%s: the server asks to cancel it", command_id)
        for command_id in reply.lost:
            if self.executor.cancel(command_id, Cause.LEASE_LOST):
                log.warning("%s: the server has given it away; it is ended", command_id)
        return bool(held)

    def _heartbeat(self, running: list[RunningCommand]) -> Heartbeat:
        return Heartbeat(
            name=self.settings.name,
            status=self.status,
            version=__version__,
            hostname=self.hostname,
            scanners=self.scanners(),
            collectors=[],
            command_types=self.executor.command_types,
            uptime_seconds=max(0.0, (self.now() - self.started).total_seconds()),
            total_scans=self.executor.finished,
            errors=self.executor.failed,
            instance_id=self.instance_id,
            running=running,
        )
