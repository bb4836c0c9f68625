"""A command type of a plugin: what it says is checked, and whatever comes of it is an outcome."""

import asyncio
from contextlib import suppress

import anyio
import pytest
from executed import kept_for_server
from house import alive
from pydantic import BaseModel, Field

from rediver_agent import CommandError, CommandHandler, ToolError
from rediver_agent.agent import build_executor, open_spool
from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import UnknownCommand
from rediver_agent.executor import Cause
from rediver_agent.handlers.plugin_command import MAX_RESULT_BYTES
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings

SECRET = "t0ken-of-the-operator"


class Payload(BaseModel, extra="forbid"):
    name: str = "you"
    path: str | None = None
    timeout_seconds: int | None = None


class Options(BaseModel, extra="forbid"):
    token: str = ""
    times: int = Field(1, ge=1)


class Greet(CommandHandler[Payload, Options]):
    command_type = "greet"
    payload = Payload
    options = Options

    def __init__(self, handle):
        self._handle = handle

    def target(self, payload):
        return payload.path

    async def handle(self, ctx, payload, options):
        return await self._handle(ctx, payload, options)


async def greets(_ctx, payload, options):
    return {"greeting": f"Hello, {payload.name}! " * options.times}


def outcome(tmp_path, handle=greets, *, plugin=None, meddle=None, config=None, **payload):
    """The result that the spool holds for the server after one command."""
    settings = Settings(
        state_dir=tmp_path / "state",
        targets=[str(tmp_path / "srv")],
        security={"allowed_command_types": ["greet"]},
        handlers=[{"name": "greet", "config": {"token": SECRET, **(config or {})}}],
    )
    (tmp_path / "srv" / "app").mkdir(parents=True, exist_ok=True)
    registry = Registry({}, {}, handlers={"greet": plugin or Greet(handle)})
    spool = open_spool(settings)
    executor = build_executor(Configuration(settings), registry, spool)
    command = UnknownCommand(id="cmd_1", type="greet", payload=payload)
    ((kind, result),) = kept_for_server(executor, spool, command, meddle)
    assert kind == "result"
    assert list((tmp_path / "state").glob("work/*")) == []
    return result


def reason(result):
    assert result["status"] == "failed"
    return result["metadata"]["reason"]


def test_a_command_is_done_with_its_payload_and_the_operators_options(tmp_path):
    result = outcome(tmp_path, config={"times": 2}, name="Ada")

    assert result["status"] == "completed"
    assert result["metadata"] == {"greeting": "Hello, Ada! Hello, Ada! "}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"nmae": "x"}, "greet has no payload key 'nmae' (it has: name, path, timeout_seconds)"),
        ({"name": 3}, "greet's payload key 'name': Input should be a valid string"),
        ({"timeout_seconds": 0}, "greet's timeout_seconds must be a whole number from 1 to 86400"),
    ],
)
def test_a_payload_that_is_wrong_names_the_key(tmp_path, payload, said):
    result = outcome(tmp_path, **payload)

    assert reason(result) == "invalid_payload"
    assert said in result["error"]


def test_options_that_are_wrong_name_the_option_and_not_its_value(tmp_path):
    result = outcome(tmp_path, config={"times": 0})

    assert reason(result) == "invalid_payload"
    assert "greet's option 'times'" in result["error"]


def test_programs_run_in_the_target_and_only_below_an_allowed_root(tmp_path):
    async def looks(ctx, _payload, _options):
        (ctx.work_dir / "note").write_text("x")
        done = await ctx.run("sh", "-c", "pwd -P; echo $HOME; ls")
        return {
            "said": done.stdout.read_text().split(),
            "target": ctx.target,
            "file": ctx.file_in_target("a.txt"),
        }

    app = tmp_path / "srv" / "app"
    app.mkdir(parents=True)
    (app / "a.txt").write_text("")
    (tmp_path / "elsewhere").mkdir()
    (app / "link").symlink_to(tmp_path / "elsewhere")

    metadata = outcome(tmp_path, looks, path=str(app))["metadata"]

    assert metadata["said"][0] == str(app)
    assert str(tmp_path / "state" / "work" / "cmd_1") in metadata["said"][1]
    assert metadata["said"][2:] == ["a.txt", "link"]
    assert (metadata["target"], metadata["file"]) == (str(app), "./a.txt")
    assert metadata["survivors"] == 0
    for forbidden in (tmp_path / "elsewhere", app / "link", f"{app}/../../elsewhere", "app", ""):
        assert reason(outcome(tmp_path, looks, path=str(forbidden))) == "target_not_allowed"


