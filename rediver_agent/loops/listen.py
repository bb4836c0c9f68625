"""Collectors that are pushed to listen while the agent takes work, each in a task of its own.

One that fails or comes to an end is begun anew, after waits that grow; one whose options are wrong
waits for other settings. Either way the log and `rediver-agent status` say so, and nothing else of
the agent is touched. With the drain they stop: what they have answered for is on the disk.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled
from pydantic import BaseModel, JsonValue

from rediver_agent.configuration import Configuration
from rediver_agent.errors import CommandError, SpoolError
from rediver_agent.executor import described
from rediver_agent.handlers.listen_context import AgentListenContext, Keeper
from rediver_agent.handlers.plugin_options import validated
from rediver_agent.interfaces import AnyCollector
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.state_dir import private_directory
from rediver_agent.status import Listening, Status

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 60.0
STEADY_SECONDS: Final = 60.0  # whoever listened so long begins with the first wait again
LOOK_SECONDS: Final = 3600.0  # settings that change ring


@dataclass(slots=True)
class _Begun:
    """A listener with the options that it was begun with."""

    config: Mapping[str, JsonValue]
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


@dataclass(slots=True)
class ListenLoop:
    """Keeps every enabled collector that listens at it. `run` it once, and `stop` it."""

    configuration: Configuration
    registry: Registry
    keeper: Keeper
    status: Status
    secrets: Callable[[], Sequence[str]]
    _begun: dict[str, _Begun] = field(default_factory=dict[str, _Begun])
    _changed: Doorbell = field(default_factory=Doorbell)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _ended: anyio.Event | None = None

    def __post_init__(self) -> None:
        self.configuration.on_change(self._settings_changed)

    async def run(self) -> None:
        """Until `stop`."""
        self._ended = anyio.Event()
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    while True:
                        self._begin_what_is_new(tasks)
                        await self._changed.wait(LOOK_SECONDS)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Take nothing more. Returns when every listener has ended."""
        self._scope.cancel()
        if self._ended is not None:
            await self._ended.wait()

    def _wanted(self, settings: Settings) -> dict[str, Mapping[str, JsonValue]]:
        return {
            name: settings.collector(name).config
            for name in settings.enabled_collectors()
            if name in self.registry.collectors and self.registry.collectors[name].listens
        }

    def _settings_changed(self, settings: Settings) -> None:
        wanted = self._wanted(settings)
        for name, begun in self._begun.items():
            if wanted.get(name) != begun.config:
                begun.scope.cancel()
        self._changed.ring()

    def _begin_what_is_new(self, tasks: TaskGroup) -> None:
        for name in self._wanted(self.configuration.settings):
            if name not in self._begun:
                self._begun[name] = _Begun({})
                tasks.start_soon(self._look_after, self.registry.collectors[name])

    async def _look_after(self, collector: AnyCollector) -> None:
        """One listener, by the settings of the moment, as long as they want it."""
        name = collector.name
        try:
            while (config := self._wanted(self.configuration.settings).get(name)) is not None:
                begun = self._begun[name] = _Begun(config)
                with begun.scope:
                    await self._again_and_again(collector, config)
        finally:
            self._begun.pop(name, None)
            self.status.listening.pop(name, None)
            self._changed.ring()

    async def _again_and_again(
        self, collector: AnyCollector, config: Mapping[str, JsonValue]
    ) -> None:
        listening = self.status.listening[collector.name] = Listening()
        try:
            options = validated(collector, config)
        except CommandError as fault:
            listening.problem = str(fault)
            log.error("%s does not listen: %s", collector.name, fault)
            await anyio.sleep_forever()
            return
        wait = FIRST_SECONDS
        while True:
            began = anyio.current_time()
            listening.problem = await self._listen(collector, options, listening)
            await checkpoint_if_cancelled()  # it may have swallowed the cancellation
            if anyio.current_time() - began >= STEADY_SECONDS:
                wait = FIRST_SECONDS
            log.error(
                "%s does not listen: %s; begun anew in %.0f s",
                collector.name, listening.problem, wait,
            )  # fmt: skip
            await anyio.sleep(wait)
            wait = min(wait * 2, MOST_SECONDS)

    async def _listen(
        self, collector: AnyCollector, options: BaseModel, listening: Listening
    ) -> str:
        """Returns why it ended, in a sentence. Only a cancellation of ours goes on."""
        listening.message, listening.problem = "", None
        try:
            ctx = self._context(collector, listening)
            await collector.listen(ctx, options)
        except (CommandError, SpoolError) as fault:
            return str(fault)
        except BaseException as fault:  # foreign code's own fault, a sys.exit() of it too
            if isinstance(fault, anyio.get_cancelled_exc_class()) and _is_cancelled():
                raise
            log.exception("%s failed while it listened", collector.name)
            return described(fault)
        return "it has come to an end by itself"

    def _context(self, collector: AnyCollector, listening: Listening) -> AgentListenContext:
        caches = self.configuration.settings.state_dir / "cache" / "collectors"
        return AgentListenContext(
            collector=collector.name,
            cache_dir=private_directory(caches / collector.name),
            keeper=self.keeper,
            status=listening,
            secrets=self.secrets,
            log=logging.LoggerAdapter(log, {"collector": collector.name}),
        )


def _is_cancelled() -> bool:
    """Whether it is we who cancel: foreign code may raise a cancellation of its own."""
    return anyio.current_effective_deadline() == -math.inf
