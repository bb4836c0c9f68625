"""The composition root: builds an agent from its settings and runs it, one task group for all.

Stop is not cancel. The first SIGTERM or SIGINT drains: nothing new is claimed, what runs is
finished, the spool is tried once more. The second cancels what runs. The third ends the process.
"""

import logging
import os
import shutil
import signal
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from rediver_agent import process
from rediver_agent.client import Client
from rediver_agent.contract.results import CommandResult, Reason, ResultStatus
from rediver_agent.errors import ConfigurationError, DiskFull, ServerError, SpoolError
from rediver_agent.executor import Cause, Executor, Handler
from rediver_agent.handlers.cancel import CancelHandler
from rediver_agent.handlers.health_check import HealthCheckHandler
from rediver_agent.handlers.scan import ScanHandler
from rediver_agent.loops.deliver import DeliverLoop
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.heartbeat import HeartbeatLoop
from rediver_agent.loops.poll import PollLoop
from rediver_agent.masking import mask
from rediver_agent.policy import Policy
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.state_dir import StateLock

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 30.0  # for ending every tool, and for the last word to the server
THIRD_SIGNAL_EXIT: Final = 3


def utc_now() -> datetime:
    """The clock that is handed to everything that needs one."""
    return datetime.now(UTC)


def open_spool(settings: Settings, now: Callable[[], datetime] = utc_now) -> Spool:
    """The spool of an agent's state directory, behind the mask of its configured secrets."""
    return Spool(
        settings.state_dir,
        now=now,
        mask=lambda text: mask(text, *settings.secrets()),
        max_bytes=settings.retry_queue.max_bytes,
    )


def build_executor(
    settings: Settings,
    registry: Registry,
    spool: Spool,
    *,
    now: Callable[[], datetime] = utc_now,
    clock_skew: Callable[[], timedelta] = timedelta,
) -> Executor:
    """The one consumer, with a handler for every type that this agent knows."""
    policy = Policy(settings.security.allowed_command_types, settings.allowed_roots())
    handlers: dict[str, Handler] = {
        "scan": ScanHandler(registry, settings, policy, spool, now),
        "health_check": HealthCheckHandler(registry, settings, spool, now, now()),
    }
    executor = Executor(
        handlers,
        policy=policy,
        spool=spool,
        max_concurrent=settings.agent.max_concurrent,
        now=now,
        clock_skew=clock_skew,
    )
    handlers["cancel"] = CancelHandler(executor.cancel)
    return executor


def usable_scanners(settings: Settings, registry: Registry) -> list[str]:
    """Enabled scanners whose program is there, by name. A look at the disk; nothing is started."""
    return [
        name
        for name, scanner in sorted(registry.scanners.items())
        if settings.is_enabled(name)
        and shutil.which(settings.scanner(name).binary or scanner.program)
    ]