def test_without_a_target_programs_run_in_the_work_directory_and_the_cache_stays(tmp_path):
    async def counts(ctx, _payload, _options):
        seen = ctx.cache_dir / "seen"
        seen.write_text(seen.read_text() + "x" if seen.exists() else "x")
        await ctx.run("touch", "here")
        with pytest.raises(CommandError, match="about no directory"):
            ctx.file_in_target("here")
        return {"here": (ctx.work_dir / "here").exists(), "seen": seen.read_text()}

    assert outcome(tmp_path, counts)["metadata"]["seen"] == "x"
    again = outcome(tmp_path, counts)["metadata"]

    assert (again["here"], again["seen"]) == (True, "xx")
    assert (tmp_path / "state" / "cache" / "handlers" / "greet" / "seen").exists()


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Own(CommandError):
    reason = "of_my_own"


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (ToolError("the hub is away; try later"), "tool_error"),
        (CommandError("it cannot be done"), "plugin_error"),
        (Own("with a reason that is none"), "plugin_error"),
        (ValueError("boom"), "plugin_error"),
        (Mute(), "plugin_error"),
        (SystemExit(0), "plugin_error"),
        (asyncio.CancelledError(), "plugin_error"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_whatever_a_handler_raises_is_an_outcome(tmp_path, fault, why):
    async def raises(_ctx, _payload, _options):
        raise fault

    result = outcome(tmp_path, raises)

    assert reason(result) == why
    if why == "tool_error":
        assert result["error"] == "the hub is away; try later"


def deep(levels):
    return {"a": deep(levels - 1)} if levels else {}


LOOP = {}
LOOP["again"] = LOOP


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (None, "as a mapping such as {}, and it returned NoneType"),
        ("done", "it returned str"),
        ({"a": object()}, "no JSON"),
        ({"a": float("nan")}, "no JSON"),
        ({"a": "\ud800"}, "no JSON"),
        (deep(100), "nested more than 100 deep"),
        (LOOP, "no JSON"),
        ({"a": "x" * MAX_RESULT_BYTES}, "a result may have 1048576"),
    ],
    ids=["nothing", "text", "object", "nan", "surrogate", "deep", "endless", "large"],
)
def test_what_no_result_can_carry_is_the_plugins_fault(tmp_path, told, said):
    async def returns(_ctx, _payload, _options):
        return told

    result = outcome(tmp_path, returns)

    assert reason(result) == "plugin_error"
    assert said in result["error"]


def test_no_secret_of_the_operator_is_in_a_result_or_a_progress(tmp_path):
    said = []

    async def tells(ctx, _payload, options):
        ctx.progress(200, f"with {options.token}")
        said.append((ctx.job.percent, ctx.job.message))
        return {"list": [f"Bearer {options.token}"], "deep": {"a": options.token}}

    metadata = outcome(tmp_path, tells)["metadata"]

    assert said == [(None, "with ***")]
    assert metadata == {"list": ["Bearer ***"], "deep": {"a": "***"}}


@pytest.mark.parametrize("target", [7, b"/srv", ["/srv"], ValueError("x")], ids=repr)
def test_a_target_that_is_none_is_the_plugins_fault(tmp_path, target):
    class Odd(Greet):
        def target(self, _payload):
            if isinstance(target, Exception):
                raise target
            return target

    assert reason(outcome(tmp_path, plugin=Odd(greets))) == "plugin_error"


@pytest.mark.parametrize("answer", ["goes", "swallows", "complains"])
def test_the_time_out_ends_its_programs_whatever_it_makes_of_that(tmp_path, answer):
    pids = []

    async def hangs(ctx, _payload, _options):
        pids.append(ctx.work_dir / "pid")
        try:
            await ctx.run("sh", "-c", "echo $$ > pid; sleep 60 & wait")
        except BaseException:
            pids.append(int(pids[0].read_text()))
            if answer == "goes":
                raise
            if answer == "complains":
                raise ToolError("it was interrupted") from None
        return {"done": True}

    result = outcome(tmp_path, hangs, timeout_seconds=1)

    assert reason(result) == "timeout"
    assert "greet was not done after 1 s" in result["error"]
    assert result["metadata"]["survivors"] == 0
    assert not alive(pids[1])


def test_the_class_says_how_long_where_the_payload_does_not(tmp_path):
    class Brief(Greet):
        timeout_seconds = 1

    async def hangs(_ctx, _payload, _options):
        await anyio.sleep_forever()

    assert reason(outcome(tmp_path, plugin=Brief(hangs))) == "timeout"
    Brief.timeout_seconds = "soon"
    assert reason(outcome(tmp_path, plugin=Brief(hangs))) == "plugin_error"


@pytest.mark.parametrize("swallow", [ZeroDivisionError, BaseException], ids=["goes", "swallows"])
def test_a_cancelled_one_is_cancelled_and_uses_a_slot_until_then(tmp_path, swallow):
    slots, begun = [], anyio.Event()

    async def hangs(ctx, _payload, _options):
        begun.set()
        with suppress(swallow):
            await ctx.run("sleep", "60")
        return {}

    async def cancel(executor):
        await begun.wait()
        slots.append(executor.slots - executor.free_slots)
        executor.cancel("cmd_1", Cause.CANCELLED)

    result = outcome(tmp_path, hangs, meddle=cancel)

    assert (result["status"], slots) == ("cancelled", [1])


def test_a_type_is_told_to_the_server_only_where_it_can_be_done(tmp_path):
    def types(allowed, handlers):
        settings = Settings(
            state_dir=tmp_path, security={"allowed_command_types": ["scan", *allowed]}
        )
        spool = open_spool(settings)
        registry = Registry({}, {}, handlers=handlers)
        executor = build_executor(Configuration(settings), registry, spool)
        spool.close()
        return executor.command_types

    assert types(["greet"], {"greet": Greet(greets)}) == ["greet", "scan"]
    assert types([], {"greet": Greet(greets)}) == ["scan"]
    assert types(["greet"], {}) == ["scan"]


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (["scan"], "add the type to security.allowed_command_types"),
        (["scan", "list_users"], "install the one that does, such as rediver-list-users"),
    ],
)
def test_a_type_that_cannot_be_done_is_refused_with_what_to_do(tmp_path, allowed, said):
    settings = Settings(state_dir=tmp_path, security={"allowed_command_types": allowed})
    spool = open_spool(settings)
    executor = build_executor(Configuration(settings), Registry({}, {}), spool)
    command = UnknownCommand(id="cmd_1", type="list_users")

    ((_, result),) = kept_for_server(executor, spool, command)

    assert reason(result) == "type_not_allowed"
    assert said in result["error"]
