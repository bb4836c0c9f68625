"""semgrep's reports of many versions, and broken ones: what the fixtures' manifest says of each."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rediver_agent import Notice, ReportUnreadable, ToolInfo
from rediver_agent.contract import Finding, FindingType
from rediver_agent.testing import parse
from rediver_semgrep._parse import SemgrepParser

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
WORDS = {
    "CRITICAL": "critical",
    "HIGH": "high",
    "ERROR": "high",
    "MEDIUM": "medium",
    "WARNING": "medium",
    "LOW": "low",
    "INFO": "info",
}


def entries() -> list[Any]:
    manifest = FIXTURES / "manifest.json"
    if not manifest.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(f"{FIXTURES.name} is not there"))]
    files = json.loads(manifest.read_text())["files"]
    ours = [entry for entry in files if entry["kind"] == "semgrep"]
    return [pytest.param(entry, id=entry["file"]) for entry in ours]


@pytest.mark.parametrize("entry", entries())
def test_the_report_is_read_as_the_manifest_says(entry):
    expected = entry["expected"]

    events = parse(SemgrepParser(), (FIXTURES / entry["file"]).read_bytes())

    found = [event for event in events if isinstance(event, Finding)]
    notices = [event for event in events if isinstance(event, Notice)]
    wanted = expected.get("results", expected.get("results_if_accepted"))
    assert len(found) == wanted
    assert len([notice for notice in notices if notice.level == "error"]) >= expected.get(
        "error_levels", {}
    ).get("error", 0)
    if "errors" in expected:
        assert len(notices) == expected["errors"]
    if "rules" in expected:
        assert Counter(f.rule_id for f in found) == expected["rules"]
    if "severities" in expected:
        words = Counter[str]()
        for word, count in expected["severities"].items():
            words[WORDS[word]] += count
        assert Counter(f.severity for f in found) == words
    if isinstance(expected.get("cwes"), dict):
        cwes = Counter(c for f in found if f.vulnerability for c in f.vulnerability.cwe_ids)
        assert cwes == {f"CWE-{number}": count for number, count in expected["cwes"].items()}
    if isinstance(expected.get("cwes"), list):
        assert [f.vulnerability.cwe_ids for f in found if f.vulnerability] == [
            [f"CWE-{number}" for number in numbers] for numbers in expected["cwes"]
        ]
    if first := expected.get("first"):
        location = found[0].location
        assert location is not None
        assert (found[0].rule_id, location.path, location.start_line) == (
            first["rule"],
            first["file"],
            first["line"],
        )
        assert (found[0].message or "").strip().startswith(first["message"].strip()[:100])
        if location.snippet is None or location.snippet.isascii():
            assert location.start_column == first["col"]
    _told_of_the_run(events, expected)
    _told_of_the_results(found, expected)
    assert not any("requires login" in event.model_dump_json() for event in found)


def _told_of_the_run(events: list[Any], expected: dict[str, Any]) -> None:
    tools = [event for event in events if isinstance(event, ToolInfo)]
    if expected.get("version"):
        assert {tool.version for tool in tools} == {expected["version"]}
    if "files_scanned" in expected:
        assert tools[-1].properties["files_scanned"] == expected["files_scanned"]
    said = [event.message for event in events if isinstance(event, Notice)]
    assert not any("scanned no file" in message for message in said)


def _told_of_the_results(found: list[Finding], expected: dict[str, Any]) -> None:
    open_ones = [f for f in found if f.type is not FindingType.SECRET]
    if len(open_ones) < len(found):
        return
    counted = {
        "with_fix": len([f for f in found if f.remediation and f.remediation.fix_code]),
        "fingerprints": len([f for f in found if f.partial_fingerprints]),
        "lines": len([f for f in found if f.location and f.location.snippet]),
    }
    for name, count in counted.items():
        if name in expected:
            about = expected[name]
            assert count == (about if isinstance(about, int) else about.get("given", 0)), name


def test_a_result_that_lacks_parts_is_told_for_each():
    file = FIXTURES / "malformed" / "semgrep-missing-parts.json"
    if not file.is_file():
        pytest.skip(f"{FIXTURES} is not there")

    events = parse(SemgrepParser(), file.read_bytes())

    assert [event.level for event in events if isinstance(event, Notice)] == ["error", "error"]


@pytest.mark.parametrize(
    "name",
    ["deep-nesting.json", "html-page.json", "gitleaks-null.json", "trivy-results-absent.json"],
)
def test_what_is_no_report_of_semgrep_is_refused(name):
    file = FIXTURES / "malformed" / name
    if not file.is_file():
        pytest.skip(f"{FIXTURES} is not there")

    assert not SemgrepParser().sniff(file.read_bytes()[:65536])
    with pytest.raises(ReportUnreadable):
        parse(SemgrepParser(), file.read_bytes())
