"""CONTRACT section 4: what reports do to findings, and what only people do."""

from typing import Any

import pytest
from rediver_server_fixtures import (
    ASSET,
    MAIN,
    OTHER,
    SIDE,
    Agent,
    Clock,
    Scans,
    Tenant,
    finding,
    statuses,
)


@pytest.fixture
def scans(tenant: Tenant, clock: Clock) -> Scans:
    return Scans(tenant.agent(), clock)


def test_a_finding_is_created_once_and_then_seen_again(tenant: Tenant, scans: Scans):
    assert scans.send("f1", "f2") == (2, 0, 0, 0)
    first = scans.clock.text()
    assert scans.send("f1", "f2", "f3") == (1, 2, 0, 0)
    found = tenant.admin.ok("GET", "/findings")["findings"]
    (row,) = [row for row in found if row["fingerprint"] == "f1"]
    assert (row["occurrence_count"], row["first_seen_at"]) == (2, first)
    assert row["last_seen_at"] == scans.clock.text()
    assert row["source_ids"] == [scans.agent.id]


def test_a_finding_comes_back_as_it_was_sent(tenant: Tenant, scans: Scans):
    whole = finding(
        "f1",
        description="d",
        message="m",
        rule_id="r",
        rule_name="R",
        confidence=90,
        partial_fingerprints={"k": "v"},
        location={"path": "app.py", "start_line": 3, "snippet": "x"},
        related_locations=[{"path": "b.py", "message": "here"}],
        data_flow=[{"path": "c.py"}],
        vulnerability={"cve_id": "CVE-1", "cvss_score": 9.8, "fixed_versions": ["2"]},
        remediation={"recommendation": "upgrade"},
        tags=["t"],
        references=["https://example.org"],
        suppression={"kind": "inSource"},
        properties={"anything": {"goes": [1, 1e300]}},
    )
    scans.counts({**scans.body(), "findings": [whole]})
    (row,) = tenant.admin.ok("GET", "/findings")["findings"]
    assert row == tenant.admin.ok("GET", f"/findings/{row['id']}")
    kept = {name: row[name] for name in whole}
    assert kept | {name: whole[name] for name in ("vulnerability", "remediation")} == whole
    assert row["vulnerability"] | whole["vulnerability"] == row["vulnerability"]


def test_what_a_full_scan_no_longer_finds_is_resolved_and_comes_back(tenant: Tenant, scans: Scans):
    scans.send("f1", "f2")
    assert scans.send("f2") == (0, 1, 1, 0)
    assert statuses(tenant) == {"f1": "resolved", "f2": "open"}
    assert scans.send("f1", "f2") == (0, 2, 0, 0)
    assert statuses(tenant) == {"f1": "open", "f2": "open"}


def test_a_clean_scan_resolves_everything(tenant: Tenant, scans: Scans):
    scans.send("f1", "f2")
    assert scans.send() == (0, 0, 2, 0)
    assert set(statuses(tenant).values()) == {"resolved"}


@pytest.mark.parametrize(
    ("metadata", "resolved"),
    [
        ({}, 1),
        ({"branch": MAIN}, 1),
        ({"branch": {"commit_sha": "abc"}}, 1),
        ({"branch": SIDE}, 0),
        ({"branch": {"name": "main"}}, 0),
        ({"branch": {"pull_request_number": 7}}, 0),
        ({"coverage_type": "partial"}, 0),
        ({"coverage_key": "other rules"}, 0),
        ({"timestamp": "2026-01-16T09:00:00Z"}, 0),
        ({"tool": "trivy"}, 0),
    ],
)
def test_only_a_full_scan_that_looked_for_the_same_resolves(
    scans: Scans, metadata: dict[str, Any], resolved: int
):
    scans.send("f1")
    assert scans.send(**metadata) == (0, 0, resolved, 0)


