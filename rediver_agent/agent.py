"""The composition root: builds an agent from its settings and runs it, one task group for all.

Standalone, server-controlled and hybrid are one path: whatever brings work hands it to the same
executor, and what is not configured is not started. Stop is not cancel: the first SIGTERM, SIGINT
or SIGHUP drains (nothing new is begun, what runs is finished, the spool is tried once more), the
second cancels what runs, the third ends the process.
"""

import logging
import os
import shutil
import signal
import socket
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from rediver_agent import process
from rediver_agent.client import Client
from rediver_agent.configuration import Configuration
from rediver_agent.errors import ConfigurationError, DiskFull, SpoolError
from rediver_agent.executor import Cause, Executor, Handler
from rediver_agent.handlers.cancel import CancelHandler
from rediver_agent.handlers.collect import CollectHandler
from rediver_agent.handlers.health_check import HealthCheckHandler
from rediver_agent.handlers.scan import ScanHandler
from rediver_agent.loops.deliver import DeliverLoop
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.heartbeat import HeartbeatLoop
from rediver_agent.loops.poll import PollLoop
from rediver_agent.masking import mask
from rediver_agent.policy import Policy
from rediver_agent.recovery import recover
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.state_dir import StateLock
from rediver_agent.status import Mode, Status

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 30.0  # for ending every tool, and for the last word to the server
THIRD_SIGNAL_EXIT: Final = 3


class Ending(Enum):
    """Why an agent has ended."""

    DRAINED = auto()
    CANCELLED = auto()
    RESTART = auto()


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
    configuration: Configuration,
    registry: Registry,
    spool: Spool,
    *,
    now: Callable[[], datetime] = utc_now,
    clock_skew: Callable[[], timedelta] = timedelta,
) -> Executor:
    """The one consumer, with a handler for everything that needs no running agent."""
    settings = configuration.settings
    policy = Policy(settings.security.allowed_command_types, settings.allowed_roots())
    handlers: dict[str, Handler] = {
        "scan": ScanHandler(registry, configuration, policy, spool, now),
        "collect": CollectHandler(registry, configuration, spool, now),
    }
    executor = Executor(
        handlers,
        policy=policy,
        spool=spool,
        max_concurrent=settings.agent.max_concurrent,
        now=now,
        clock_skew=clock_skew,
    )
    executor.kept_for_server = int(settings.agent.enable_command_polling)
    executor.add_handler("cancel", CancelHandler(executor.cancel))
    return executor


def usable_scanners(settings: Settings, registry: Registry) -> list[str]:
    """Enabled scanners whose program is there, by name. A look at the disk; nothing is started."""
    return [
        name
        for name, scanner in sorted(registry.scanners.items())
        if settings.is_enabled(name)
        and shutil.which(settings.scanner(name).binary or scanner.program)
    ]


def usable_collectors(settings: Settings, registry: Registry) -> list[str]:
    """Enabled collectors that are installed, by name."""
    return [name for name in settings.enabled_collectors() if name in registry.collectors]


def mode_of(settings: Settings) -> Mode:
    """What these settings make of an agent. `ConfigurationError` if it would do nothing at all."""
    local = bool(settings.targets or settings.enabled_collectors())
    if settings.agent.enable_command_polling:
        return "hybrid" if local else "server-controlled"
    if local:
        return "standalone"
    raise ConfigurationError(
        "nothing to do: list `targets` or `collectors`, or turn agent.enable_command_polling on; "
        "`rediver-agent scan` scans now"
    )


@dataclass(slots=True)
class Stop:
    """Whether, why and how soon an agent ends."""

    ending: Ending = Ending.DRAINED
    grace: timedelta | None = None
    working: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def request(self, ending: Ending, grace: timedelta | None = None) -> None:
        """Begin nothing new; end when what runs is done, or after the grace period.

        Without one that is `agent.drain_seconds`. The last request counts.
        """
        self.ending, self.grace = ending, grace
        self.working.cancel()


@dataclass(slots=True)
class Agent:
    """One agent on one state directory. `run` it once."""

    configuration: Configuration
    registry: Registry
    now: Callable[[], datetime] = utc_now

    async def run(self) -> Ending:
        """Run until a signal or a restart ends it. `ConfigurationError`, `SpoolError` at start."""
        settings = self.configuration.settings
        status = Status(self.now(), mode_of(settings))
        process.become_subreaper()
        async with AsyncExitStack() as stack:
            stack.enter_context(StateLock(settings.state_dir))
            spool = open_spool(settings, self.now)
            stack.callback(spool.close)
            await recover(spool, settings.state_dir, self.now)
            client = None
            if settings.server.base_url and settings.server.api_key:
                client = await stack.enter_async_context(Client(settings.server, now=self.now))
            return await _Running(self, status, spool, client).run()


