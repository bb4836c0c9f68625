"""Any order of reports, their parts and decisions leaves findings as CONTRACT section 4 has them.

Two agents report on two repositories, with three coverage keys, whole, partial and late, in parts
that come in any order and more than once.
"""

from dataclasses import dataclass, field
from typing import Any

from depth import DEPTH
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rediver_server_fixtures import ASSET, MAIN, OTHER, SIDE, Agent, Server, Tenant, finding

ASSETS = {"a": ASSET, "b": OTHER}
Key = tuple[str, str]  # an asset and a fingerprint
KEYS: list[Key] = [(asset, name) for asset in ASSETS for name in ("f1", "f2")]
PARTS = st.lists(st.frozensets(st.sampled_from(KEYS), max_size=3), min_size=1, max_size=2)


@dataclass
class Report:
    """A report as its agent has it; `came` is which of its parts the server has."""

    number: int
    agent: int
    time: str
    coverage: str
    key: str | None
    branch: dict[str, Any] | None
    parts: list[frozenset[Key]]
    told: str | None
    came: set[int] = field(default_factory=set)

    def body(self, part: int) -> dict[str, Any]:
        """A part names the assets that it has findings of, the first part both."""
        found = sorted(self.parts[part])
        named = ASSETS if part == 0 else {asset for asset, _ in found}
        meta = {
            "id": f"r-{self.number}",
            "timestamp": self.time,
            "part": part,
            "last": part == len(self.parts) - 1,
            "coverage_type": self.coverage,
            **({"coverage_key": self.key} if self.key else {}),
            **({"branch": self.branch} if self.branch else {}),
        }
        return {
            "version": "1.0",
            "metadata": meta,
            "tool": {"name": "semgrep"},
            "assets": [ASSETS[asset] for asset in named],
            "findings": [finding(name, asset_ref=asset, status=self.told) for asset, name in found],
        }


REPORTS = st.builds(
    Report,
    number=st.just(0),
    agent=st.integers(0, 1),
    time=st.integers(0, 2).map(lambda minute: f"2026-01-16T09:0{minute}:00Z"),
    coverage=st.sampled_from(["full", "full", "full", "partial"]),
    key=st.sampled_from(["k1", "k1", "k1", "k2", None]),
    branch=st.sampled_from([None, MAIN, MAIN, SIDE]),
    parts=PARTS,
    told=st.sampled_from([None, None, None, "open", "resolved", "accepted_risk"]),
)
DECISIONS = st.tuples(
    st.sampled_from(KEYS), st.sampled_from(["open", "resolved", "false_positive"])
)


@dataclass
class Known:
    """A finding: its status, whether a report set that, and what the newest report of it said."""

    status: str
    by_report: bool
    key: str | None
    seen: str


class Model:
    """Findings as the contract has them."""

    def __init__(self) -> None:
        self.findings: dict[Key, Known] = {}
        self.newest: dict[tuple[str, str | None], str] = {}

    def is_old(self, report: Report, asset: str) -> bool:
        return report.time < self.newest.get((asset, report.key), "")

    def take(self, report: Report, part: int) -> tuple[int, int, int, int]:
        """Created, updated, resolved, duplicates."""
        if part in report.came:
            return 0, 0, 0, len(report.parts[part])
        before = {key for number in report.came for key in report.parts[number]}
        report.came.add(part)
        created = updated = 0
        for name in report.parts[part] - before:
            if (known := self.findings.get(name)) is None:
                status = report.told or "open"
                self.findings[name] = Known(status, status != "open", report.key, report.time)
                created += 1
                continue
            updated += 1
            current = report.coverage == "full" and not self.is_old(report, name[0])
            status = "open" if current and known.status == "resolved" else known.status
            if report.time >= known.seen:
                known.key, known.seen = report.key, report.time
                status = report.told or status
            if status != known.status and (known.by_report or known.status == "open"):
                known.status, known.by_report = status, status != "open"
        return created, updated, self.resolve(report), len(report.parts[part] & before)

    def resolve(self, report: Report) -> int:
        """What a report that is whole now did not find any more."""
        whole = len(report.came) == len(report.parts)
        if not whole or report.coverage != "full" or report.branch == SIDE:
            return 0
        gone = 0
        for asset in ASSETS:
            if self.is_old(report, asset):
                continue
            self.newest[asset, report.key] = report.time
            for name, known in self.findings.items():
                same = name[0] == asset and known.key == report.key and known.seen <= report.time
                if same and known.status == "open" and name not in frozenset().union(*report.parts):
                    known.status, known.by_report = "resolved", True
                    gone += 1
        return gone


def deliver(agent: Agent, report: Report, part: int) -> tuple[int, int, int, int]:
    reply = agent.ok("POST", "/ingest/findings", report.body(part))
    names = ("findings_created", "findings_updated", "findings_resolved", "duplicates_skipped")
    return tuple(reply[name] for name in names)


def stored(tenant: Tenant) -> dict[Key, dict[str, Any]]:
    """Every finding of the tenant, by asset and fingerprint."""
    assets = {row["id"]: row["value"] for row in tenant.admin.ok("GET", "/assets")["assets"]}
    names = {asset["value"]: name for name, asset in ASSETS.items()}
    found = tenant.admin.ok("GET", "/findings?limit=100")["findings"]
    return {(names[assets[row["asset_id"]]], row["fingerprint"]): row for row in found}


def decide(tenant: Tenant, model: Model, name: Key, status: str) -> None:
    """A person sets a status: no report changes it after that."""
    if known := model.findings.get(name):
        change = {"status": status, "reason": "r"}
        tenant.admin.ok("PATCH", f"/findings/{stored(tenant)[name]['id']}", change)
        known.status, known.by_report = status, False


@settings(
    max_examples=20 * DEPTH,
    deadline=None,
    phases=(Phase.reuse, Phase.generate),  # shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example has its own tenant
)
@given(data=st.data())
def test_findings_follow_the_contract_whatever_comes_in_whatever_order(server: Server, data):
    tenant, model = server.tenant(), Model()
    agents = [tenant.agent("one"), tenant.agent("two")]
    reports = data.draw(st.lists(REPORTS, min_size=3, max_size=9))
    for number, report in enumerate(reports):
        report.number = number
    parts = [(report, part) for report in reports for part in range(len(report.parts))]
    again = data.draw(st.lists(st.sampled_from(parts), max_size=3))
    for report, part in data.draw(st.permutations(parts + again)):
        assert deliver(agents[report.agent], report, part) == model.take(report, part)
        if data.draw(st.integers(0, 5)) == 0:
            decide(tenant, model, *data.draw(DECISIONS))
        found = {name: row["status"] for name, row in stored(tenant).items()}
        assert found == {name: known.status for name, known in model.findings.items()}
    for report in reports:  # all are whole: whatever is sent again, nothing is resolved twice
        last = len(report.parts) - 1
        assert deliver(agents[report.agent], report, last)[:3] == (0, 0, 0)
