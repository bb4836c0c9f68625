"""Whether handlers of command types of their own keep their promises."""

import json
import re
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from pydantic import JsonValue, ValidationError

from rediver_agent.errors import CommandError, ToolMissing
from rediver_agent.interfaces import AnyHandler, CommandHandler
from rediver_agent.registry import COMMAND_TYPE
from rediver_agent.testing._checks import (
    SECRET_WORDS,
    check_async,
    check_instance,
    check_model,
    check_secret_option,
    fail,
    secrets_of,
    valid_options,
)
from rediver_agent.testing._contexts import FakeHandlerContext, Recorded, handle
from rediver_agent.testing._trials import UNUSED_EXIT_CODE, Trial, changed, judge


def check_handler(
    handler: AnyHandler,
    payload: Mapping[str, JsonValue],
    directory: Path,
    *,
    recorded: Recorded | None = None,
    secrets: Collection[str] = (),
    **options: Any,
) -> None:
    """What every handler must do. `payload` is of a command that it can do.

    `recorded` are the programs that it runs, if it does: played in a context that starts nothing,
    then by real programs through the agent's own executor, where they fail, and hang until they
    are cancelled. A directory that it is about must be there. None of `secrets` may show in what it
    returns. `directory` is for files.
    """
    _check_declaration(handler, payload)
    known = [*secrets, *secrets_of(valid_options(handler, options))]
    programs = recorded or {}
    _check_played(handler, payload, directory, programs, options)
    way = import_module("rediver_agent.testing._whole_way")  # the whole agent: half a second
    trials = _trials(handler, programs)
    workplace = way.commands(handler, payload, options)
    for some in (trials[:1], trials[1:]):  # what does not even end well is told at once
        for trial, ran in zip(some, way.run_trials(directory, some, workplace), strict=True):
            judge(trial, ran, known)


def _check_declaration(handler: AnyHandler, payload: Mapping[str, JsonValue]) -> None:
    check_instance(handler, CommandHandler)
    check_async(handler, "handle")
    name = getattr(handler, "command_type", None)
    if not isinstance(name, str) or not re.fullmatch(COMMAND_TYPE, name):
        fail(
            f"command_type {name!r}: use small letters, digits and _, and none of the agent's own "
            "types"
        )
    check_model("payload", getattr(handler, "payload", None))
    check_model("options", handler.options)
    for field, declared in handler.options.model_fields.items():
        if SECRET_WORDS & set(field.split("_")):
            check_secret_option(field, declared.annotation)
    for field in handler.payload.model_fields:
        if field.split("_")[-1] in SECRET_WORDS:
            fail(f"the payload has {field!r}: a secret is the operator's, and belongs into options")
    try:
        handler.payload.model_validate(payload)
    except ValidationError as fault:
        fail(f"the payload is not valid: give check_handler one that is ({fault})")


def _check_played(
    handler: AnyHandler,
    payload: Mapping[str, JsonValue],
    directory: Path,
    recorded: Recorded,
    options: Mapping[str, Any],
) -> None:
    target = cast("object", handler.target(handler.payload.model_validate(payload)))
    if target is not None and not isinstance(target, str):
        fail("target() returns the path of a directory as a str, or None")
    ctx = FakeHandlerContext(directory / "played", recorded, target)
    try:
        told = cast("object", handle(handler, ctx, payload, **options))
    except ToolMissing as fault:
        fail(f"handle() runs a program that is not in `recorded`: add it ({fault})")
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything is its fault
        fail(f"handle() raises {fault!r}: give it a payload that it can do")
    if not isinstance(told, Mapping):
        fail(f"handle() returns a {type(told).__name__}: return a mapping, for the result")
    try:
        json.dumps(dict(cast("Mapping[object, object]", told)), allow_nan=False)
    except (TypeError, ValueError) as fault:
        fail(f"handle() returns what is no JSON ({fault}): return texts, numbers, lists, mappings")
    if not recorded:
        return
    if not ctx.ran:
        fail("handle() runs no program: leave `recorded` out, or start programs by ctx.run")
    missing = FakeHandlerContext(directory / "missing", {}, target)
    try:
        handle(handler, missing, payload, **options)
    except CommandError:
        return
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything else is its fault
        fail(f"handle() raises {fault!r} where its program is missing: let ToolMissing go")
    fail("handle() goes on where its program is missing: let ToolMissing go")


def _trials(handler: AnyHandler, recorded: Recorded) -> list[Trial]:
    name = handler.command_type
    whole = Trial(
        f"the command {name}", recorded, "give it a payload that it can do", status="completed"
    )
    if not recorded:
        return [whole]
    every = frozenset(recorded)
    return [
        whole,
        Trial(
            f"{name}'s programs fail (exit code {UNUSED_EXIT_CODE})",
            changed(recorded, every, exit_code=UNUSED_EXIT_CODE),
            "let ToolError go, or raise one that says what to do",
        ),
        Trial(
            f"{name}'s programs hang, with a child that ignores signals, and it is cancelled",
            recorded,
            "let the cancellation go, and shield nothing from it",
            status="cancelled",
            hostile=every,
            ending="hangs",
            cancelled=True,
        ),
    ]
