"""Whatever a collector does, its command has an outcome, and nothing partial passes for whole."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import pytest
from executed import kept_for_server
from pydantic import BaseModel, SecretStr

from rediver_agent import Asset, Collector, Notice, ToolError
from rediver_agent.agent import build_executor, open_spool
from rediver_agent.configuration import Configuration
from rediver_agent.contract import CollectCommand, Finding
from rediver_agent.executor import Cause, Job
from rediver_agent.interfaces import ToolInfo
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings


class Options(BaseModel, extra="forbid"):
    url: str = "https://hub"
    token: SecretStr = SecretStr("")
    password: str = ""
    repository: str | None = None


class Rude(Collector[Options]):
    name = "rude"
    options = Options
    from_command = frozenset({"repository"})
    choose_assets = frozenset({"repository"})

    def __init__(self, collect):
        self._collect = collect

    def collect(self, ctx, options) -> AsyncIterator:
        return self._collect(ctx, options)


def asset(name):
    return Asset(id=name, type="repository", value=f"https://hub/{name}", name=name)


def finding(rule="r"):
    return Finding(type="vulnerability", title="one", severity="high", rule_id=rule)


class Kept:
    """What the spool holds for the server after a collection."""

    def __init__(self, rows):
        (self.result,) = [body for kind, body in rows if kind == "result"]
        self.reports = [body for kind, body in rows if kind == "findings"]
        self.reason = self.result["metadata"].get("reason")

    def coverage(self):
        return {
            report["assets"][0]["name"]: report["metadata"].get("coverage_type", "full")
            for report in self.reports
        }

    def keys(self):
        return {report["metadata"]["coverage_key"] for report in self.reports}


def collected(tmp_path, collect, *, config=None, meddle=None, command_id="cmd_1", **payload):
    section = {"name": "rude", "config": config or {}}
    settings = Settings(state_dir=tmp_path / "state", collectors=[section])
    spool = open_spool(settings)
    registry = Registry({}, {}, collectors={"rude": Rude(collect)})
    executor = build_executor(Configuration(settings), registry, spool)
    command = CollectCommand(
        id=command_id, type="collect", payload={"collector": "rude", **payload}
    )
    return Kept(kept_for_server(executor, spool, command, meddle))


async def two_assets(_ctx, _options):
    yield asset("a")
    yield ToolInfo("hub", "2.1", {"plan": "free"})
    yield finding("r1")
    yield Notice("info", "worth knowing")
    yield asset("b")


def test_each_asset_is_a_report_of_its_own_and_an_empty_one_is_told_too(tmp_path):
    kept = collected(tmp_path, two_assets)

    assert kept.result["status"] == "completed"
    assert kept.result["findings_count"] == 1
    assert kept.result["metadata"]["assets"] == 2
    assert kept.result["metadata"]["notices"] == [{"level": "info", "message": "a: worth knowing"}]
    assert kept.coverage() == {"a": "full", "b": "full"}
    assert len(kept.keys()) == 2
    first = kept.reports[0]
    assert first["metadata"]["source_type"] == "collector"
    assert first["metadata"]["command_id"] == "cmd_1"
    assert first["tool"] == {"name": "rude", "version": "2.1", "properties": {"plan": "free"}}
    assert first["findings"][0]["fingerprint"].startswith("rv1:")


def test_another_key_or_choice_of_assets_looks_for_the_same_things(tmp_path):
    keys = [
        collected(tmp_path, two_assets, command_id=f"cmd_{n}", config=config).keys()
        for n, config in enumerate(
            [
                {"token": "first-secret", "password": "first-secret"},
                {"token": "second-secret", "password": "second-secret"},
                {"token": "first-secret", "password": "first-secret", "repository": "a"},
                {"token": "first-secret", "password": "first-secret", "url": "https://other"},
            ]
        )
    ]

    assert keys[0] == keys[1] == keys[2]
    assert not keys[0] & keys[3]


FAULTS = [
    (ToolError("the hub answers 502"), "tool_error"),
    (RuntimeError("broken"), "plugin_error"),
    (StopIteration(), "plugin_error"),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=lambda part: type(part).__name__)
def test_what_was_whole_before_a_fault_is_delivered_whole(tmp_path, fault, reason):
    async def collect(_ctx, _options):
        yield asset("a")
        yield finding()
        yield asset("b")
        yield finding()
        raise fault

    kept = collected(tmp_path, collect)

    assert (kept.result["status"], kept.reason) == ("failed", reason)
    assert "1 of 2 assets were whole" in kept.result["error"]
    assert kept.coverage() == {"a": "full", "b": "partial"}
    assert kept.result["findings_count"] == 2


@pytest.mark.parametrize(
    "fault", [SystemExit(0), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
def test_a_collector_that_would_end_the_agent_ends_its_command_alone(tmp_path, fault):
    async def collect(_ctx, _options):
        yield asset("a")
        raise fault

    kept = collected(tmp_path, collect)

    assert (kept.result["status"], kept.reason) == ("failed", "plugin_error")
    assert kept.reports == []


@pytest.mark.parametrize(
    ("level", "status", "coverage"),
    [("info", "completed", "full"), ("warning", "completed", "partial"),
     ("error", "failed", "partial")],
)  # fmt: skip
def test_a_complaint_makes_the_coverage_of_its_own_asset_partial(tmp_path, level, status, coverage):
    async def collect(_ctx, _options):
        yield asset("a")
        yield Notice(level, "no right to read the secrets")
        yield asset("b")

    kept = collected(tmp_path, collect)

    assert kept.result["status"] == status
    assert kept.reason == ("partial_scan" if level == "error" else None)
    assert kept.coverage() == {"a": coverage, "b": "full"}
    assert kept.result["metadata"]["coverage"] == coverage


async def nothing(_ctx, _options):
    for never in ():
        yield never


async def a_finding_first(_ctx, _options):
    yield finding()


async def nonsense(_ctx, _options):
    yield asset("a")
    yield None
    yield asset("b")


async def no_asset_at_all(_ctx, _options):
    yield Asset.model_construct(id="x", type="repository", value="")


def no_generator(_ctx, _options):
    return [asset("a")]


@pytest.mark.parametrize(
    ("collect", "reason", "sentence"),
    [
        (nothing, "report_unreadable", "named not even one asset"),
        (a_finding_first, "plugin_error", "before the first Asset"),
        (nonsense, "plugin_error", "not NoneType"),
        (no_asset_at_all, "plugin_error", "an asset that is none: value"),
        (no_generator, "plugin_error", "async generator"),
    ],
)
def test_a_collector_that_breaks_its_promise_is_never_clean(tmp_path, collect, reason, sentence):
    kept = collected(tmp_path, collect)

    assert (kept.result["status"], kept.reason) == ("failed", reason)
    assert sentence in kept.result["error"]
    assert set(kept.coverage().values()) <= {"partial"}


def test_an_asset_that_comes_twice_resolves_nothing(tmp_path):
    async def collect(_ctx, _options):
        yield asset("a")
        yield finding("r1")
        yield asset("b")
        yield asset("a")
        yield finding("r2")

    kept = collected(tmp_path, collect)

    assert kept.reason == "plugin_error"
    assert kept.coverage() == {"a": "partial", "b": "full"}


def forever(swallow):
    async def collect(_ctx, _options):
        yield asset("a")
        yield finding()
        yield asset("b")
        yield finding()
        with suppress(swallow):
            await anyio.sleep_forever()

    return collect


@pytest.mark.parametrize("swallow", [ZeroDivisionError, BaseException], ids=["goes", "swallows"])
def test_the_time_out_ends_it_and_keeps_what_was_whole(tmp_path, swallow):
    kept = collected(tmp_path, forever(swallow), timeout_seconds=1)

    assert (kept.result["status"], kept.reason) == ("failed", "timeout")
    assert kept.coverage() == {"a": "full", "b": "partial"}
    assert kept.result["findings_count"] == 2


@pytest.mark.parametrize("swallow", [ZeroDivisionError, BaseException], ids=["goes", "swallows"])
def test_a_cancelled_collection_delivers_nothing(tmp_path, swallow):
    begun = anyio.Event()

    async def collect(ctx, options):
        async for event in forever(swallow)(ctx, options):
            yield event
            if isinstance(event, Finding):
                begun.set()

    async def cancel(executor):
        await begun.wait()
        executor.cancel("cmd_1", Cause.CANCELLED)

    kept = collected(tmp_path, collect, meddle=cancel)

    assert kept.result["status"] == "cancelled"
    assert kept.reports == []


def test_a_collection_without_end_is_written_as_it_comes(tmp_path):
    """Without a pause of its own, and far more than one part of a report holds."""

    async def collect(_ctx, _options):
        yield asset("a")
        number = 0
        while True:
            number += 1
            yield finding(f"r{number}")

    kept = collected(tmp_path, collect, timeout_seconds=1)

    assert kept.reason == "timeout"
    found = sum(len(report["findings"]) for report in kept.reports)
    assert found == kept.result["findings_count"] > 500
    assert max(len(report["findings"]) for report in kept.reports) <= 1000


def test_collections_by_one_collector_follow_one_another(tmp_path):
    running, most = set(), []

    async def collect(_ctx, options):
        running.add(options.repository)
        most.append(len(running))
        yield asset(options.repository)
        await anyio.lowlevel.checkpoint()
        running.discard(options.repository)

    async def another(executor):
        payload = {"collector": "rude", "source_config": {"repository": "second"}}
        command = CollectCommand(id="cmd_2", type="collect", payload=payload)
        await executor.execute(Job(command, commanded=False))

    kept = collected(tmp_path, collect, meddle=another, source_config={"repository": "first"})

    assert kept.result["status"] == "completed"
    assert most == [1, 1]


@pytest.mark.parametrize("key", ["url", "token", "nonsense"])
def test_a_command_cannot_turn_a_key_to_another_address(tmp_path, key):
    kept = collected(tmp_path, two_assets, source_config={key: "https://evil", "repository": "a"})

    assert (kept.result["status"], kept.reason) == ("failed", "invalid_payload")
    assert f"may not set rude's {key} (it may set: repository)" in kept.result["error"]


def test_a_bad_option_of_a_command_is_named(tmp_path):
    kept = collected(tmp_path, two_assets, source_config={"repository": 3})

    assert kept.reason == "invalid_payload"
    assert "rude's option 'repository'" in kept.result["error"]


def test_no_secret_of_the_configuration_is_in_what_is_kept(tmp_path):
    async def collect(_ctx, options):
        yield asset("a")
        yield Notice("warning", f"tried with {options.password}")
        raise ToolError(f"the hub refuses {options.token.get_secret_value()}")

    settings = {"token": "hush-hush-1", "password": "hush-hush-2"}
    kept = collected(tmp_path, collect, config=settings)

    assert kept.reason == "tool_error"
    assert "hush-hush" not in json.dumps([kept.result, kept.reports])
