"""`health_check` tells what is wrong and nothing else, and no bad plugin hides another."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from pydantic import BaseModel

from rediver_agent import Collector, Scanner, ToolMissing
from rediver_agent.agent import open_spool
from rediver_agent.configuration import Configuration
from rediver_agent.contract import HealthCheckCommand
from rediver_agent.executor import Job
from rediver_agent.handlers.health_check import HealthCheckHandler
from rediver_agent.plugin_manager import BrokenPlugin, PluginOrigin
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.status import Status

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
NOW = STARTED + timedelta(hours=1)


class NoOptions(BaseModel, extra="forbid"):
    pass


class Probed(Scanner[NoOptions]):
    program = "sh"
    options = NoOptions

    def __init__(self, name, probe):
        self.name = name
        self._probe = probe

    async def probe(self, ctx):
        return await self._probe(ctx)

    async def scan(self, _ctx, _options):
        raise AssertionError("a health check scans nothing")


class HubOptions(BaseModel, extra="forbid"):
    url: str


class Hub(Collector[HubOptions]):
    options = HubOptions

    def __init__(self, name):
        self.name = name

    def collect(self, _ctx, _options):
        raise AssertionError("a health check collects nothing")


class Checked:
    """A health check of an agent with these plugins."""

    def __init__(self, tmp_path, *scanners, broken=(), hubs=(), **settings):
        self.settings = Settings(state_dir=tmp_path / "state", **settings)
        self.status = Status(STARTED, "hybrid")
        self.spool = open_spool(self.settings)
        self.registry = Registry(
            {scanner.name: scanner for scanner in scanners},
            {},
            broken=tuple(broken),
            collectors={name: Hub(name) for name in hubs},
        )
        self.percents = []

    def metadata(self, **how):
        handler = HealthCheckHandler(
            self.registry,
            Configuration(self.settings),
            self.spool,
            lambda: NOW,
            self.status,
            lambda: timedelta(seconds=-2.5),
            **how,
        )
        job = Job(HealthCheckCommand(id="cmd_1", type="health_check"), 1)
        job.watcher = lambda job: self.percents.append(job.percent)

        async def handle():
            with anyio.fail_after(20):
                return await handler.handle(job)

        outcome = anyio.run(handle)
        self.spool.close()
        assert outcome.status == "completed"
        return outcome.metadata


def test_it_tells_how_the_agent_stands(tmp_path):
    checked = Checked(tmp_path)
    status = checked.status
    status.poll.went_well(NOW - timedelta(seconds=90))
    status.poll.went_wrong(NOW - timedelta(seconds=30), "https://r cannot be reached")
    status.heartbeat.went_well(NOW)
    status.overlay_version, status.socket = 3, "open"
    status.moved_aside.append("spool.corrupt-1.sqlite3")
    status.next_scan_at = NOW + timedelta(minutes=1)

    found = checked.metadata()

    assert found["uptime_seconds"] == 3600
    assert found["mode"] == "hybrid"
    assert found["clock_skew_seconds"] == -2.5
    assert found["settings_version"] == 3
    assert found["socket"] == "open"
    assert found["next_scan_at"] == "2026-01-01T01:01:00Z"
    assert found["spool"] == {
        "waiting": 0, "parked": 0, "oldest_at": None, "moved_aside": ["spool.corrupt-1.sqlite3"],
    }  # fmt: skip
    assert found["poll"] == {
        "good": 1, "failed": 1, "problem": "https://r cannot be reached",
        "last_good_seconds_ago": 90.0,
    }  # fmt: skip
    assert found["heartbeat"]["problem"] is None
    assert found["disk"]["free_bytes"] > 0
    assert "problem" not in found["disk"]


def test_a_disk_that_is_nearly_full_is_told(tmp_path):
    found = Checked(tmp_path, retry_queue={"min_free_bytes": 1 << 60}).metadata()

    assert "nearly full" in found["disk"]["problem"]


def test_scanners_are_asked_side_by_side_and_each_failure_is_its_own(tmp_path):
    meeting = []
    met = anyio.Event()

    async def only_together(_ctx):
        meeting.append(1)
        if len(meeting) == 2:
            met.set()
        await met.wait()
        return "1.0"

    async def missing(_ctx):
        raise ToolMissing("trivy is not on PATH; install it")

    async def crashing(_ctx):
        raise SystemExit(0)

    checked = Checked(
        tmp_path,
        Probed("one", only_together),
        Probed("two", only_together),
        Probed("missing", missing),
        Probed("crashing", crashing),
        Probed("off", crashing),
        scanners=[{"name": name} for name in ("one", "two", "missing", "crashing")],
        broken=[BrokenPlugin(PluginOrigin("bad", "rediver-bad", "1"), "ImportError: no")],
    )

    found = checked.metadata()

    assert found["scanners"] == {
        "crashing": {"usable": False, "problem": "SystemExit: 0"},
        "missing": {"usable": False, "problem": "trivy is not on PATH; install it"},
        "one": {"usable": True, "version": "1.0"},
        "two": {"usable": True, "version": "1.0"},
    }
    assert found["broken_plugins"] == {"bad": "ImportError: no"}
    assert checked.percents == [0, 25, 50, 75, 100]


def test_a_scanner_that_never_answers_is_told_after_its_time(tmp_path):
    async def never(_ctx):
        await anyio.sleep_forever()

    found = Checked(tmp_path, Probed("slow", never)).metadata(probe_seconds=0.1)

    assert found["scanners"]["slow"] == {"usable": False, "problem": "no answer within 0.1 s"}


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"config": {"url": "https://hub"}}, None),
        ({"config": {}}, "hub's option 'url': Field required"),
        ({"config": {"url": "https://hub", "urll": 1}}, "hub has no option 'urll' (it has: url)"),
        ({"enabled": False}, "listed with `enabled: false`"),
        (None, "not listed in the configuration's collectors"),
    ],
)
def test_of_each_collector_it_says_whether_it_can_be_used(tmp_path, section, problem):
    sections = [] if section is None else [{"name": "hub", **section}]

    found = Checked(tmp_path, hubs=["hub"], collectors=sections).metadata()

    hub = found["collectors"]["hub"]
    assert (hub["usable"], hub.get("problem")) == (problem is None, problem)
    assert hub["installed"] is True
