"""Command types that plugins add: one handler of ours around each of theirs.

What a command says is validated by the plugin's own model, its target is opened below an allowed
root as a scan's is, and its programs leave nobody behind. Whatever a plugin raises or returns is
an outcome: an error of `rediver_agent` by its reason, everything else `plugin_error`.
"""

import json
import logging
import os
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint_if_cancelled
from pydantic import BaseModel, JsonValue

from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import UnknownCommand
from rediver_agent.contract.strict_json import decode
from rediver_agent.errors import (
    CommandError,
    InvalidPayload,
    PluginError,
    TargetNotAllowed,
    ToolTimeout,
)
from rediver_agent.executor import Job, Outcome, described
from rediver_agent.handlers.plugin_options import understood
from rediver_agent.handlers.tool_runs import ToolRuns, file_below, found
from rediver_agent.interfaces import AnyHandler, Completed, Log
from rediver_agent.masking import mask
from rediver_agent.policy import OpenTarget, Policy, open_typed
from rediver_agent.process import GRACE
from rediver_agent.settings_patch import masked
from rediver_agent.spool import Spool
from rediver_agent.state_dir import private_directory, remove_tree

log = logging.getLogger(__name__)

MAX_RESULT_BYTES: Final = 1 << 20  # of what a handler returns, as JSON
LONGEST_SECONDS: Final = 86_400  # as a scan's


