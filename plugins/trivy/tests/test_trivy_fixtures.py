"""trivy's reports of many versions, and broken ones: what the fixtures' manifest says of each."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rediver_agent import Notice, ParseEvent, ReportUnreadable, ToolInfo
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_trivy._parse import TrivyParser

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
KINDS = {
    "vulnerability": "Vulnerabilities",
    "misconfiguration": "Misconfigurations",
    "secret": "Secrets",
    "compliance": "Licenses",
}


def entries() -> list[Any]:
    manifest = FIXTURES / "manifest.json"
    if not manifest.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(f"{FIXTURES.name} is not there"))]
    files = json.loads(manifest.read_text())["files"]
    ours = [entry for entry in files if entry["kind"] == "trivy"]
    return [pytest.param(entry, id=entry["file"]) for entry in ours]


def is_refused(entry: Any) -> bool:
    """Reports from before trivy 0.20, and of schemas to come, are refused by name."""
    shape = entry["expected"].get("shape", "")
    return shape.startswith(("legacy", "null")) or "schema-3" in entry["file"]


@pytest.mark.parametrize("entry", entries())
def test_the_report_is_read_as_the_manifest_says(entry):
    report = (FIXTURES / entry["file"]).read_bytes()
    if is_refused(entry):
        with pytest.raises(ReportUnreadable, match=r"before trivy|SchemaVersion 3"):
            parse(TrivyParser(), report)
        return
    expected = entry["expected"]

    events = parse(TrivyParser(), report)

    found = [event for event in events if isinstance(event, Finding)]
    assert len(found) == expected.get("findings", expected.get("findings_if_accepted"))
    odd = [event.level for event in events if isinstance(event, Notice)]
    assert odd == (["error"] if "odd-vulnerabilities" in entry["file"] else [])
    if "counts" in expected:
        assert Counter(KINDS[f.type] for f in found) == expected["counts"]
        words = Counter[str]()
        for word, count in expected["severities"].items():
            words["info" if word == "UNKNOWN" else word.lower()] += count
        assert Counter(f.severity for f in found) == words
    if "ids" in expected:
        assert Counter(f.rule_id for f in found) == expected["ids"]
    if cwes := expected.get("cwes"):
        assert cwes == Counter(
            cwe
            for f in found
            if f.type == "vulnerability" and f.vulnerability
            for cwe in f.vulnerability.cwe_ids
        )
    if "distinct_ids" in expected:
        assert len({f.rule_id for f in found}) == expected["distinct_ids"]
    if statuses := expected.get("vulnerability_statuses"):
        said = Counter(f.properties.get("status") for f in found if is_dependency(f))
        assert {status: said[status] for status in statuses} == statuses
    if first := expected.get("first"):
        check_first(found[0], first)
    check_published(found, entry.get("published", {}))
    check_tool(events, entry.get("tool", {}).get("version"), report)
    assert not any("****" in f.model_dump_json() for f in found)


def is_dependency(finding: Finding) -> bool:
    return bool(finding.vulnerability and finding.vulnerability.package)


def check_tool(events: list[ParseEvent], version: str | None, report: bytes) -> None:
    tools = [event.version for event in events if isinstance(event, ToolInfo)]
    assert tools == ([version] if "Trivy" in json.loads(report) else [])


def check_published(found: list[Finding], said: Any) -> None:
    """What the tests of the reports' own sources expect."""
    if scores := said.get("scores"):
        assert [f.vulnerability.cvss_score for f in found if f.vulnerability] == scores
        assert [f.severity.title() for f in found] == said["severities"]
    if statuses := said.get("statuses_in_order"):
        assert [f.properties["status"] for f in found] == statuses
        silent = {f.properties["status"] for f in found if f.suppression}
        assert silent == {*said["not_active"]}
    for key, facts in said.items():
        if key == "first" or key.startswith("index_"):
            check_facts(found[0 if key == "first" else int(key.removeprefix("index_"))], facts)


def check_facts(finding: Finding, facts: Any) -> None:
    about, location = finding.vulnerability, finding.location
    known = {
        "id": finding.rule_id,
        "severity": finding.severity.title(),
        "file": location.path if location else None,
        "line": location.start_line if location else None,
    }
    if about:
        known |= {
            "cve": about.cve_id,
            "cwe": int(about.cwe_ids[0].removeprefix("CWE-")) if about.cwe_ids else None,
            "package": about.package,
            "version": about.affected_version,
            "fixed": ", ".join(about.fixed_versions),
        }
    assert {name: known[name] for name in facts} == facts


@pytest.mark.parametrize("entry", entries())
def test_the_order_of_the_keys_changes_no_finding(entry):
    if is_refused(entry):
        return
    report = (FIXTURES / entry["file"]).read_bytes()
    turned = json.dumps(json.loads(report), sort_keys=True, indent=1).encode()

    same = [findings(text) for text in (report, turned)]

    assert same[0] == same[1]


def findings(report: bytes) -> list[str]:
    events = parse(TrivyParser(), report)
    return sorted(event.model_dump_json() for event in events if isinstance(event, Finding))


def check_first(finding: Finding, first: Any) -> None:
    assert finding.rule_id == first["id"]
    assert finding.properties["target"] == first["target"]
    if "line" in first:
        assert finding.location is not None
        assert finding.location.path == first["target"]
        assert finding.location.start_line == first["line"]
    if "package" in first:
        assert finding.vulnerability is not None
        assert finding.vulnerability.package == first["package"]
        assert finding.vulnerability.affected_version == first["installed"]
        assert ", ".join(finding.vulnerability.fixed_versions) == (first["fixed"] or "")


@pytest.mark.parametrize(
    "name",
    [
        "malformed/deep-nesting.json",
        "malformed/html-page.json",
        "malformed/semgrep-errors-no-results.json",
        "trivy/tv-npm-cyclonedx.json",
    ],
)
def test_what_is_no_report_of_trivy_is_refused(name):
    file = FIXTURES / name
    if not file.is_file():
        pytest.skip(f"{FIXTURES} is not there")

    assert not TrivyParser().sniff(file.read_bytes()[:65536])
    with pytest.raises(ReportUnreadable):
        parse(TrivyParser(), file.read_bytes())
