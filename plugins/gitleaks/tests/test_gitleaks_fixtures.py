"""gitleaks' reports of many versions, and broken ones: what the fixtures' manifest says of each."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rediver_agent import MASK, Notice, ReportUnreadable
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_gitleaks._parse import GitleaksParser

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"


def entries() -> list[Any]:
    manifest = FIXTURES / "manifest.json"
    if not manifest.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(f"{FIXTURES.name} is not there"))]
    files = json.loads(manifest.read_text())["files"]
    ours = [entry for entry in files if entry["kind"] == "gitleaks"]
    return [pytest.param(entry, id=entry["file"]) for entry in ours]


@pytest.mark.parametrize("entry", entries())
def test_the_report_is_read_as_the_manifest_says(entry):
    report = (FIXTURES / entry["file"]).read_bytes()
    if entry.get("outcome") == "reject":
        with pytest.raises(ReportUnreadable):
            parse(GitleaksParser(), report)
        return
    expected = entry["expected"]

    events = parse(GitleaksParser(), report)

    found = [event for event in events if isinstance(event, Finding)]
    assert len(found) == expected.get("findings", expected.get("findings_if_accepted"))
    assert any(isinstance(event, Notice) for event in events) == (report.strip() == b"null")
    if "rules" in expected:
        assert Counter(f.rule_id for f in found) == expected["rules"]
    if first := expected.get("first"):
        location = found[0].location
        assert location is not None
        assert (location.path, location.start_line) == (first["file"], first["line"])
        assert found[0].properties.get("commit", "") == first["commit"]
        assert found[0].rule_id == first["rule"]
    if "redacted" in expected:
        shown = [f.location.snippet or "" for f in found if f.location]
        assert len([snippet for snippet in shown if MASK in snippet]) == expected["redacted"]
    raw = json.loads(report) or []
    for finding, leak in zip(found, raw, strict=True):
        secret = leak.get("Secret", leak.get("offender"))
        assert finding.location is not None
        snippet = finding.location.snippet or ""
        assert MASK in snippet
        assert len(secret) < 4 or secret not in finding.model_dump_json()


@pytest.mark.parametrize(
    "name", ["deep-nesting.json", "html-page.json", "semgrep-errors-no-results.json"]
)
def test_what_is_no_report_of_gitleaks_is_refused(name):
    file = FIXTURES / "malformed" / name
    if not file.is_file():
        pytest.skip(f"{FIXTURES} is not there")

    assert not GitleaksParser().sniff(file.read_bytes()[:65536])
    with pytest.raises(ReportUnreadable):
        parse(GitleaksParser(), file.read_bytes())
