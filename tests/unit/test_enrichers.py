"""The operator's enrichers: every finding passes them, and none leaves that they have not seen."""

import json
import threading

import anyio
import pytest
from executed import kept_for_server
from pydantic import BaseModel, SecretStr

from rediver_agent import Asset, Collector, CommandError, Enricher, Parser, Scanner, ToolInfo
from rediver_agent.agent import build_executor, open_spool, utc_now
from rediver_agent.cli.import_file import FileReader
from rediver_agent.configuration import Configuration
from rediver_agent.contract import CollectCommand, Finding, ScanCommand
from rediver_agent.contract.findings import Location, Suppression
from rediver_agent.enrichment import enrichment_of
from rediver_agent.errors import ConfigurationError, PluginError
from rediver_agent.executor import Job
from rediver_agent.handlers.listen_context import Keeper
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings

TOKEN = "t0ken-of-the-operator"
ASSET = Asset(id="r", type="repository", value="https://hub/shop", name="shop")
SHARED = ["of-the-rule"]  # as the findings of one rule share what the rule says


class Options(BaseModel, extra="forbid"):
    token: SecretStr = SecretStr("")
    tag: str = "seen"


class Step(Enricher[Options]):
    """An enricher that does what a test says."""

    options = Options

    def __init__(self, enrich, name="step"):
        self.name, self._enrich = name, enrich

    def enrich(self, finding, options):
        return self._enrich(finding, options)


class Tool(Scanner):
    name = "tool"
    program = "sh"

    async def scan(self, ctx, _options):
        report = ctx.work_dir / "report"
        await ctx.run("sh", "-c", f"echo x > {report}")
        return ctx.parse(report, "lines")


class Lines(Parser):
    format = "lines"

    def sniff(self, head):
        return head.startswith(b"x")

    def parse(self, _stream):
        yield ToolInfo("tool", "1")
        yield from findings()


class Hub(Collector):
    name = "hub"

    async def collect(self, _ctx, _options):
        yield ASSET
        for finding in findings():
            yield finding


def findings():
    for number, severity in enumerate(["low", "medium", "high"], start=1):
        place = Location(path="a.py", start_line=number, snippet=f"line {number}")
        yield Finding.model_construct(
            **Finding(
                type="vulnerability", title=f"finding {number}", severity=severity,
                rule_id=f"r{number}", location=place,
            ).__dict__
            | {"tags": SHARED}
        )  # fmt: skip


class House:
    """An agent's parts with these enrichers, in the order in which they are given."""

    def __init__(self, tmp_path, *steps, config=None, local=False, **settings):
        self.steps = [s if isinstance(s, Step) else Step(s) for s in steps]
        listed = [{"name": step.name, "config": config or {}} for step in self.steps]
        server = {} if local else {"base_url": "https://r.example", "api_key": "rs_src_x"}
        self.settings = Settings(
            state_dir=tmp_path / "state", targets=[str(tmp_path)], enrichers=listed,
            collectors=[{"name": "hub"}], server=server, retry_queue={"min_free_bytes": 0},
            **settings,
        )  # fmt: skip
        self.registry = Registry(
            {"tool": Tool()}, {"lines": Lines()}, collectors={"hub": Hub()},
            enrichers={step.name: step for step in self.steps},
        )  # fmt: skip
        self.target = tmp_path

    def run(self, kind, meddle=None, **payload):
        """(result, reports) of one command, as they would go to the server."""
        spool = open_spool(self.settings)
        executor = build_executor(Configuration(self.settings), self.registry, spool)
        if kind == "scan":
            said = {"scanner": "tool", "target": str(self.target), **payload}
            command = ScanCommand(id="cmd_1", type="scan", payload=said)
        else:
            said = {"collector": "hub", **payload}
            command = CollectCommand(id="cmd_1", type="collect", payload=said)
        rows = kept_for_server(executor, spool, command, meddle)
        reports = [body for what, body in rows if what == "findings"]
        (result,) = [body for what, body in rows if what == "result"]
        return result, reports


def leaves(reports):
    return [finding for report in reports for finding in report["findings"]]


def tags(finding, options):
    finding.tags.append(options.tag)  # in place: a list is no one's own
    return finding


def drops(severity):
    def drop(finding, _options):
        return None if finding.severity == severity else finding

    return drop


@pytest.mark.parametrize("kind", ["scan", "collect"])
def test_they_see_each_finding_in_their_order_and_what_they_change_leaves(tmp_path, kind):
    def worse(finding, _options):
        assert finding.tags == ["of-the-rule", "x"]
        return finding.model_copy(update={"severity": "critical", "title": "worse"})

    house = House(tmp_path, Step(tags, "first"), Step(worse, "second"), config={"tag": "x"})

    result, reports = house.run(kind)

    assert result["status"] == "completed"
    assert result["metadata"]["findings_by_severity"]["critical"] == 3
    assert [finding["tags"] for finding in leaves(reports)] == [["of-the-rule", "x"]] * 3
    assert {finding["severity"] for finding in leaves(reports)} == {"critical"}