@dataclass(slots=True)
class Agent:
    """A running agent under a server."""

    settings: Settings
    registry: Registry
    now: Callable[[], datetime] = utc_now

    async def run(self) -> None:
        """Run until a signal drains it. `ConfigurationError` or `SpoolError` at the start."""
        if not self.settings.agent.enable_command_polling:
            raise ConfigurationError(
                "nothing to do: agent.enable_command_polling is off; turn it on, or scan now with "
                "`rediver-agent scan`"
            )
        for name in self.settings.not_acted_on():
            log.warning("%s is set, and this version does nothing with it yet", name)
        process.become_subreaper()
        with StateLock(self.settings.state_dir):
            spool = open_spool(self.settings, self.now)
            try:
                await self._recover(spool)
                async with Client(self.settings.server, now=self.now) as client:
                    await self._serve(client, spool)
            finally:
                spool.close()

    async def _recover(self, spool: Spool) -> None:
        """Answer for a predecessor that was killed: end its tools, report what it had begun."""
        runs = [process.RecordedRun(run.run_id, run.pid, run.create_time) for run in spool.runs()]
        if ended := await process.end_leftovers(runs):
            log.warning("ended %d processes that the last agent left behind", ended)
        for command in spool.held():
            shutil.rmtree(self.settings.state_dir / "work" / command.id, ignore_errors=True)
            if command.state != "finished":
                log.warning("%s was begun and not finished; it is reported so", command.id)
                try:
                    spool.finish(command.id, _restarted(command.attempt, self.now()), ())
                except (DiskFull, SpoolError) as fault:  # sending what is there makes room
                    log.error("%s: %s", command.id, fault)
        try:
            spool.hurry()  # whatever made it wait may have been mended before the restart
        except (DiskFull, SpoolError) as fault:
            log.error("what waits is sent in its time: %s", fault)

    async def _serve(self, client: Client, spool: Spool) -> None:
        executor = build_executor(
            self.settings, self.registry, spool, now=self.now, clock_skew=lambda: client.clock_skew
        )
        bell, outbox_bell, heartbeat_bell = Doorbell(), Doorbell(), Doorbell()
        instance_id = uuid.uuid4().hex
        deliver = DeliverLoop(client, spool, self.settings.retry_queue, outbox_bell, self.now)
        heartbeat = HeartbeatLoop(
            client=client,
            executor=executor,
            spool=spool,
            settings=self.settings.agent,
            scanners=partial(usable_scanners, self.settings, self.registry),
            hostname=socket.gethostname(),
            instance_id=instance_id,
            started=self.now(),
            now=self.now,
            bell=heartbeat_bell,
        )
        async with anyio.create_task_group() as tasks:
            poll = PollLoop(
                client=client,
                executor=executor,
                spool=spool,
                settings=self.settings,
                tasks=tasks,
                bell=bell,
                outbox_bell=outbox_bell,
                heartbeat_bell=heartbeat_bell,
                instance_id=instance_id,
                now=self.now,
            )
            polling = anyio.CancelScope()
            tasks.start_soon(_listen_for_signals, polling, executor, heartbeat)
            await heartbeat.beat()  # before the first poll: the server routes by what it says
            tasks.start_soon(heartbeat.run)
            tasks.start_soon(deliver.run)
            with polling:
                await poll.run()
            await self._drain(executor)
            await self._last_words(spool, deliver, heartbeat)
            tasks.cancel_scope.cancel()

    async def _drain(self, executor: Executor) -> None:
        with anyio.move_on_after(self.settings.agent.drain_seconds):
            await executor.wait_idle()
        executor.cancel_all(Cause.STOPPING)
        with anyio.move_on_after(STOP_SECONDS):
            await executor.wait_idle()

    async def _last_words(
        self, spool: Spool, deliver: DeliverLoop, heartbeat: HeartbeatLoop
    ) -> None:
        """Try every waiting row once more and say goodbye; what stays is sent by the next start."""
        with anyio.move_on_after(STOP_SECONDS):
            await anyio.to_thread.run_sync(spool.hurry)
            await deliver.drain()
            heartbeat.status = "stopped"
            try:
                await heartbeat.beat()
            except ServerError as fault:
                log.info("goodbye not heard: %s", fault)
        if waiting := len(await anyio.to_thread.run_sync(spool.entries)):
            log.warning("%d rows wait in the spool for the next start", waiting)


async def _listen_for_signals(
    polling: anyio.CancelScope, executor: Executor, heartbeat: HeartbeatLoop
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        await anext(signals)
        log.info("draining: what runs is finished; a second signal cancels it")
        heartbeat.status = "draining"
        heartbeat.bell.ring()
        polling.cancel()
        await anext(signals)
        log.warning("cancelling what runs; a third signal ends the agent at once")
        executor.cancel_all(Cause.STOPPING)
        await anext(signals)
        os._exit(THIRD_SIGNAL_EXIT)  # the supervisors end their tools when we are gone


def _restarted(attempt: int | None, now: datetime) -> CommandResult:
    return CommandResult(
        status=ResultStatus.FAILED,
        completed_at=now,
        error="the agent was killed during the work; another attempt may fare better",
        metadata={"reason": Reason.AGENT_RESTARTED.value},
        attempt=attempt,
        retryable=True,
    )
