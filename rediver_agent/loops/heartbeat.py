"""Says what this agent can do and holds, which renews its leases; hears what to let go.

Undelivered commands are named too: their results are on the way.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import anyio.to_thread

from rediver_agent import __version__
from rediver_agent.client import Client
from rediver_agent.configuration import Configuration
from rediver_agent.contract.heartbeat import Heartbeat, RunningCommand
from rediver_agent.errors import ServerError, SpoolDamaged, SpoolError
from rediver_agent.executor import Cause, Executor
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.spool import Spool
from rediver_agent.status import Status

log = logging.getLogger(__name__)

RENEW_SECONDS: Final = 20.0  # a third of the server's lease
SILENCE: Final = timedelta(seconds=40)  # after which the lease may soon be over


@dataclass(slots=True)
class HeartbeatLoop:
    """Beats at the configured interval, and at least every 20 s while something is held."""

    client: Client
    executor: Executor
    spool: Spool
    configuration: Configuration
    runtime: Status
    scanners: Callable[[], list[str]]
    collectors: Callable[[], list[str]]
    hostname: str
    instance_id: str
    started: datetime
    now: Callable[[], datetime]
    bell: Doorbell
    on_damage: Callable[[], None]
    status: str = "running"
    _holds: bool = False

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            try:
                await self.beat()
            except SpoolDamaged as fault:
                log.error("heartbeat: %s", fault)
                self.on_damage()
            except SpoolError as fault:
                log.error("heartbeat: %s", fault)
                self._holds = True
            interval = self.configuration.settings.agent.heartbeat_interval.total_seconds()
            wait = min(interval, RENEW_SECONDS) if self._holds else interval
            self.runtime.heartbeat.next_at = self.now() + timedelta(seconds=wait)
            await self.bell.wait(wait)

    async def catch_up(self) -> None:
        """Beat now if something is held that the server may have missed for a whole lease."""
        last = self.runtime.heartbeat.last_good_at
        heard = last is not None and abs(self.now() - last) < SILENCE
        if self._holds and not (heard and self.runtime.heartbeat.problem is None):
            await self.beat()

    async def beat(self) -> bool:
        """One heartbeat. Returns whether the server has accepted it."""
        held = await anyio.to_thread.run_sync(self.spool.held)
        self._holds = bool(held)
        running = [
            RunningCommand(command_id=command.id, attempt=command.attempt) for command in held
        ]
        try:
            reply = await self.client.heartbeat(self._heartbeat(running))
        except ServerError as fault:
            news = self.runtime.heartbeat.went_wrong(self.now(), str(fault))
            log.log(logging.WARNING if news else logging.DEBUG, "heartbeat: %s", fault)
            return False
        self.runtime.heartbeat.went_well(self.now())
        for command_id in reply.cancel:
            if self.executor.cancel(command_id, Cause.CANCELLED):
                log.info("%s: the server asks to cancel it", command_id)
        for command_id in reply.lost:
            # Of those it was asked about: a later attempt may have begun since.
            named = {each.attempt for each in held if each.id == command_id}
            if self.executor.cancel(command_id, Cause.LEASE_LOST, attempts=named):
                log.warning("%s: the server has given it away; it is ended", command_id)
        return True

    def _heartbeat(self, running: list[RunningCommand]) -> Heartbeat:
        agent = self.configuration.settings.agent
        return Heartbeat(
            name=agent.name,
            status=self.status,
            version=__version__,
            hostname=self.hostname,
            scanners=self.scanners(),
            collectors=self.collectors(),
            # One that does not poll takes nothing, and the server must not wait for it.
            command_types=self.executor.command_types if agent.enable_command_polling else [],
            uptime_seconds=max(0.0, (self.now() - self.started).total_seconds()),
            total_scans=self.executor.finished,
            errors=self.executor.failed,
            instance_id=self.instance_id,
            running=running,
        )
