"""The composition root: builds an agent from its settings and runs it, one task group for all.

Standalone, server-controlled and hybrid are one path: whatever brings work hands it to the same
executor, and what is not configured is not started. How it ends is `stopping`'s part.
"""

import logging
import os
import shutil
import socket
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup

from rediver_agent import process
from rediver_agent.assembly import build_executor, utc_now
from rediver_agent.client import Client
from rediver_agent.configuration import Configuration
from rediver_agent.configured_parsers import with_parsers
from rediver_agent.credentials import Secrets
from rediver_agent.enrichment import Enrichment, enrichment_of
from rediver_agent.errors import ConfigurationError, DiskFull, SpoolError
from rediver_agent.executor import Cause
from rediver_agent.handlers.config_update import ConfigUpdateHandler
from rediver_agent.handlers.health_check import HealthCheckHandler
from rediver_agent.handlers.listen_context import Keeper
from rediver_agent.handlers.plugin_options import handler_problems
from rediver_agent.handlers.restart import RestartHandler, give_up_restarts
from rediver_agent.loops.blocking import blocking_is_told
from rediver_agent.loops.deliver import DeliverLoop
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.heartbeat import HeartbeatLoop
from rediver_agent.loops.listen import ListenLoop
from rediver_agent.loops.local_schedule import LocalSchedule
from rediver_agent.loops.observe import Observers, observers_of
from rediver_agent.loops.poll import PollLoop
from rediver_agent.loops.snapshot import Snapshot
from rediver_agent.loops.view import keep_in_view, metrics_of
from rediver_agent.masking import mask
from rediver_agent.overlay import Overlay
from rediver_agent.recovery import recover
from rediver_agent.registry import Registry
from rediver_agent.service import Service
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.spool_recovery import open_or_set_aside
from rediver_agent.state_dir import StateLock
from rediver_agent.status import Mode, Status
from rediver_agent.stopping import Ending, Stop, listen_for_signals

log = logging.getLogger(__name__)

GREET_SECONDS: Final = 60.0  # a server that only trickles keeps no agent from its own work
STOP_SECONDS: Final = 30.0  # for ending every tool, and for the last word to the server


def open_spool(
    settings: Settings, now: Callable[[], datetime] = utc_now, secrets: Secrets | None = None
) -> Spool:
    """The spool of an agent's state directory, behind the mask of its secrets."""
    known = secrets or Secrets(settings.secrets())
    return Spool(
        settings.state_dir,
        now=now,
        mask=lambda text: mask(text, *known()),
        max_bytes=settings.retry_queue.max_bytes,
        for_server=bool(settings.server.base_url and settings.server.api_key),
    )


def usable_scanners(settings: Settings, registry: Registry) -> list[str]:
    """Enabled scanners whose program is there, by name. A look at the disk; nothing is started."""
    return [
        name
        for name, scanner in sorted(registry.scanners.items())
        if settings.is_enabled(name)
        and shutil.which(settings.scanner(name).binary or scanner.program)
    ]


def usable_collectors(settings: Settings, registry: Registry) -> list[str]:
    """Enabled collectors that are installed and fetch, by name: a command can be for them."""
    enabled = settings.enabled_collectors()
    return [name for name in enabled if (it := registry.collectors.get(name)) and it.fetches]


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
class Agent:
    """One agent on one state directory. `run` it once."""

    overlay: Overlay
    configuration: Configuration
    registry: Registry
    secrets: Secrets
    now: Callable[[], datetime] = utc_now

    async def run(self) -> Ending:
        """Run until a signal or a restart ends it. `ConfigurationError`, `SpoolError` at start."""
        settings = self.configuration.settings
        enrichment = enrichment_of(settings, self.registry)
        for problem in handler_problems(settings, self.registry):
            log.error("%s", problem)
        status = Status(self.now(), mode_of(settings), overlay_version=self.overlay.version)
        process.become_subreaper()
        async with AsyncExitStack() as stack:
            stack.enter_context(StateLock(settings.state_dir))
            self.overlay.recover()
            opened = partial(open_spool, settings, self.now, self.secrets)
            spool, status.moved_aside = open_or_set_aside(settings, opened, self.now)
            stack.callback(spool.close)
            await recover(spool, settings.state_dir, self.now)
            client = None
            if settings.server.base_url and settings.server.api_key:
                client = Client(settings.server, now=self.now, secrets=self.secrets)
                await stack.enter_async_context(client)
            running = _Running(self, status, spool, client, enrichment)
            stack.enter_context(metrics_of(running.snapshot))
            stack.enter_context(blocking_is_told())
            return await running.run()