def test_a_finding_is_told_apart_by_what_the_tool_said(tmp_path):
    def another(finding, _options):
        return finding.model_copy(
            update={"rule_id": "mine", "location": None, "fingerprint": "mine", "asset_ref": "x"}
        )

    _, plain = House(tmp_path / "a").run("collect")
    _, changed = House(tmp_path / "b", another).run("collect")

    known = [finding["fingerprint"] for finding in leaves(plain)]
    assert [finding["fingerprint"] for finding in leaves(changed)] == known
    assert {finding["rule_id"] for finding in leaves(changed)} == {"mine"}
    assert not any("asset_ref" in finding for finding in leaves(changed))


@pytest.mark.parametrize("kind", ["scan", "collect"])
def test_what_is_dropped_is_counted_by_who_did(tmp_path, kind):
    house = House(tmp_path, Step(drops("low"), "quiet"), Step(drops("high"), "calm"))

    result, reports = house.run(kind)

    assert [finding["severity"] for finding in leaves(reports)] == ["medium"]
    assert result["findings_count"] == 1
    assert result["metadata"]["dropped"] == {"quiet": 1, "calm": 1}
    assert reports[0]["metadata"]["properties"] == {"dropped": {"quiet": 1, "calm": 1}}


def test_other_enrichers_are_another_coverage_so_that_dropping_resolves_nothing(tmp_path):
    def key(name, *steps, **named):
        _, reports = House(tmp_path / name, *steps, **named).run("collect")
        return reports[0]["metadata"]["coverage_key"]

    none = key("a")
    keys = {
        none, key("b", tags), key("c", tags, config={"tag": "other"}),
        key("d", tags, Step(drops("low"), "quiet")), key("e", Step(drops("low"), "quiet"), tags),
    }  # fmt: skip

    assert len(keys) == 5
    assert key("f", tags, config={"token": TOKEN}) == key("g", tags, config={"token": TOKEN * 2})
    assert key("h") == none


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raising(fault):
    def enrich(finding, _options):
        if finding.severity == "high":  # the last one
            raise fault
        return finding

    return enrich


async def asynchronous(finding, _options):
    return finding


BAD = [
    raising(ValueError("boom")), raising(SystemExit(0)), raising(Unspeakable()),
    raising(PluginError("x")), lambda *_: "text", lambda *_: (1, 2), asynchronous,
    lambda f, _: f.model_copy(update={"severity": "terrible"}),
    lambda f, _: f.model_copy(update={"title": None}),
    lambda f, _: Finding.model_construct(nonsense=f),
    lambda f, _: f.model_copy(update={"title": "\ud800"}),
    lambda f, _: f.model_copy(update={"tags": [f]}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD)))
def test_nothing_leaves_a_scan_in_which_one_fails(tmp_path, number):
    result, reports = House(tmp_path, BAD[number]).run("scan")

    assert (result["status"], result["metadata"]["reason"]) == ("failed", "plugin_error")
    assert "the enricher step" in result["error"]
    assert reports == []


def test_what_one_has_not_seen_does_not_leave_a_collection_either(tmp_path):
    result, reports = House(tmp_path, raising(ValueError("boom"))).run("collect")

    assert (result["status"], result["metadata"]["reason"]) == ("failed", "plugin_error")
    assert [finding["severity"] for finding in leaves(reports)] == ["low", "medium"]
    assert reports[0]["metadata"]["coverage_type"] == "partial"


@pytest.mark.parametrize("kind", ["scan", "collect"])
def test_one_that_has_no_end_is_ended_by_the_time_out_of_the_command(tmp_path, kind):
    begun, over = threading.Event(), threading.Event()

    def hangs(finding, _options):
        begun.set()
        over.wait(30)
        return finding

    async def wait(executor):
        await anyio.to_thread.run_sync(begun.wait, 10)
        await executor.wait_idle()
        over.set()

    result, reports = House(tmp_path, hangs).run(kind, wait, timeout_seconds=1)

    assert (result["status"], result["metadata"]["reason"]) == ("failed", "timeout")
    assert reports == []


def test_the_threshold_is_compared_with_what_they_make_of_it(tmp_path):
    class Thrifty(BaseModel, extra="forbid"):
        severity_threshold: str = "medium"

    house = House(tmp_path, lambda f, _: f.model_copy(update={"severity": "low"}))
    house.registry.scanners["tool"].options = Thrifty

    result, reports = house.run("scan")

    assert (result["findings_count"], result["metadata"]["below_threshold"]) == (0, 3)
    assert leaves(reports) == []