def test_a_coverage_key_is_that_of_the_last_report_of_a_finding(tenant: Tenant, scans: Scans):
    scans.send("f1", coverage_key="k1")
    scans.send("f1", coverage_key="k2")
    assert scans.send(coverage_key="k1") == (0, 0, 0, 0)
    assert scans.send(coverage_key="k2") == (0, 0, 1, 0)


def test_another_asset_is_not_touched(tenant: Tenant, scans: Scans):
    scans.send("f1")
    assert scans.counts({**scans.body(), "assets": [OTHER]}) == (0, 0, 0, 0)
    both = {**scans.body(), "assets": [ASSET, OTHER]}
    both["findings"] = [finding("f1", asset_ref="b")]
    assert scans.counts(both) == (1, 0, 1, 0)


def test_an_old_report_neither_resolves_nor_reopens(tenant: Tenant, scans: Scans):
    early = scans.body("f1")
    clean = scans.body()
    scans.send("f1", "f2")
    assert scans.counts(clean) == (0, 0, 0, 0)
    assert scans.send("f2") == (0, 1, 1, 0)
    assert scans.counts(early) == (0, 1, 0, 0)
    assert statuses(tenant)["f1"] == "resolved"


def test_an_old_report_does_not_overwrite_what_a_newer_one_said(tenant: Tenant, scans: Scans):
    early = scans.body()
    early["findings"] = [finding("f1", severity="low", title="early")]
    scans.send("f1")
    newest = scans.clock.text()
    scans.counts(early)
    (row,) = tenant.admin.ok("GET", "/findings")["findings"]
    assert (row["severity"], row["title"], row["last_seen_at"]) == (
        "high",
        "SQL injection",
        newest,
    )
    assert (row["first_seen_at"], row["occurrence_count"]) == (early["metadata"]["timestamp"], 2)


def test_a_report_from_the_future_does_not_make_later_ones_old(tenant: Tenant, scans: Scans):
    body = scans.body("f1", timestamp="2099-01-01T00:00:00Z")
    reply = scans.agent.ok("POST", "/ingest/findings", body)
    assert (reply["findings_created"], len(reply["errors"])) == (1, 1)
    assert scans.send() == (0, 0, 1, 0)


def test_a_partial_report_adds_and_does_not_reopen(tenant: Tenant, scans: Scans):
    scans.send("f1")
    scans.send()
    assert scans.send("f1", "f2", coverage_type="partial") == (1, 1, 0, 0)
    assert statuses(tenant) == {"f1": "resolved", "f2": "open"}


def test_a_repeated_part_changes_nothing(tenant: Tenant, scans: Scans):
    body = scans.body("f1", "f2")
    scans.counts(body)
    scans.send("f2")
    assert scans.counts(body) == (0, 0, 0, 2)
    assert statuses(tenant) == {"f1": "resolved", "f2": "open"}


def test_parts_resolve_once_when_the_last_missing_one_comes(tenant: Tenant, scans: Scans):
    scans.send("gone", "f1", "f2", "f3")
    parts = [scans.body(name) for name in ("f1", "f2", "f3")]
    meta = parts[0]["metadata"]
    for number, part in enumerate(parts):
        part["metadata"] = {**meta, "part": number, "last": number == 2}
    assert scans.counts(parts[2]) == (0, 1, 0, 0)
    assert scans.counts(parts[0]) == (0, 1, 0, 0)
    assert statuses(tenant)["gone"] == "open"
    assert scans.counts(parts[1]) == (0, 1, 1, 0)
    assert scans.counts(parts[1]) == (0, 0, 0, 1)
    assert statuses(tenant) == {"gone": "resolved", "f1": "open", "f2": "open", "f3": "open"}


def test_a_finding_in_two_parts_is_one(tenant: Tenant, scans: Scans):
    first = scans.body("f1", "f1", last=False)
    second = {**first, "metadata": {**first["metadata"], "part": 1, "last": True}}
    assert scans.counts(first) == (1, 0, 0, 1)
    assert scans.counts(second) == (0, 0, 0, 2)
    (row,) = tenant.admin.ok("GET", "/findings")["findings"]
    assert row["occurrence_count"] == 1