class _Running:
    """What an agent consists of while it runs."""

    def __init__(self, agent: Agent, status: Status, spool: Spool, client: Client | None) -> None:
        self._configuration, self._registry, self._now = (
            agent.configuration,
            agent.registry,
            agent.now,
        )
        self._status, self._spool, self._client = status, spool, client
        self._stop = Stop()
        self._bell, self._outbox_bell = Doorbell(), Doorbell()
        self._heartbeat_bell, self._local_bell = Doorbell(), Doorbell()
        self._instance_id = uuid.uuid4().hex
        self._executor = build_executor(
            self._configuration,
            self._registry,
            spool,
            now=self._now,
            clock_skew=lambda: client.clock_skew if client else timedelta(),
        )
        self._executor.add_handler(
            "health_check",
            HealthCheckHandler(
                self._registry,
                self._configuration,
                spool,
                self._now,
                status,
                lambda: client.clock_skew if client else timedelta(),
            ),
        )
        self._configuration.on_change(self._changed)

    async def run(self) -> Ending:
        """Until it is stopped and everything is over."""
        deliver = self._deliver(self._client) if self._client else None
        heartbeat = self._heartbeat(self._client) if self._client else None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen_for_signals)
            if deliver and heartbeat:
                await heartbeat.beat()  # before the first poll: the server routes by what it says
                tasks.start_soon(heartbeat.run)
                tasks.start_soon(deliver.run)
            with self._stop.working:
                await self._work(tasks)
            self._status.draining = True
            if heartbeat:
                heartbeat.status = "draining"
                heartbeat.bell.ring()
            await self._drain()
            if deliver and heartbeat:
                await self._last_words(deliver, heartbeat)
            tasks.cancel_scope.cancel()
        return self._stop.ending

    async def _work(self, tasks: TaskGroup) -> None:
        """Everything that begins work. What is begun runs in `tasks`, and outlives this."""
        async with anyio.create_task_group() as producers:
            if self._client and self._configuration.settings.agent.enable_command_polling:
                producers.start_soon(self._poll(self._client, tasks).run)

    def _deliver(self, client: Client) -> DeliverLoop:
        return DeliverLoop(client, self._spool, self._configuration, self._outbox_bell, self._now)

    def _heartbeat(self, client: Client) -> HeartbeatLoop:
        def named(usable: Callable[[Settings, Registry], list[str]]) -> list[str]:
            return usable(self._configuration.settings, self._registry)

        return HeartbeatLoop(
            client=client,
            executor=self._executor,
            spool=self._spool,
            configuration=self._configuration,
            runtime=self._status,
            scanners=partial(named, usable_scanners),
            collectors=partial(named, usable_collectors),
            hostname=socket.gethostname(),
            instance_id=self._instance_id,
            started=self._status.started_at,
            now=self._now,
            bell=self._heartbeat_bell,
        )

    def _poll(self, client: Client, tasks: TaskGroup) -> PollLoop:
        return PollLoop(
            client=client,
            executor=self._executor,
            spool=self._spool,
            configuration=self._configuration,
            status=self._status,
            tasks=tasks,
            bell=self._bell,
            outbox_bell=self._outbox_bell,
            heartbeat_bell=self._heartbeat_bell,
            instance_id=self._instance_id,
            now=self._now,
        )

    def _changed(self, settings: Settings) -> None:
        """Other settings are in force: whoever waits looks at them now."""
        self._executor.resize(settings.agent.max_concurrent)
        for bell in (self._bell, self._heartbeat_bell, self._local_bell, self._outbox_bell):
            bell.ring()

    async def _drain(self) -> None:
        settings = self._configuration.settings
        grace = self._stop.grace or timedelta(seconds=settings.agent.drain_seconds)
        with anyio.move_on_after(grace.total_seconds()):
            await self._executor.wait_idle()
        self._executor.cancel_all(Cause.STOPPING)
        with anyio.move_on_after(STOP_SECONDS):
            await self._executor.wait_idle()

    async def _last_words(self, deliver: DeliverLoop, heartbeat: HeartbeatLoop) -> None:
        """Try every waiting row once more and say goodbye; what stays is sent by the next start."""
        with anyio.move_on_after(STOP_SECONDS):
            try:
                await anyio.to_thread.run_sync(self._spool.hurry)
                await deliver.drain()
                heartbeat.status = "stopped"
                await heartbeat.beat()
            except (DiskFull, SpoolError) as fault:
                log.error("what waits is sent by the next start: %s", fault)
                return
        if waiting := len(await anyio.to_thread.run_sync(self._spool.entries)):
            log.warning("%d rows wait in the spool for the next start", waiting)

    async def _listen_for_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            await anext(signals)
            log.info("draining: what runs is finished; a second signal cancels it")
            self._stop.request(Ending.DRAINED)
            await anext(signals)
            log.warning("cancelling what runs; a third signal ends the agent at once")
            self._stop.ending = Ending.CANCELLED
            self._executor.cancel_all(Cause.STOPPING)
            await anext(signals)
            os._exit(THIRD_SIGNAL_EXIT)  # the supervisors end their tools when we are gone
