"""The JSON plugin is found, passes the standard checks, and reads Rediver's own reports whole."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from depth import DEPTH
from hypothesis import given, settings
from hypothesis import strategies as st

from rediver_agent import MASK, Notice, ReportUnreadable, ToolInfo
from rediver_agent.contract import Finding, Report, dump
from rediver_agent.fingerprint import Fingerprinter
from rediver_agent.testing import check_parser, parse, provided
from rediver_json import JsonParser

SAMPLE = (Path(__file__).parent / "data" / "report.json").read_bytes()
METADATA = {"id": "rep_1", "timestamp": "2026-01-16T10:00:00Z"}


def a_report(*findings, **more):
    report = {"version": "1.0", "metadata": METADATA, "tool": {"name": "lint"}}
    return {**report, "findings": list(findings), **more}


def a_finding(**more):
    return {"type": "vulnerability", "title": "t", "severity": "low", **more}


def read(document):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse(JsonParser(), data)


def findings(document):
    return [event for event in read(document) if isinstance(event, Finding)]


def notices(document):
    return [event for event in read(document) if isinstance(event, Notice)]


def test_the_agent_finds_the_plugin_by_its_entry_point():
    parsers = provided("json", "parser")

    assert [parser.format for parser in parsers] == ["json"]


def test_standard_checks():
    check_parser(JsonParser(), SAMPLE)


def test_each_report_gives_its_tool_and_its_findings_in_order():
    events = read(SAMPLE)

    assert [type(event) for event in events] == [ToolInfo, Finding, Finding, ToolInfo, Notice]
    assert events[0] == ToolInfo("semgrep", "1.180.0", {"rules": 13})
    assert events[3] == ToolInfo("trivy")


def test_a_report_of_its_own_is_read_as_well():
    (report, _) = json.loads(SAMPLE)["reports"]

    assert findings(report) == findings(SAMPLE)


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)
places = st.fixed_dictionaries(
    {"path": words}, optional={"start_line": st.integers(1, 99), "snippet": words}
)
own_findings = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["vulnerability", "misconfiguration", "compliance"]),
        "title": words,
        "severity": st.sampled_from(["info", "low", "medium", "high", "critical"]),
    },
    optional={
        "message": words,
        "rule_id": words,
        "confidence": st.integers(0, 100),
        "location": places,
        "related_locations": st.lists(places, max_size=2),
        "data_flow": st.lists(places, max_size=2),
        "vulnerability": st.fixed_dictionaries({"cve_id": words, "cvss_score": st.floats(0, 10)}),
        "remediation": st.fixed_dictionaries({"fix_code": words}),
        "partial_fingerprints": st.dictionaries(words, words, max_size=2),
        "suppression": st.fixed_dictionaries({"justification": words}),
        "status": st.sampled_from(["open", "accepted_risk"]),
        "properties": st.dictionaries(
            words, st.lists(words | st.integers() | st.none()), max_size=2
        ),
    },
)


own_secrets = st.builds(
    lambda finding, line, kind: {
        **finding,
        "type": "secret",
        "location": {"path": "p", "snippet": f"{line}***"},
        "related_locations": [],
        "data_flow": [],
        "secret": {"secret_type": kind, "masked_value": "***"},
    },
    own_findings,
    words,
    words,
)


@settings(deadline=None, max_examples=60 * DEPTH)  # the machine may be busy
@given(st.lists(own_findings | own_secrets, max_size=4), st.booleans(), st.integers(1, 3))
def test_what_was_printed_is_read_without_loss(written, partial, parts):
    """In parts too, with the same fingerprints, and partial if it was."""
    prints = Fingerprinter()
    report = Report.model_validate(a_report(*written, tool={"name": "lint", "version": "1"}))
    report.findings[:] = [
        finding.model_copy(update={"fingerprint": prints.fingerprint(finding)})
        for finding in report.findings
    ]
    document = []
    for part in range(parts):
        more = {"part": part, "last": part == parts - 1}
        more |= {"coverage_type": "partial"} if partial else {}
        printed = dump(report) | {"metadata": METADATA | more}
        document.append(printed | {"findings": printed["findings"][part::parts]})
    ordered = [finding for part in range(parts) for finding in report.findings[part::parts]]
    found = findings({"reports": document})
    anew = Fingerprinter()

    assert found == [each.model_copy(update={"fingerprint": None}) for each in ordered]
    assert sorted(map(anew.fingerprint, found)) == sorted(each.fingerprint for each in ordered)
    assert read({"reports": document})[0] == ToolInfo("lint", "1")
    assert {notice.level for notice in notices({"reports": document})} == (
        {"warning"} if partial else set()
    )


def test_what_rediver_does_not_know_is_kept_among_the_properties():
    (found,) = findings(a_report(a_finding(impact=7, properties={"a": 1}, fingerprint="ris/1:ab")))

    assert found.properties == {"a": 1, "impact": 7}
    assert (found.fingerprint, found.partial_fingerprints) == (None, {"imported": "ris/1:ab"})


def test_an_asset_becomes_a_property_where_there_are_several():
    assets = [{"id": name, "type": "repository", "value": f"{name}-repo"} for name in "ab"]
    document = a_report(a_finding(asset_ref="b"), a_finding(asset_ref="lost"), assets=assets)
    first, second = findings(document)

    assert first.properties == {"asset": {"type": "repository", "value": "b-repo"}}
    assert [first.asset_ref, second.asset_ref, second.properties] == [None, None, {}]
    assert findings({**document, "assets": assets[1:]})[0].properties == {}


def test_a_secret_left_in_the_clear_is_masked():
    place = {"path": "p", "snippet": "key = hunter2"}
    secret = {
        "location": place,
        "related_locations": [place],
        "data_flow": [place],
        "secret": {"masked_value": "hunter2"},
    }
    (found,) = findings(a_report(a_finding(**secret) | {"type": "secret"}))

    assert "hunter2" not in found.model_dump_json()
    assert found.location.snippet == found.secret.masked_value == MASK


def test_a_finding_that_is_none_costs_itself_and_a_notice():
    document = a_report(a_finding(), None, a_finding(severity="fatal"), a_finding(title="end"))
    (notice,) = notices(document)

    assert [each.title for each in findings(document)] == ["t", "end"]
    assert notice.level == "warning"
    assert (
        "2 of 4 findings of report 1 cannot be read, the first of them number 2" in notice.message
    )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (a_report(metadata=METADATA | {"coverage_type": "partial"}), "partial scan"),
        (a_report(metadata=METADATA | {"last": False}), "in part only"),
        ({"reports": [a_report(metadata=METADATA | {"part": 1})]}, "in part only"),
        ({"reports": []}, "no reports"),
    ],
)
def test_what_is_not_the_whole_scan_is_a_warning(document, words):
    (notice,) = notices(document)

    assert notice.level == "warning"
    assert words in notice.message


def test_the_parts_of_one_report_make_a_whole():
    parts = [METADATA | {"part": part, "last": part == 2} for part in range(3)]

    assert notices({"reports": [a_report(metadata=part) for part in parts]}) == []


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "empty"),
        ([], "no JSON object"),
        ({}, "names no version"),
        (a_report(version="2.0"), "of version 2.0; this reads 1.0"),
        (a_report(metadata={"id": "x"}), "metadata.timestamp: Field required"),
        (a_report(tool=None), "tool: Input should be"),
        (a_report(assets=[{"id": "a"}]), "assets.type: Field required"),
        (a_report() | {"findings": {}}, "findings of report 1 are no list"),
        ({"reports": {}}, "`reports` is no list"),
        ({"reports": [a_report(), None]}, "report 2 is no object"),
        (
            {
                "reports": [a_report(tool={"name": "x" * 100, "properties": {"z": "z" * 10**6}})]
                * 17
            },
            "import them in several files",
        ),
        (json.dumps(a_report(a_finding())).encode()[:-1], "cut off"),
    ],
)
def test_what_is_no_report_of_rediver_is_refused_with_a_sentence(document, words):
    with pytest.raises(ReportUnreadable, match=words):
        read(document)


@pytest.mark.parametrize(
    "head",
    [
        SAMPLE[:100],
        b'{"version": "1.0", "metadata": {"id',
        b'{"tool": {}, "version": "1.0", "x": [',
    ],
)
def test_rediver_reports_are_recognised_by_their_beginning(head):
    assert JsonParser().sniff(head)


@pytest.mark.parametrize(
    "head",
    [
        b'{"version": "2.1.0", "runs": []}',
        b'{"version": "1.180.0", "results": [], "errors": []}',
        b'{"SchemaVersion": 2, "Results": []}',
        b'{"findings": []}',
        b'{"reports": {}}',
        b'{"reports": [], "version": "7"}',
        b"[]",
    ],
)
def test_reports_of_other_formats_are_left_to_others(head):
    assert not JsonParser().sniff(head)


@settings(deadline=None, max_examples=100 * DEPTH)  # the machine may be busy
@given(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 30)), max_size=5))
def test_any_bytes_are_read_or_refused(changes):
    data = SAMPLE
    for where, put_in, left_out in changes:
        at = int(where * len(data))
        data = data[:at] + put_in + data[at + left_out :]
    with suppress(ReportUnreadable):
        read(data)