def test_a_later_part_may_refer_to_an_asset_of_an_earlier_one(tenant: Tenant, scans: Scans):
    first = scans.body("f1", last=False)
    later = {**first, "metadata": {**first["metadata"], "part": 1, "last": True}, "assets": []}
    later["findings"] = [finding("f2", asset_ref="a")]
    scans.counts(first)
    assert scans.counts(later) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"timestamp": "2026-01-16T11:00:00Z"}, "metadata.timestamp"),
        ({"coverage_type": "partial"}, "metadata.coverage_type"),
        ({"coverage_key": "k"}, "metadata.coverage_key"),
        ({"part": 5, "last": False}, "metadata.part"),
        ({"part": 0, "last": True}, "metadata.last"),
        ({"part": 10**9}, "metadata.part"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    scans: Scans, change: dict[str, Any], field: str
):
    last = scans.body("f1", part=2)
    scans.counts(last)
    other = {**last, "metadata": {**last["metadata"], "part": 1, "last": False, **change}}
    assert scans.refused(other) == field
    assert scans.refused({**other, "metadata": last["metadata"], "tool": {"name": "x"}}) == (
        "tool.name"
    )


def test_a_report_is_stored_whole_or_not_at_all(tenant: Tenant, scans: Scans):
    bad = scans.body("f1", "f2")
    for change, field in [
        ({"severity": "awful"}, "findings.1.severity"),
        ({"asset_ref": "nowhere"}, "findings.1.asset_ref"),
        ({"colour": "red"}, "findings.1.colour"),
        ({"location": {"start_line": 0}}, "findings.1.location.start_line"),
    ]:
        body = {**bad, "findings": [finding("f1"), finding("f2", **change)]}
        assert scans.refused(body) == field
    assert scans.refused({**bad, "findings": [finding(f"f{n}") for n in range(1001)]}) == "findings"
    assert scans.refused({**bad, "version": "2.0"}) == "version"
    assert scans.refused({**bad, "assets": []}) == "findings.0.asset_ref"
    assert scans.refused({**bad, "assets": [ASSET, OTHER]}) == "findings.0.asset_ref"
    assert scans.refused({**bad, "assets": [ASSET, {**OTHER, "id": "a"}]}) == "assets.1.id"
    assert statuses(tenant) == {}
    assert tenant.admin.ok("GET", "/assets")["assets"] == []
    assert scans.counts(bad) == (2, 0, 0, 0)


def test_a_part_may_have_a_thousand_findings(tenant: Tenant, scans: Scans):
    names = [f"f{number}" for number in range(1000)]
    assert scans.send(*names) == (1000, 0, 0, 0)
    assert scans.send(*names) == (0, 1000, 0, 0)
    assert scans.send() == (0, 0, 1000, 0)


def test_an_asset_too_long_for_an_index_is_refused(scans: Scans):
    body = scans.body("f")
    rare = "".join(chr(0x4E00 + n * 17) for n in range(1000))  # nothing that compresses
    body["assets"] = [{**ASSET, "value": rare}]
    assert scans.refused(body) == "assets.0.value"
    body["assets"] = [{**ASSET, "value": rare[:666], "type": rare[:50]}]
    assert scans.counts(body) == (1, 0, 0, 0)


def test_a_finding_without_a_fingerprint_is_stored_and_doubted(tenant: Tenant, scans: Scans):
    body = scans.body()
    body["findings"] = [
        finding(None, location={"path": "a.py", "start_line": line}) for line in (1, 2)
    ]
    reply = scans.agent.ok("POST", "/ingest/findings", body)
    assert reply["findings_created"] == 2
    assert [error["index"] for error in reply["errors"]] == [0, 1]
    again = {**body, "metadata": {**body["metadata"], "id": "again"}}
    assert scans.counts(again) == (0, 2, 0, 0)
    assert all(name.startswith("server/1:") for name in statuses(tenant))


