"""SARIF of many real tools, and odd and broken files, against the facts counted from the raw files.

The files lie beside the repository and are not part of it; without them these tests are skipped.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from rediver_agent import Notice, ReportUnreadable
from rediver_agent.contract import Finding
from rediver_agent.fingerprint import Fingerprinter
from rediver_agent.testing import parse
from rediver_sarif import SarifParser

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
SEVERITY = {"error": "high", "warning": "medium", "note": "low", "none": "info"}
# By the file's own messages. The manifest overlooks that an override of a rule is of its variants.
OWN_WORD = {
    "sarif/ss-invocation-overrides-level.sarif": {"none": 2, "note": 1, "warning": 1, "error": 1}
}
NO_PROBLEMS = ("pass", "notApplicable", "informational")
HERE = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no folder {FIXTURES.parent.name}/fixtures"
)


def entries(of):
    manifest = FIXTURES / "manifest.json"
    files = json.loads(manifest.read_text("utf-8"))["files"] if manifest.is_file() else []
    chosen = [entry for entry in files if entry["kind"] == "sarif" and of(entry)]
    return [pytest.param(entry, id=entry["file"]) for entry in chosen] or [
        pytest.param(None, marks=HERE)
    ]


def read(entry):
    events = parse(SarifParser(), (FIXTURES / entry["file"]).read_bytes())
    return events, [event for event in events if isinstance(event, Finding)]


@HERE
@pytest.mark.parametrize("entry", entries(lambda entry: "outcome" not in entry))
def test_a_real_report_has_what_was_counted_in_it(entry):
    expected = entry["expected"]
    if expected["version"] != "2.1.0":
        with pytest.raises(ReportUnreadable, match=f"SARIF {expected['version']}"):
            read(entry)
        return
    _, found = read(entry)
    left_out = sum(expected.get("kinds", {}).get(kind, 0) for kind in NO_PROBLEMS)
    left_out += expected.get("baseline_states", {}).get("absent", 0)

    assert len(found) == expected["results"] - left_out
    assert sum(1 for each in found if each.suppression) == expected.get("suppressed", 0)
    if not left_out:
        counted = expected.get("rules", {})
        rules = Counter(str(each.rule_id) for each in found)
        assert rules == counted or len(rules) == expected["distinct_rules"] > len(counted)
        first_is_as_counted(found, expected["first"])
    if not left_out and "security_severity" not in expected:
        levels = OWN_WORD.get(entry["file"], expected["levels"])
        severities = Counter(SEVERITY[level] for level in Counter(levels).elements())
        assert Counter(each.severity.value for each in found) == severities


def first_is_as_counted(found, first):
    if first is None:
        assert found == []
        return
    assert found[0].rule_id == first["rule"]
    if not first["message"].startswith("id:"):
        assert (found[0].message or "").startswith(first["message"])
    if first["uri"] and found[0].location:
        assert first["uri"].endswith(found[0].location.path or "")
        assert found[0].location.start_line == first["startLine"]


def is_read(entry):
    return "outcome" not in entry and entry["expected"]["version"] == "2.1.0"


@HERE
@pytest.mark.parametrize("entry", entries(is_read))
def test_every_finding_of_a_real_report_is_safe_and_has_an_identity_of_its_own(entry):
    _, found = read(entry)
    fingerprints = Fingerprinter()

    assert len({fingerprints.fingerprint(each) for each in found}) == len(found)
    for each in found:
        path = (each.location and each.location.path) or ""
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert "requires login" not in each.model_dump_json()


def outcomes(word):
    return entries(lambda entry: entry.get("outcome") == word)


@HERE
@pytest.mark.parametrize("entry", outcomes("reject"))
def test_a_broken_report_is_refused(entry):
    with pytest.raises(ReportUnreadable):
        read(entry)


@HERE
@pytest.mark.parametrize("entry", outcomes("accept or reject, cleanly"))
def test_an_odd_report_is_refused_or_loses_nothing_without_a_word(entry):
    try:
        events, found = read(entry)
    except ReportUnreadable:
        return
    expected = entry["expected"].get("results_if_accepted", len(found))

    assert len(found) == expected or any(isinstance(event, Notice) for event in events)
    assert all((each.location is None or (each.location.start_line or 1) >= 1) for each in found)


@HERE
@pytest.mark.parametrize("entry", outcomes("accept"))
def test_an_odd_but_good_report_is_read(entry):
    expected = entry["expected"]
    events, found = read(entry)
    places = [each.location for each in found]
    count = expected.get("present", len(expected.get("problems", [])) or expected["results"])

    assert len(found) == count
    facts = {
        "files": [place and place.path for place in places],
        "texts": [each.message for each in found],
        "rule_ids": [each.rule_id for each in found],
        "relative_to_root": [place and place.path for place in places],
        "cwes": [
            [int(number.removeprefix("CWE-")) for number in each.vulnerability.cwe_ids]
            for each in found
            if each.vulnerability
        ],
        "suppressed_indexes": [n for n, each in enumerate(found) if each.suppression],
        "usable_indexes": [n for n, each in enumerate(found) if each.partial_fingerprints],
        "steps": [f"{step.path}:{step.start_line}" for each in found for step in each.data_flow],
    }
    for name in facts.keys() & expected.keys():
        assert len(facts[name]) == len(expected[name])
        for fact, wanted in zip(facts[name], expected[name], strict=True):
            assert fact == wanted or (wanted is None and name == "texts" and fact)
    if "bands" in expected:
        bands = {"none": "info", None: SEVERITY[expected["fallback_level"]]}
        wanted = [bands.get(band, band) for band in expected["bands"]]
        assert [each.severity for each in found] == wanted
    if "levels_in_order" in expected:
        wanted = [SEVERITY[expected["levels_in_order"][n]] for n in expected["problems"]]
        assert [each.severity for each in found] == wanted
    if "code_point_column" in expected:
        assert {place.start_column for place in places} == {expected["code_point_column"]}
    if expected.get("execution_successful") is False:
        assert any(isinstance(event, Notice) and event.level == "error" for event in events)


@HERE
def test_no_secret_of_a_real_report_of_gitleaks_shows():
    for name in ("real-app", "real-nodegoat-git"):
        leaks = json.loads((FIXTURES / "gitleaks" / f"{name}.json").read_text("utf-8"))
        secrets = {line for leak in leaks for line in leak["Secret"].split("\n") if line}
        _, found = read({"file": f"gitleaks/{name}.sarif"})

        for each in found:
            assert each.type == "secret"
            assert not [secret for secret in secrets if secret in each.model_dump_json()]
