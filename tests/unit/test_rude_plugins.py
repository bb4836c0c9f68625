"""Whatever a plugin does, its command has an outcome in the spool, and the agent goes on."""

import asyncio
import sqlite3
import threading
from contextlib import suppress
from datetime import timedelta

import anyio
import pytest
from executed import kept_for_server
from pydantic import BaseModel

from rediver_agent.agent import build_executor, utc_now
from rediver_agent.configuration import Configuration
from rediver_agent.contract import Finding, HealthCheckCommand, ScanCommand
from rediver_agent.errors import ReportUnreadable
from rediver_agent.executor import Cause, Job
from rediver_agent.handlers.health_check import HealthCheckHandler
from rediver_agent.interfaces import Notice, Parser, Scanner, ScanReport
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.status import Status


class Options(BaseModel, extra="forbid"):
    pass


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Rude(Scanner[Options]):
    name = "rude"
    program = "sh"
    options = Options

    def __init__(self, scan):
        self._scan = scan

    async def scan(self, ctx, _options):
        return await self._scan(ctx)


class RudeParser(Parser):
    format = "rude"

    def __init__(self, parse):
        self._parse = parse

    def sniff(self, _head):
        return False

    def parse(self, stream):
        return self._parse(stream)


async def report(ctx):
    path = ctx.work_dir / "report"
    path.write_text("x")
    return ctx.parse(path, "rude")


async def started_report(ctx):
    await ctx.run("sh", "-c", "true")
    return await report(ctx)


def one_finding(_):
    yield Finding(type="secret", title="one", severity="high")


def outcomes(tmp_path, scan=report, parse=one_finding, meddle=None, **payload):
    """What the spool holds for the server after a scan: the outcomes, findings apart."""
    settings = Settings(state_dir=tmp_path / "state", targets=[str(tmp_path)])
    spool = Spool(settings.state_dir, now=utc_now)
    registry = Registry({"rude": Rude(scan)}, {"rude": RudeParser(parse)})
    executor = build_executor(Configuration(settings), registry, spool)
    command = ScanCommand(
        id="cmd_1",
        type="scan",
        payload={"scanner": "rude", "target": str(tmp_path), **payload},
    )
    found = kept_for_server(executor, spool, command, meddle)
    assert len([kind for kind, _ in found if kind == "result"]) == 1
    return found[-1][1]


def raising(fault):
    async def scan(_):
        raise fault

    return scan


def parse_raising(fault):
    def parse(_):
        yield Finding(type="secret", title="one", severity="high")
        raise fault

    return parse