@dataclass(slots=True)
class AgentHandlerContext:
    """What the agent hands to a handler: the real `HandlerContext`."""

    job: Job
    target: str | None
    work_dir: Path
    cache_dir: Path
    secrets: Collection[str]
    tools: ToolRuns
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        self.log = logging.LoggerAdapter(log, {"command_id": self.job.id})

    async def run(
        self,
        program: str,
        /,
        *arguments: str,
        ok: Collection[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """See `HandlerContext.run`."""
        path = found(program, "install it on the agent")
        return await self.tools.run(program, (path, *arguments), ok, environment or {})

    def file_in_target(self, path: str, /) -> str:
        """See `HandlerContext.file_in_target`."""
        if self.target is None:
            raise TargetNotAllowed(f"this command is about no directory that {path!r} could be in")
        return file_below(self.tools.directory, self.target, path)

    def progress(self, percent: float | None, message: str) -> None:
        """See `HandlerContext.progress`."""
        known = percent is not None and 0 <= percent <= 100
        self.job.say(percent if known else None, mask(str(message), *self.secrets))


@dataclass(frozen=True, slots=True)
class PluginCommandHandler:
    """Commands of one type that a plugin adds. One instance serves all of an agent."""

    plugin: AnyHandler
    configuration: Configuration
    policy: Policy
    spool: Spool
    grace: timedelta = GRACE
    """How long a program that is ended has for it, before it is killed."""

    async def handle(self, job: Job) -> Outcome:
        """Have the plugin do it. Raises `CommandError` for what cannot go on."""
        if not isinstance(job.command, UnknownCommand):
            raise InvalidPayload(f"{job.command.type} is not a command of a plugin")
        name, settings = self.plugin.command_type, self.configuration.settings
        payload = understood(name, "payload key", self.plugin.payload, job.command.payload)
        config = settings.handler(name).config
        options = understood(name, "option", self.plugin.options, config)
        seconds = self._seconds(payload)
        base = private_directory(settings.state_dir / "work") / job.id
        target = await self._open(payload, commanded=job.commanded)
        try:
            remove_tree(base)  # a predecessor's, if it was killed
            with self._context(job, private_directory(base), target) as context:
                job.say(None, f"{name} is at work")
                told = await self._in_time(context, payload, options, seconds)
        finally:
            if target is not None:
                target.close()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(remove_tree, base)
        metadata = await anyio.to_thread.run_sync(_metadata, name, told, settings.secrets())
        exit_code = job.ended[-1].exit_code if job.ended else None
        return Outcome(metadata=metadata, exit_code=exit_code)

    async def _in_time(
        self, context: AgentHandlerContext, payload: BaseModel, options: BaseModel, seconds: int
    ) -> object:
        """What the plugin returns. `ToolTimeout` if it is late, whatever it makes of that."""
        late = ToolTimeout(
            f"{self.plugin.command_type} was not done after {seconds} s and was ended; a larger "
            "timeout_seconds, where its payload has one, gives it more"
        )
        told: object = None
        with anyio.move_on_after(seconds) as time_out:
            try:
                told = await self.plugin.handle(context, payload, options)
            except Exception as fault:
                if time_out.cancel_called:  # its answer to being ended
                    raise late from fault
                raise
        if time_out.cancel_called:
            raise late
        await checkpoint_if_cancelled()  # it may have swallowed a cancel, which is no end
        return told

    def _seconds(self, payload: BaseModel) -> int:
        said: Any = getattr(payload, "timeout_seconds", None)
        seconds: Any = self.plugin.timeout_seconds if said is None else said
        known = isinstance(seconds, int) and not isinstance(seconds, bool)
        if known and 1 <= seconds <= LONGEST_SECONDS:
            return cast("int", seconds)
        sentence = (
            f"{self.plugin.command_type}'s timeout_seconds must be a whole number from 1 to "
            f"{LONGEST_SECONDS}, not {seconds!r}"
        )
        raise PluginError(sentence) if said is None else InvalidPayload(sentence)

    async def _open(self, payload: BaseModel, *, commanded: bool) -> OpenTarget | None:
        """The directory that the command is about, below an allowed root; None if it has none."""
        try:
            target = cast("object", self.plugin.target(payload))
        except CommandError:
            raise
        except Exception as fault:
            sentence = f"{self.plugin.command_type} cannot say its target: {described(fault)}"
            raise PluginError(sentence) from fault
        if target is None:
            return None
        if not isinstance(target, str):
            raise PluginError(
                f"{self.plugin.command_type}'s target() must return a path as a str, or None, not "
                f"{type(target).__name__}"
            )
        opened = self.policy.open_commanded if commanded else open_typed
        return await anyio.to_thread.run_sync(opened, target)

    @contextmanager
    def _context(
        self, job: Job, base: Path, target: OpenTarget | None
    ) -> Generator[AgentHandlerContext]:
        """A workplace. Programs start in the target, or in the work directory."""
        settings = self.configuration.settings
        work = private_directory(base / "work")
        own = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        caches = settings.state_dir / "cache" / "handlers"
        try:
            yield AgentHandlerContext(
                job=job,
                target=str(target.path) if target else None,
                work_dir=work,
                cache_dir=private_directory(caches / self.plugin.command_type),
                secrets=settings.secrets(),
                tools=ToolRuns(
                    job, target.descriptor if target else own, base, self.spool, grace=self.grace
                ),
            )
        finally:
            os.close(own)


def _metadata(name: str, told: object, secrets: list[str]) -> dict[str, JsonValue]:
    """What a handler returned, as a result can carry it. Raises `PluginError`."""
    if not isinstance(told, Mapping):
        raise PluginError(
            f"{name} must return what its result shall say, as a mapping such as {{}}, and it "
            f"returned {type(told).__name__}"
        )
    try:
        text = json.dumps(dict(told), ensure_ascii=False, allow_nan=False).encode()  # pyright: ignore[reportUnknownArgumentType] - foreign
        if len(text) > MAX_RESULT_BYTES:
            raise PluginError(
                f"{name} returned {len(text)} bytes, and a result may have {MAX_RESULT_BYTES}"
            )
        decode(b'{"metadata":%b}' % text)  # as deep as it will be
    except (TypeError, ValueError, RecursionError) as fault:
        raise PluginError(f"{name} returned what is no JSON: {described(fault)}") from fault
    return cast("dict[str, JsonValue]", masked(json.loads(text), tuple(secrets)))