@pytest.mark.parametrize(
    ("step", "by_file", "by_step", "dropped"),
    [
        (lambda f, _: f, 1, 0, 0),
        (lambda f, _: None if f.suppression else f, 0, 0, 1),
        (lambda f, _: f.model_copy(update={"suppression": None}), 0, 0, 0),
        (lambda f, _: f.model_copy(update={"rule_id": "x"}), 1, 0, 0),
        (lambda f, _: f.model_copy(update={"suppression": Suppression(kind="mine")}), 1, 2, 0),
    ],
    ids=["keeps", "drops", "lifts", "renames", "suppresses"],
)
def test_what_is_suppressed_is_what_the_tool_said_and_counted_once(
    tmp_path, step, by_file, by_step, dropped
):
    target = tmp_path / "app"
    target.mkdir()
    (target / ".rediver.yaml").write_text(
        "suppressions: [{rule: r2, reason: because, expires: 2099-01-01}]"
    )
    house = House(tmp_path, step, local=True)
    spool = open_spool(house.settings)
    executor = build_executor(Configuration(house.settings), house.registry, spool)
    spool.begin_local("local_1", "scan", "tool", str(target))
    payload = {"scanner": "tool", "target": str(target)}
    job = Job(ScanCommand(id="local_1", type="scan", payload=payload), commanded=False)

    metadata = anyio.run(executor.execute, job).metadata
    spool.close()

    assert metadata["suppressions"]["suppressed"] == by_file
    assert metadata["suppressions"]["unmatched"] == []
    assert metadata.get("suppressed_by_enrichers", 0) == by_step
    assert metadata["suppressed"] == by_file + by_step
    assert metadata.get("dropped", {}) == ({"step": 1} if dropped else {})


def imported(house, file):
    spool = open_spool(house.settings)
    enrichment = enrichment_of(house.settings, house.registry)
    reader = FileReader("a", house.registry, spool, None, enrichment=enrichment)
    outcome = reader.read(file)
    due = spool.next_due()
    spool.close()
    return outcome, [json.loads(due[1])] if due else []


def test_imports_pass_them_too_and_are_void_where_one_fails(tmp_path):
    (tmp_path / "report").write_text("x")

    outcome, reports = imported(House(tmp_path / "a", drops("low")), tmp_path / "report")
    assert outcome.metadata["dropped"] == {"step": 1}
    assert len(leaves(reports)) == 2

    outcome, reports = imported(House(tmp_path / "b", BAD[0]), tmp_path / "report")
    assert (outcome.status, outcome.metadata["reason"]) == ("failed", "plugin_error")
    assert (outcome.reports, reports) == ((), [])


def pushed(house, seconds=20.0):
    """(what is on the disk after a push, why it was not kept)."""
    spool = open_spool(house.settings)
    enrichment = enrichment_of(house.settings, house.registry)
    keeper = Keeper(Configuration(house.settings), spool, utc_now, bool, bool, enrichment, seconds)

    async def main():
        with anyio.fail_after(20):
            await keeper.keep("hub", ASSET, list(findings()), ToolInfo("hub", "1"))

    try:
        anyio.run(main)
    except CommandError as fault:
        assert spool.next_due() is None
        return None, str(fault)
    else:
        return json.loads(spool.next_due()[1]), None
    finally:
        spool.close()


def test_what_is_pushed_passes_them_too_and_one_that_fails_keeps_nothing(tmp_path):
    over = threading.Event()

    def hangs(finding, _options):
        over.wait(30)
        return finding

    report, _ = pushed(House(tmp_path / "a", drops("low")))
    assert [finding["severity"] for finding in report["findings"]] == ["medium", "high"]
    assert report["metadata"]["properties"] == {"dropped": {"step": 1}}
    assert "the enricher step failed" in pushed(House(tmp_path / "b", BAD[0]))[1]
    assert "push it again" in pushed(House(tmp_path / "c", hangs), seconds=0.2)[1]
    over.set()


def test_their_secrets_are_masked_in_what_leaves(tmp_path):
    def tells(finding, options):
        said = options.token.get_secret_value()
        return finding.model_copy(update={"description": f"asked with {said}"})

    _, reports = House(tmp_path, tells, config={"token": TOKEN}).run("scan")

    assert {finding["description"] for finding in leaves(reports)} == {"asked with ***"}


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"name": "redact"}, "no plugin provides 'redact' (installed: step)"),
        ({"name": "step", "config": {"tgo": "x"}}, "tgo is not a setting; did you mean tag"),
        ({"name": "step", "config": {"token": 7}}, "the config of step: token"),
    ],
)
def test_one_that_is_listed_and_cannot_be_used_stops_the_start(tmp_path, listed, said):
    settings = Settings(state_dir=tmp_path, enrichers=[listed])
    registry = Registry({}, {}, enrichers={"step": Step(tags)})

    with pytest.raises(ConfigurationError) as stopped:
        enrichment_of(settings, registry)

    assert said in str(stopped.value)
    assert not enrichment_of(
        Settings(state_dir=tmp_path, enrichers=[{**listed, "enabled": False}]), registry
    ).steps
