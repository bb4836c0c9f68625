"""SARIF of many real tools, and odd and broken files, against the facts counted from the raw files.

The files lie beside the repository and are not part of it; without them these tests are skipped.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from rediver_agent import Notice, ReportUnreadable, ToolInfo
from rediver_agent.contract import Finding
from rediver_agent.fingerprint import Fingerprinter
from rediver_agent.testing import parse
from rediver_sarif import SarifParser

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
SEVERITY = {"error": "high", "warning": "medium", "note": "low", "none": "info"}
# By the file's own messages, where the manifest has an `error` for the one "should be 'note'": it
# overlooks that the override of a rule is one of its variants too (SARIF 2.1.0, 3.27.10, 3.52.4).
OWN_WORD = {
    "sarif/ss-invocation-overrides-level.sarif": {"none": 2, "note": 1, "warning": 1, "error": 1}
}
NO_PROBLEMS = ("pass", "notApplicable", "informational")


def is_read(entry):
    return "outcome" not in entry and entry["expected"]["version"] == "2.1.0"


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


def told_of(found, entry):
    """What the findings say, in the manifest's words, of the facts that it counts."""
    scores = (each.vulnerability and each.vulnerability.cvss_score for each in found)
    states = (each.properties.get("sarif", {}).get("baselineState") for each in found)
    counted = entry["expected"].get("security_severity", {})
    return {
        "with_code_flows": sum(bool(each.data_flow) for each in found),
        "with_related_locations": sum(bool(each.related_locations) for each in found),
        "with_fixes": sum(bool(each.remediation) for each in found),
        "baseline_states": Counter(state for state in states if state),
        "security_severity": counted
        if any(each.type == "misconfiguration" for each in found)  # no CVSS is theirs
        else Counter(f"{score:.1f}" for score in scores if score is not None),
        "with_fingerprints": fingerprinted(found, entry, "with_fingerprints"),
        "with_partial_fingerprints": fingerprinted(found, entry, "with_partial_fingerprints"),
    }


def fingerprinted(found, entry, fact):
    """How many have one; those of secrets and of semgrep without a login are none."""
    if "semgrep" in entry["file"] or any(each.type == "secret" for each in found):
        return entry["expected"].get(fact)
    return sum(bool(each.partial_fingerprints) for each in found)


# Semgrep 1.69 writes words for scores, and a finding of a secret keeps no fingerprint.
ELSEWISE = {
    ("sarif/dd-issue_10191.json", "security_severity"),
    ("sarif/dd-issue_10191.json", "with_fingerprints"),
}


@HERE
@pytest.mark.parametrize("entry", entries(is_read))
def test_a_real_report_has_every_other_fact_of_it(entry):
    expected = entry["expected"]
    events, found = read(entry)
    runs = [event for event in events if isinstance(event, ToolInfo)]
    tools = entry.get("tool", [])
    tools = tools if isinstance(tools, list) else [tools]

    if tools:
        names = [tool["name"] or "unknown tool" for tool in tools]
        assert all(
            name.lower() in run.name.lower() for name, run in zip(names, runs, strict=True)
        )  # ours are by the program: `semgrep` writes "Semgrep OSS"
    assert len(runs) == expected["runs"]
    if "baseline_states" not in expected and "pass" not in expected.get("kinds", {}):
        assert found_in_each_run(events) == expected["results_per_run"]
    told = told_of(found, entry)
    for fact in told.keys() & expected.keys():
        if (entry["file"], fact) not in ELSEWISE:
            wanted = dict(expected[fact]) if isinstance(expected[fact], dict) else expected[fact]
            if fact == "baseline_states":
                wanted.pop("absent", None)
            assert told[fact] == wanted, fact


def found_in_each_run(events):
    counts = []
    for event in events:
        if isinstance(event, ToolInfo):
            counts.append(0)
        elif isinstance(event, Finding):
            counts[-1] += 1
    return counts


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
    for place, value in expected.get("preferred", {}).items():
        assert value in found[int(place)].partial_fingerprints.values()
    if "distinct_findings" in expected:
        assert len({each.model_dump_json() for each in found}) == expected["distinct_findings"]
    if "code_point_column" in expected:
        assert {place.start_column for place in places} == {expected["code_point_column"]}
    if expected.get("execution_successful") is False:
        assert any(isinstance(event, Notice) and event.level == "error" for event in events)


WORD = {"low": "info"}
# Which finding a published fact is about.
ABOUT = {"first": 0, "seventh": 6, "index_6": 6, "index_52": 52, "cwe_of_0": 0, "cwe_of_1": 1}


@HERE
@pytest.mark.parametrize("entry", entries(lambda entry: entry.get("published") and is_read(entry)))
def test_a_real_report_has_what_others_found_in_it(entry):
    published = entry["published"]
    _, found = read(entry)

    assert len(found) == published.get("findings", len(found))
    assert [each.rule_id for each in found] == published.get(
        "rules", [each.rule_id for each in found]
    )
    if "code_flow_steps" in published:
        assert len(found[0].data_flow) == published["code_flow_steps"]
    for word, place in zip(published.get("severities_0_1_3", []), (0, 1, 3), strict=False):
        assert told(found[place])["severity"] == [word]
    for name in ABOUT.keys() & published.keys():
        facts = published[name]
        facts = facts if isinstance(facts, dict) else {"cwe": facts}
        for fact, wanted in facts.items():
            assert wanted in told(found[ABOUT[name]])[fact]


def told(finding):
    """In DefectDojo's words: a `note` is of no concern to it, and low to us."""
    numbers = finding.vulnerability.cwe_ids if finding.vulnerability else []
    cwes = [int(number.removeprefix("CWE-")) for number in numbers]
    place, about = finding.location, finding.vulnerability
    return {
        "file": [place and place.path],
        "line": [place and place.start_line],
        "severity": [WORD.get(finding.severity, finding.severity).capitalize()],
        "title": [finding.title, finding.message],
        "rule": [finding.rule_id],
        "cwe": cwes[:1],
        "cwes": [cwes],
        "cve": [about and about.cve_id],
    }


@HERE
def test_no_secret_of_a_real_report_of_gitleaks_shows():
    for name in ("real-app", "real-nodegoat-git"):
        leaks = json.loads((FIXTURES / "gitleaks" / f"{name}.json").read_text("utf-8"))
        secrets = {line for leak in leaks for line in leak["Secret"].split("\n") if line}
        _, found = read({"file": f"gitleaks/{name}.sarif"})

        for each in found:
            assert each.type == "secret"
            assert not [secret for secret in secrets if secret in each.model_dump_json()]
