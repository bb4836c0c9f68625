"""Any order of reports and decisions leaves findings as a few lines of Python say it should."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rediver_server_fixtures import MAIN, SIDE, Scans, Server, statuses

PRINTS = ("f1", "f2", "f3")
reports = st.tuples(
    st.frozensets(st.sampled_from(PRINTS)),
    st.integers(0, 5).map(lambda minutes: f"2026-01-16T09:0{minutes}:00Z"),
    st.sampled_from(["full", "partial"]),
    st.sampled_from(["k1", "k2"]),
    st.sampled_from([None, MAIN, SIDE]),
)
decisions = st.tuples(
    st.sampled_from(PRINTS), st.sampled_from(["open", "resolved", "false_positive"])
)


class Model:
    """Findings as CONTRACT section 4 has them: [status, by a report, key, last seen]."""

    def __init__(self) -> None:
        self.findings: dict[str, list] = {}
        self.newest: dict[str, str] = {}

    def report(self, prints: frozenset[str], time: str, coverage: str, key: str, branch) -> None:
        current = coverage == "full" and time >= self.newest.get(key, "")
        for name in prints:
            row = self.findings.setdefault(name, ["open", False, key, time])
            if time >= row[3]:
                row[2:] = [key, time]
            if current and row[0] == "resolved" and row[1]:
                row[:2] = ["open", False]
        if current and branch != SIDE:
            self.newest[key] = time
            for name, row in self.findings.items():
                gone = name not in prints and row[2] == key and row[3] <= time
                if row[0] == "open" and gone:
                    row[:2] = ["resolved", True]

    def decide(self, name: str, status: str) -> None:
        self.findings[name][:2] = [status, False]


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example has its own tenant
)
@given(steps=st.lists(st.one_of(reports, decisions), max_size=8))
def test_findings_follow_the_contract_whatever_comes(server: Server, steps):
    tenant, model = server.tenant(), Model()
    scans = Scans(tenant.agent(), server.clock)
    for step in steps:
        if len(step) == 5:
            prints, time, coverage, key, branch = step
            metadata = {"timestamp": time, "coverage_type": coverage, "coverage_key": key}
            scans.send(*sorted(prints), **metadata, **({"branch": branch} if branch else {}))
            model.report(*step)
        elif step[0] in model.findings:
            found = tenant.admin.ok("GET", "/findings")["findings"]
            (row,) = [row for row in found if row["fingerprint"] == step[0]]
            change = {"status": step[1], "reason": "r"}
            tenant.admin.ok("PATCH", f"/findings/{row['id']}", change)
            model.decide(*step)
        expected = {name: row[0] for name, row in model.findings.items()}
        assert statuses(tenant) == expected
