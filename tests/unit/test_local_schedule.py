"""An agent does its own work when it is due: not twice, not late, not at the server's expense."""

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
import virtual_time
from pydantic import BaseModel

from rediver_agent.agent import build_executor, open_spool
from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import ScanCommand, ScanPayload
from rediver_agent.executor import Job
from rediver_agent.interfaces import Parser, Scanner
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.local_schedule import LocalSchedule
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.status import Status

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LATE = timedelta(minutes=5)  # how much later than asked for it may be


class Options(BaseModel, extra="forbid"):
    pass


class Tool(Scanner[Options]):
    """A plugin whose scans take until `gate` is opened, if there is one."""

    program = "no-such-tool"
    options = Options

    def __init__(self, name="alpha", gate=None):
        self.name, self.gate, self.at_once, self.most_at_once = name, gate, 0, 0

    async def scan(self, ctx, _options):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.gate is not None:
            await self.gate.wait()
        self.at_once -= 1
        report = ctx.work_dir / "report"
        report.write_text("nothing found")
        return ctx.parse(report, "nothing")


class ToolIsMissing(Tool):
    async def scan(self, ctx, _options):
        await ctx.run(self.program)


class NothingFound(Parser):
    format = "nothing"

    def sniff(self, _head):
        return False

    def parse(self, _stream):
        return iter(())


@dataclass
class Machine:
    """One machine on which agents come and go, in virtual time."""

    loop: virtual_time.VirtualTimeLoop
    home: Path
    scanners: list = field(default_factory=lambda: [Tool()])
    asked: int = 0
    set_by: timedelta = timedelta()

    def now(self):
        return self.loop.now() + self.set_by

    def targets(self, *names):
        for name in names:
            (self.home / name).mkdir(exist_ok=True)
        return [str(self.home / name) for name in names]

    def settings(self, *targets, **fields):
        agent = {"scan_interval": "1h", **fields.pop("agent", {})}
        state = self.home / "state"
        return Settings(
            agent=agent, targets=self.targets(*targets), state_dir=state,
            **{"retry_queue": {"min_free_bytes": 0}, **fields},
        )  # fmt: skip

    @asynccontextmanager
    async def agent(self, settings, kept_for_server=0):
        """A running schedule over a real executor and spool. Yields the `LocalSchedule`."""
        registry = Registry(
            {tool.name: tool for tool in self.scanners}, {"nothing": NothingFound()}
        )
        configuration = Configuration(settings)
        spool = open_spool(settings, self.now)
        executor = build_executor(configuration, registry, spool, now=self.now)
        executor.kept_for_server = kept_for_server
        async with anyio.create_task_group() as tasks:
            schedule = LocalSchedule(
                configuration, registry, executor, spool, tasks, self.now,
                Status(self.now(), "standalone"), Doorbell(), Doorbell(), self.ask,
                lambda: [tool.name for tool in self.scanners], lambda: None,
            )  # fmt: skip
            tasks.start_soon(schedule.run)
            yield schedule
            tasks.cancel_scope.cancel()
        spool.close()

    async def ask(self):
        self.asked += 1


def in_virtual_time(tmp_path, main, **fields):
    async def begin(loop):
        await main(Machine(loop, tmp_path, **fields))

    virtual_time.run(begin)


async def pass_by(time):
    """Let virtual time go by."""
    await anyio.sleep(time.total_seconds())


def runs(schedule):
    """Every run that is kept, oldest first: name, target's name, when it began."""
    return [
        (run.work.name, Path(run.work.target).name, run.started_at)
        for run in reversed(schedule.spool.local_runs())
    ]


def outcomes(schedule):
    return [
        (run.work.name, run.result.status.value, run.result.metadata.get("reason"))
        for run in reversed(schedule.spool.local_runs())
    ]


def test_every_scanner_scans_every_target_at_once_and_then_once_an_interval(tmp_path):
    async def main(machine):
        async with machine.agent(machine.settings("shop", "api")) as agent:
            await pass_by(MINUTE)
            first = runs(agent)
            assert agent.status.next_scan_at - machine.loop.now() >= HOUR - MINUTE * 2
            await pass_by(3 * HOUR + 3 * LATE)

        pairs = [("alpha", "shop"), ("beta", "shop"), ("alpha", "api"), ("beta", "api")]
        assert [run[:2] for run in first] == pairs
        agent.spool = open_spool(agent.configuration.settings)
        for pair in pairs:
            times = [at for *of, at in runs(agent) if tuple(of) == pair]
            gaps = [later - at for at, later in pairwise(times)]
            assert len(gaps) == 3
            assert all(HOUR <= gap <= HOUR + LATE + MINUTE for gap in gaps), gaps
        agent.spool.close()

    in_virtual_time(tmp_path, main, scanners=[Tool("alpha"), Tool("beta")])