class _Running:
    """What an agent consists of while it runs."""

    def __init__(
        self,
        agent: Agent,
        status: Status,
        spool: Spool,
        client: Client | None,
        enrichment: Enrichment,
    ) -> None:
        self._agent = agent
        self._configuration, self._registry = agent.configuration, agent.registry
        self._now = agent.now
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
            clock_skew=self._clock_skew,
        )
        listed = observers_of(self._configuration.settings, self._registry)
        self._observers = Observers(listed, agent.secrets)
        self._executor.on_begin = self._observers.started
        self._executor.on_result = self._observers.finished
        self._executor.on_end = self._slot_is_free
        self._configuration.on_change(self._changed)
        ring, damaged = self._outbox_bell.ring, self._start_anew
        keeper = Keeper(self._configuration, spool, self._now, ring, damaged, enrichment)
        self._listeners = ListenLoop(
            self._configuration, self._registry, keeper, status, agent.secrets
        )
        self._service = Service(os.environ, os.getpid())
        self.snapshot = Snapshot(
            self._configuration,
            status,
            self._executor,
            os.getpid(),
            self._now,
            lambda text: mask(text, *agent.secrets()),
        )

    async def run(self) -> Ending:
        """Until it is stopped and everything is over."""
        deliver = self._deliver(self._client) if self._client else None
        heartbeat = self._heartbeat(self._client) if self._client else None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen_for_signals, self._stop, self._executor)
            tasks.start_soon(keep_in_view, self.snapshot, self._spool, self._service)
            tasks.start_soon(self._observers.run)
            with self._stop.working:
                if deliver and heartbeat:
                    # Before the first poll: the server routes by what it says.
                    with anyio.move_on_after(GREET_SECONDS):
                        await heartbeat.beat()
                    tasks.start_soon(heartbeat.run)
                    tasks.start_soon(deliver.run)
                await self._work(tasks, heartbeat)
            self._status.draining = True
            if self._stop.ending is not Ending.RESTART:
                self._service.stopping()
            if heartbeat:
                heartbeat.status = "draining"
                heartbeat.bell.ring()
            await self._drain()
            if deliver and heartbeat:
                await self._last_words(deliver, heartbeat)
            await self._observers.stop()
            tasks.cancel_scope.cancel()
        return self._stop.ending

    async def _work(self, tasks: TaskGroup, heartbeat: HeartbeatLoop | None) -> None:
        """Everything that begins work. What is begun runs in `tasks`, and outlives this."""
        settings = self._configuration.settings
        self._add_handlers(heartbeat)
        async with anyio.create_task_group() as producers:
            ask_server_first: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint
            if self._client and heartbeat and settings.agent.enable_command_polling:
                poll = self._poll(self._client, heartbeat, tasks)
                ask_server_first = poll.ask
                producers.start_soon(poll.run)
                if settings.server.websocket:
                    self._be_woken(self._client, tasks)
            if self._status.mode != "server-controlled":
                tasks.start_soon(self._listeners.run)
                producers.start_soon(self._local_schedule(tasks, ask_server_first).run)
            self._service.ready()

    def _add_handlers(self, heartbeat: HeartbeatLoop | None) -> None:
        """For what only an agent that runs can do."""
        health_check = HealthCheckHandler(
            self._registry,
            self._configuration,
            self._spool,
            self._now,
            self._status,
            self._clock_skew,
        )
        self._executor.add_handler("health_check", health_check)
        if heartbeat is not None:
            update = ConfigUpdateHandler(self._agent.overlay, self._configuration, heartbeat.beat)
            self._executor.add_handler("config_update", update)
            restart = RestartHandler(
                self._spool,
                self._check_next_start,
                partial(self._stop.request, Ending.RESTART),
            )
            self._executor.add_handler("restart", restart)

    def _check_next_start(self) -> None:
        """Raise `ConfigurationError` where the next start would, by the plugins of this one."""
        settings = self._agent.overlay.check()
        with_parsers(self._registry, settings.parsers)
        enrichment_of(settings, self._registry)

    def _be_woken(self, client: Client, tasks: TaskGroup) -> None:
        """While it drains too: what runs may be cancelled then."""
        if find_spec("wsproto") is None:
            self._status.socket = "install rediver-agent[websocket], or set server.websocket: false"
            log.info("not woken by the server, polling goes on: %s", self._status.socket)
            return
        # An agent without the extra does not have the library.
        loop = import_module("rediver_agent.loops.notify").NotifyLoop(
            client,
            self._bell,
            partial(self._executor.cancel, cause=Cause.CANCELLED),
            self._status,
        )
        tasks.start_soon(loop.run)

    def _local_schedule(
        self, tasks: TaskGroup, ask_server_first: Callable[[], Awaitable[None]]
    ) -> LocalSchedule:
        return LocalSchedule(
            configuration=self._configuration,
            registry=self._registry,
            executor=self._executor,
            spool=self._spool,
            tasks=tasks,
            now=self._now,
            status=self._status,
            bell=self._local_bell,
            outbox_bell=self._outbox_bell,
            ask_server_first=ask_server_first,
            scanners=partial(self._named, usable_scanners),
            on_damage=self._start_anew,
        )

    def _start_anew(self) -> None:
        """The spool is damaged: a start sets it aside, and answers for what can be proven."""
        self._stop.request(Ending.RESTART, timedelta())  # what runs could not be written

    def _named(self, usable: Callable[[Settings, Registry], list[str]]) -> list[str]:
        return usable(self._configuration.settings, self._registry)

    def _clock_skew(self) -> timedelta:
        return self._client.clock_skew if self._client else timedelta()

    def _deliver(self, client: Client) -> DeliverLoop:
        return DeliverLoop(client, self._spool, self._configuration, self._outbox_bell, self._now)

    def _heartbeat(self, client: Client) -> HeartbeatLoop:
        return HeartbeatLoop(
            client=client,
            executor=self._executor,
            spool=self._spool,
            configuration=self._configuration,
            runtime=self._status,
            scanners=partial(self._named, usable_scanners),
            collectors=partial(self._named, usable_collectors),
            hostname=socket.gethostname(),
            instance_id=self._instance_id,
            started=self._status.started_at,
            now=self._now,
            bell=self._heartbeat_bell,
            on_damage=self._start_anew,
        )

    def _poll(self, client: Client, heartbeat: HeartbeatLoop, tasks: TaskGroup) -> PollLoop:
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
            name_what_is_held=heartbeat.catch_up,
            instance_id=self._instance_id,
            now=self._now,
        )

    def _slot_is_free(self) -> None:
        for bell in (self._bell, self._local_bell):
            bell.ring()

    def _changed(self, settings: Settings) -> None:
        """Other settings are in force: whoever waits looks at them now."""
        self._agent.secrets.learn(settings.secrets())
        self._status.overlay_version = self._agent.overlay.version
        self._executor.resize(settings.agent.max_concurrent)
        for bell in (self._bell, self._heartbeat_bell, self._local_bell, self._outbox_bell):
            bell.ring()

    async def _drain(self) -> None:
        with anyio.move_on_after(STOP_SECONDS):
            await self._listeners.stop()
        settings = self._configuration.settings
        grace = self._stop.grace
        if grace is None:
            grace = timedelta(seconds=settings.agent.drain_seconds)
        with anyio.move_on_after(grace.total_seconds()):
            await self._executor.wait_idle()
        self._executor.cancel_all(Cause.STOPPING)
        with anyio.move_on_after(STOP_SECONDS):
            await self._executor.wait_idle()

    async def _last_words(self, deliver: DeliverLoop, heartbeat: HeartbeatLoop) -> None:
        """Try every waiting row once more and say goodbye; what stays is sent by the next start."""
        with anyio.move_on_after(STOP_SECONDS):
            try:
                if self._stop.ending is not Ending.RESTART:
                    await anyio.to_thread.run_sync(give_up_restarts, self._spool, self._now())
                await anyio.to_thread.run_sync(self._spool.hurry)
                await deliver.drain()
                heartbeat.status = "stopped"
                await heartbeat.beat()
            except (DiskFull, SpoolError) as fault:
                log.error("what waits is sent by the next start: %s", fault)
                return
        if waiting := len(await anyio.to_thread.run_sync(self._spool.entries)):
            log.warning("%d rows wait in the spool for the next start", waiting)