FAULTS = [
    SystemExit(0), KeyboardInterrupt(), asyncio.CancelledError(), Unspeakable(),
    StopAsyncIteration(), RuntimeError("\0"), BaseExceptionGroup("two", [SystemExit(1)]),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_whatever_a_scanner_raises_fails_its_command_alone(tmp_path, fault):
    result = outcomes(tmp_path, raising(fault))

    assert (result["status"], result["metadata"]["reason"]) == ("failed", "plugin_error")
    assert type(fault).__name__ in result["error"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_whatever_a_parser_raises_fails_its_command_alone(tmp_path, fault):
    result = outcomes(tmp_path, parse=parse_raising(fault))

    assert (result["status"], result["metadata"]["reason"]) == ("failed", "plugin_error")


def test_words_that_are_no_text_do_not_hide_the_reason(tmp_path):
    result = outcomes(tmp_path, raising(ReportUnreadable("a\ud800b")))

    assert (result["metadata"]["reason"], result["error"]) == ("report_unreadable", "a?b")


@pytest.mark.parametrize("nonsense", [None, 3, "report", [], ScanReport], ids=repr)
def test_a_scanner_that_returns_no_report_is_never_clean(tmp_path, nonsense):
    async def scan(_):
        return nonsense

    assert outcomes(tmp_path, scan)["status"] == "failed"


@pytest.mark.parametrize("message", ["x" * 100_000, "\ud800", "\0"], ids=ascii)
def test_a_notice_that_no_result_can_carry_is_a_failure_that_arrives(tmp_path, message):
    result = outcomes(tmp_path, parse=lambda _: iter([Notice("error", message)]))

    assert result["status"] == "failed"
    assert result["metadata"]["reason"] in {"partial_scan", "plugin_error"}


def test_a_scanner_that_swallows_its_time_out_is_not_complete(tmp_path):
    async def scan(ctx):
        with suppress(asyncio.CancelledError):
            await ctx.run("sh", "-c", "sleep 60")
        return await report(ctx)

    result = outcomes(tmp_path, scan, timeout_seconds=1)

    assert (result["status"], result["metadata"]["reason"]) == ("failed", "timeout")


@pytest.mark.parametrize("reason", ["timeout", "cancelled"])
def test_a_parser_that_never_ends_holds_neither_the_time_out_nor_a_cancel(tmp_path, reason):
    begun, over = threading.Event(), threading.Event()

    def parse(_):
        yield Finding(type="secret", title="one", severity="high")
        begun.set()
        over.wait(30)

    async def cancel(executor):
        await anyio.to_thread.run_sync(begun.wait, 10)
        executor.cancel("cmd_1", Cause.CANCELLED)
        await executor.wait_idle()
        over.set()

    async def wait(executor):
        await anyio.to_thread.run_sync(begun.wait, 10)
        await executor.wait_idle()
        over.set()

    if reason == "timeout":
        result = outcomes(tmp_path, started_report, parse, wait, timeout_seconds=1)
        assert (result["status"], result["metadata"]["reason"]) == ("failed", "timeout")
    else:
        assert outcomes(tmp_path, started_report, parse, cancel)["status"] == "cancelled"


def test_a_parser_without_end_is_stopped_by_the_time_out(tmp_path):
    def parse(_):
        while True:
            yield Notice("info", "again")

    result = outcomes(tmp_path, started_report, parse, timeout_seconds=1)

    assert (result["status"], result["metadata"]["reason"]) == ("failed", "timeout")


@pytest.mark.parametrize("percent", [150, -1, float("nan"), float("inf")])
def test_a_progress_that_cannot_be_is_told_without_its_number(tmp_path, percent):
    told = []

    async def scan(ctx):
        ctx.progress(percent, "odd")
        told.append((ctx.job.percent, ctx.job.message))
        return await report(ctx)

    assert outcomes(tmp_path, scan)["status"] == "completed"
    assert told == [(None, "odd")]


@pytest.mark.parametrize("fault", [RuntimeError("x"), SystemExit(2), Unspeakable()])
def test_a_probe_that_fails_hides_no_other_scanner(tmp_path, fault):
    class Bad(Rude):
        async def probe(self, _ctx):
            raise fault

    class Good(Rude):
        async def probe(self, _ctx):
            return "1.0"

    settings = Settings(state_dir=tmp_path / "state")
    spool = Spool(settings.state_dir, now=utc_now)
    registry = Registry({"bad": Bad(report), "good": Good(report)}, {})
    status = Status(utc_now(), "server-controlled")
    check = HealthCheckHandler(
        registry, Configuration(settings), spool, utc_now, status, clock_skew=timedelta
    )
    job = Job(HealthCheckCommand(id="cmd_1", type="health_check"), commanded=False)

    outcome = anyio.run(check.handle, job)
    spool.close()

    assert outcome.metadata["scanners"]["good"] == {"usable": True, "version": "1.0"}
    assert outcome.metadata["scanners"]["bad"]["usable"] is False


def test_an_outcome_that_could_not_be_written_is_no_success(tmp_path):
    """A local scan's findings are read from the spool: without them it would look clean."""
    settings = Settings(state_dir=tmp_path / "state")
    spool = Spool(settings.state_dir, now=utc_now)
    with sqlite3.connect(settings.state_dir / "spool.sqlite3") as db:
        db.execute(
            "CREATE TRIGGER bad BEFORE UPDATE OF header ON reports "
            "BEGIN SELECT RAISE(ABORT, 'the disk fails'); END"
        )
    db.close()
    registry = Registry({"rude": Rude(report)}, {"rude": RudeParser(one_finding)})
    payload = {"scanner": "rude", "target": str(tmp_path)}
    job = Job(ScanCommand(id="cmd_1", type="scan", payload=payload), commanded=False)

    outcome = anyio.run(build_executor(Configuration(settings), registry, spool).execute, job)
    spool.close()

    assert (outcome.status, outcome.metadata["reason"]) == ("failed", "agent_error")


async def waits_before_it_starts_anything(_):
    await anyio.sleep_forever()


def test_a_scanner_that_never_starts_its_tool_is_a_time_out_too(tmp_path):
    result = outcomes(tmp_path, waits_before_it_starts_anything, timeout_seconds=1)

    assert (result["status"], result["metadata"]["reason"]) == ("failed", "timeout")


def test_a_task_that_a_scanner_leaves_behind_ends_with_its_command_and_is_told(tmp_path):
    ended = []

    async def goes_on():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("the task")

    async def leaves_a_task(ctx):
        tasks.append(asyncio.create_task(goes_on()))
        return await started_report(ctx)

    tasks = []
    result = outcomes(tmp_path, leaves_a_task)

    assert ended == ["the task"]
    assert result["status"] == "completed"
    (name,) = result["metadata"]["leftover_tasks"]
    assert name.endswith("goes_on")


@pytest.mark.parametrize("answer", [None, "report.sarif", 0, [], Finding])
def test_a_scanner_that_returns_no_report_is_told_what_to_return(tmp_path, answer):
    async def returns(_):
        return answer

    result = outcomes(tmp_path, returns)

    assert result["metadata"]["reason"] == "plugin_error"
    assert "scan() must return ctx.parse(report, format)" in result["error"]