def test_a_restart_neither_scans_at_once_again_nor_waits_anew(tmp_path):
    async def main(machine):
        settings = machine.settings("shop")
        async with machine.agent(settings):
            await pass_by(30 * MINUTE)
        async with machine.agent(settings) as agent:
            await pass_by(25 * MINUTE)
            assert len(runs(agent)) == 1
            await pass_by(5 * MINUTE + LATE + MINUTE)
            assert len(runs(agent)) == 2

    in_virtual_time(tmp_path, main)


def test_what_a_restart_left_undone_of_a_round_is_done_at_once(tmp_path):
    async def main(machine):
        machine.scanners[0].gate = anyio.Event()
        settings = machine.settings("shop", "api", agent={"max_concurrent": 1})
        async with machine.agent(settings) as agent:
            await pass_by(MINUTE)
            assert [name for _, name, _ in runs(agent)] == ["shop"]
        machine.scanners[0].gate = None
        async with machine.agent(settings) as agent:
            await pass_by(MINUTE)
            assert [name for _, name, _ in runs(agent)] == ["shop", "api"]

    in_virtual_time(tmp_path, main)


def test_rounds_that_were_missed_count_once(tmp_path):
    async def main(machine):
        settings = machine.settings("shop")
        async with machine.agent(settings):
            await pass_by(MINUTE)
        await pass_by(100 * HOUR)
        async with machine.agent(settings) as agent:
            await pass_by(30 * MINUTE)
            assert len(runs(agent)) == 2

    in_virtual_time(tmp_path, main)


@pytest.mark.parametrize("running", [True, False])
def test_a_clock_that_is_set_back_does_not_stop_the_scans(tmp_path, running):
    async def main(machine):
        settings = machine.settings("shop")
        async with machine.agent(settings) as agent:
            await pass_by(MINUTE)
            machine.set_by = timedelta(days=-400)
            await pass_by(2 * MINUTE if running else timedelta(0))
            assert len(runs(agent)) == (2 if running else 1)
        async with machine.agent(settings) as agent:
            await pass_by(10 * MINUTE)
            assert len(runs(agent)) == 2

    in_virtual_time(tmp_path, main)


def test_a_cron_expression_says_when_in_utc(tmp_path):
    async def main(machine):
        settings = machine.settings("shop", agent={"scan_cron": "30 3 * * 1-5"})
        async with machine.agent(settings) as agent:
            await pass_by(timedelta(days=2))
            first, *later = [at for *_, at in runs(agent)]

        assert first - virtual_time.START < MINUTE  # a Thursday
        nominal = [datetime(2026, 1, day, 3, 30, tzinfo=UTC) for day in (1, 2)]
        assert len(later) == 2
        assert all(
            timedelta() <= at - fire <= LATE + MINUTE
            for at, fire in zip(later, nominal, strict=True)
        )

    in_virtual_time(tmp_path, main)


@pytest.mark.parametrize("cron", ["0 3 * *", "@daily", "0 0 31 2 *", "0 25 * * *", "0 3 * * 7-0"])
def test_a_cron_expression_that_means_nothing_is_refused_where_it_is_written(cron):
    with pytest.raises(ValueError, match="scan_cron"):
        Settings(agent={"scan_cron": cron})


def test_a_scan_that_outlasts_its_interval_is_not_begun_beside_itself(tmp_path):
    async def main(machine):
        tool = machine.scanners[0]
        tool.gate = anyio.Event()
        async with machine.agent(machine.settings("shop", agent={"scan_interval": "1m"})) as agent:
            await pass_by(20 * MINUTE)
            assert len(runs(agent)) == 1
            tool.gate.set()
            await pass_by(2 * MINUTE)
            assert len(runs(agent)) >= 2
        assert tool.most_at_once == 1

    in_virtual_time(tmp_path, main)


def test_a_scanner_without_its_tool_fails_and_is_never_skipped(tmp_path):
    async def main(machine):
        settings = machine.settings(
            "shop", scanners=[{"name": "alpha"}, {"name": "gone"}, {"name": "no_plugin"}]
        )
        async with machine.agent(settings) as agent:
            await pass_by(MINUTE)
            assert sorted(outcomes(agent)) == [
                ("alpha", "completed", None),
                ("gone", "failed", "tool_missing"),
                ("no_plugin", "failed", "unknown_scanner"),
            ]

    in_virtual_time(tmp_path, main, scanners=[Tool("alpha"), ToolIsMissing("gone")])


