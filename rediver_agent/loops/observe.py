"""Tells the operator's observers what the agent does, and holds up nobody.

Each observer has a task and a queue of its own: what does not fit is left out, a call that takes
too long is ended, an error is logged, and nothing else comes of it. At the end they get a moment to
take what is queued.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pydantic import BaseModel

from rediver_agent.contract.base import dump, parse
from rediver_agent.contract.results import CommandResult
from rediver_agent.errors import ConfigurationError
from rediver_agent.executor import Job, described
from rediver_agent.interfaces import AnyObserver, ObservedCommand
from rediver_agent.listed_plugins import observer
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.settings_patch import masked

log = logging.getLogger(__name__)

QUEUE: Final = 100  # events that wait for one observer
CALL_SECONDS: Final = 30.0
LAST_SECONDS: Final = 5.0  # at the end, for all that is queued

Call = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Listed:
    """One observer. `events` are calls of it, each with what it is about, for the log."""

    plugin: AnyObserver
    options: BaseModel
    send: MemoryObjectSendStream[tuple[str, Call]] = field(init=False)
    events: MemoryObjectReceiveStream[tuple[str, Call]] = field(init=False)

    def __post_init__(self) -> None:
        self.send, self.events = anyio.create_memory_object_stream[tuple[str, Call]](QUEUE)

    def tell(self, what: str, call: Call) -> None:
        try:
            self.send.send_nowait((what, call))
        except anyio.WouldBlock:
            log.warning("the observer %s is behind: %s is left out", self.plugin.name, what)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            log.warning("the observer %s has ended: %s is left out", self.plugin.name, what)

    async def take_all(self) -> None:
        """Make every call, one after the other, until nothing more can come."""
        async for what, call in self.events:
            if problem := await _called(call):
                log.error("the observer %s failed at %s: %s", self.plugin.name, what, problem)


class Observers:
    """What observes one agent. `run` it once, and `stop` it when the last command is over."""

    def __init__(
        self, listed: Sequence[tuple[AnyObserver, BaseModel]], secrets: Callable[[], Sequence[str]]
    ) -> None:
        self._listed = [_Listed(*each) for each in listed]
        self._secrets = secrets
        self._ended = anyio.Event()
        self._scope = anyio.CancelScope()

    def started(self, job: Job) -> None:
        """A job has begun."""
        command = _observed(job)
        for each in self._listed:
            call = partial(each.plugin.started, command, each.options)
            each.tell(f"the start of {job.id}", call)

    def finished(self, job: Job, result: CommandResult) -> None:
        """A job's result is on disk."""
        if not self._listed:
            return
        command, kept = _observed(job), self._as_kept(result)
        for each in self._listed:
            call = partial(each.plugin.finished, command, kept, each.options)
            each.tell(f"the end of {job.id}", call)

    async def run(self) -> None:
        """Until `stop`, and what was queued by then is taken."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    for each in self._listed:
                        tasks.start_soon(each.take_all)
        finally:
            for each in self._listed:
                each.send.close()
                each.events.close()
            self._ended.set()

    async def stop(self) -> None:
        """Tell nothing more. Returns when all is taken, or after a moment, which is the end."""
        for each in self._listed:
            each.send.close()
        with anyio.move_on_after(LAST_SECONDS):
            await self._ended.wait()
            return
        for each in self._listed:
            if waiting := each.events.statistics().current_buffer_used:
                log.warning("the observer %s is left without %d", each.plugin.name, waiting)
        self._scope.cancel()

    def _as_kept(self, result: CommandResult) -> CommandResult:
        """The result as it is on disk: without secrets."""
        return parse(CommandResult, masked(dump(result), tuple(self._secrets())))


def observers_of(settings: Settings, registry: Registry) -> list[tuple[AnyObserver, BaseModel]]:
    """What `observers` lists and can be used. The others are named in the log: they hold up no
    scan, not even by being broken.
    """
    usable: list[tuple[AnyObserver, BaseModel]] = []
    for section in settings.observers:
        if not section.enabled:
            continue
        try:
            usable.append(observer(registry, section))
        except ConfigurationError as fault:
            log.error("%s; the agent goes on without it", fault)
    return usable


def _observed(job: Job) -> ObservedCommand:
    if job.started_at is None:
        raise ValueError(f"{job.id} has not begun")
    return ObservedCommand(job.id, job.command.type, job.attempt, job.commanded, job.started_at)


async def _called(call: Call) -> str | None:
    """Make one call. Returns what went wrong, if something did; raises only our cancellation."""
    try:
        with anyio.move_on_after(CALL_SECONDS) as limit:
            await call()
    except BaseException as fault:  # foreign code's own fault, a sys.exit() of it too
        if isinstance(fault, anyio.get_cancelled_exc_class()) and _is_cancelled():
            raise
        return described(fault)
    return f"it was not done after {CALL_SECONDS:g} s" if limit.cancel_called else None


def _is_cancelled() -> bool:
    """Whether it is we who cancel: foreign code may raise a cancellation of its own."""
    return anyio.current_effective_deadline() == -math.inf