def test_a_report_without_an_asset_is_doubted(scans: Scans):
    body = {**scans.body(), "assets": []}
    assert len(scans.agent.ok("POST", "/ingest/findings", body)["errors"]) == 1


def test_an_asset_says_when_each_tool_last_scanned_it_in_full(tenant: Tenant, scans: Scans):
    def last() -> dict[str, str]:
        (asset,) = tenant.admin.ok("GET", "/assets")["assets"]
        assert (asset["type"], asset["value"]) == (ASSET["type"], ASSET["value"])
        return asset["last_full_scan_at"]

    scans.send("f1", coverage_type="partial")
    assert last() == {}
    scans.send("f1", coverage_key="k1")
    first = scans.clock.text()
    scans.send(tool="trivy", branch=SIDE)
    assert last() == {"semgrep": first}
    late = scans.body(coverage_key="k2")
    scans.send(coverage_key="k2")
    newest = scans.clock.text()
    scans.counts(late)
    assert last() == {"semgrep": newest}


def held(tenant: Tenant, agent: Agent) -> str:
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    return command


def test_a_report_of_a_held_command_counts_before_and_after_its_result(
    tenant: Tenant, scans: Scans
):
    command = held(tenant, scans.agent)
    scans.send("f1", command_id=command, attempt=1)
    scans.agent.report(command, attempt=1)
    assert scans.send(command_id=command, attempt=1) == (0, 0, 1, 0)
    found = tenant.admin.ok("GET", f"/findings?command_id={command}")["findings"]
    assert [row["fingerprint"] for row in found] == ["f1"]


@pytest.mark.parametrize(
    "how",
    [
        "acknowledged again",
        "given away",
        "settled by the server",
        "another attempt",
    ],
)
def test_a_report_of_a_lost_attempt_resolves_and_reopens_nothing(
    tenant: Tenant, scans: Scans, how: str
):
    scans.send("f1", "f2")
    scans.send("f2")
    command = tenant.order()
    scans.agent.acknowledge(command)
    attempt = 1
    if how in ("acknowledged again", "given away"):
        scans.agent.progress(command)
        scans.clock.advance(60)
        taker = scans.agent if how == "acknowledged again" else tenant.agent()
        taker.acknowledge(command)
        attempt = 1 if how == "acknowledged again" else 2
    elif how == "settled by the server":
        tenant.admin.ok("DELETE", f"/commands/{command}")
        scans.clock.advance(120)
        assert tenant.status(command) == "cancelled"
    else:
        attempt = 2
    assert scans.send("f1", command_id=command, attempt=attempt) == (0, 1, 0, 0)
    assert statuses(tenant) == {"f1": "resolved", "f2": "open"}


def test_findings_are_filtered(tenant: Tenant, clock: Clock):
    one, other = (Scans(tenant.agent(), clock) for _ in range(2))
    body = one.body()
    body["findings"] = [
        finding("f1", severity="low", rule_id="r1", location={"path": "a.py"}),
        finding("f2", severity="high", rule_id="r2", location={"path": "b.py"}),
    ]
    one.counts(body)
    between = clock.text(30)
    other.send("f2", "f3", tool="semgrep")
    (asset,) = tenant.admin.ok("GET", "/assets")["assets"]

    def listed(query: str) -> set[str]:
        found = tenant.admin.ok("GET", f"/findings?{query}")["findings"]
        return {row["fingerprint"] for row in found}

    assert listed("severity=low") == listed("rule_id=r1") == listed("path=a.py") == {"f1"}
    assert listed("status=resolved") == {"f1"}
    assert listed("tool=trivy") == listed("asset_id=ast_none") == set()
    assert listed(f"asset_id={asset['id']}") == {"f1", "f2", "f3"}
    assert listed(f"source_id={one.agent.id}") == {"f1", "f2"}
    assert listed(f"first_seen_after={between}") == {"f3"}
    answer = tenant.admin.refused("GET", "/findings?severity=awful")
    assert answer == (400, "INVALID_REQUEST")