@pytest.mark.parametrize("listed", [None, [], [{"name": "alpha", "enabled": False}]])
def test_an_agent_without_any_usable_scanner_says_so_each_time(tmp_path, caplog, listed):
    async def main(machine):
        async with machine.agent(machine.settings("shop", scanners=listed)) as agent:
            await pass_by(HOUR + LATE + MINUTE)
            assert outcomes(agent) == [("", "failed", "tool_missing")] * 2
            assert "no scanner is usable" in agent.spool.latest_local_run().result.error

    in_virtual_time(tmp_path, main, scanners=[])

    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "no scanner is usable" in caplog.text


def test_a_target_that_no_scan_can_be_asked_for_is_a_failure_that_is_kept(tmp_path):
    async def main(machine):
        settings = machine.settings().model_copy(update={"targets": [f"/{'x' * 600}"]})
        async with machine.agent(settings) as agent:
            await pass_by(MINUTE)
            assert outcomes(agent) == [("alpha", "failed", "invalid_payload")]

    in_virtual_time(tmp_path, main)


def test_local_work_leaves_a_slot_to_the_server_and_asks_it_before_each_job(tmp_path):
    async def main(machine):
        tool = machine.scanners[0]
        tool.gate = anyio.Event()
        settings = machine.settings("a", "b", "c", agent={"max_concurrent": 3})
        async with machine.agent(settings, kept_for_server=1) as agent:
            await pass_by(10 * MINUTE)
            assert (tool.at_once, machine.asked) == (2, 2)
            assert agent.executor.free_slots == 1
            tool.gate.set()
            await pass_by(timedelta(seconds=1))
            assert (len(runs(agent)), machine.asked) == (3, 3)

    in_virtual_time(tmp_path, main)


def test_local_work_waits_while_the_server_has_every_slot(tmp_path):
    async def main(machine):
        tool = machine.scanners[0]
        tool.gate = anyio.Event()
        settings = machine.settings("a", agent={"max_concurrent": 1})

        async def a_command_comes():
            payload = ScanPayload(scanner="alpha", target=str(machine.home / "a"))
            command = ScanCommand(id="cmd_1", type="scan", payload=payload)
            agent.tasks.start_soon(agent.executor.execute, Job(command, attempt=1))
            await anyio.lowlevel.checkpoint()

        machine.ask = a_command_comes
        async with machine.agent(settings) as agent:
            await pass_by(10 * MINUTE)
            assert runs(agent) == []
            agent.ask_server_first = anyio.lowlevel.checkpoint
            tool.gate.set()
            await pass_by(2 * MINUTE)
            assert len(runs(agent)) == 1

    in_virtual_time(tmp_path, main)


def test_settings_that_change_are_heeded_at_once(tmp_path):
    async def main(machine):
        async with machine.agent(machine.settings("shop")) as agent:
            agent.configuration.on_change(lambda _: agent.bell.ring())
            await pass_by(10 * MINUTE)
            agent.configuration.replace(machine.settings("shop", "new"))
            await pass_by(timedelta(seconds=1))
            assert [name for _, name, _ in runs(agent)] == ["shop", "new"]
            often = machine.settings("shop", "new", agent={"scan_interval": "5m"})
            agent.configuration.replace(often)
            await pass_by(timedelta(seconds=40))
            assert [name for _, name, _ in runs(agent)] == ["shop", "new", "shop"]

    in_virtual_time(tmp_path, main)


def test_a_full_disk_begins_nothing_and_says_so(tmp_path, caplog):
    async def main(machine):
        full = machine.settings("shop", retry_queue={"min_free_bytes": 1 << 62})
        async with machine.agent(full) as agent:
            await pass_by(MINUTE)
            assert runs(agent) == []
            agent.configuration.replace(machine.settings("shop"))
            await pass_by(MINUTE)
            assert len(runs(agent)) == 1

    in_virtual_time(tmp_path, main)
    assert "the disk is nearly full: no local work is begun" in caplog.text


def test_a_spool_that_fails_stops_nothing(tmp_path, caplog):
    async def main(machine):
        async with machine.agent(machine.settings("shop")) as agent:
            await pass_by(MINUTE)
            agent.spool.close()
            await pass_by(2 * MINUTE)
            agent.spool = open_spool(agent.configuration.settings, machine.now)
            await pass_by(HOUR)
            agent.spool.close()

    in_virtual_time(tmp_path, main)
    assert "trying again in 30 s" in caplog.text
