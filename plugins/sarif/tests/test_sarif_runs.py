"""What a SARIF report says of its runs, and what is no report: nothing is ever a silent clean."""

import io
import json

import pytest

from rediver_agent import Notice, ReportUnreadable, ToolInfo
from rediver_agent.contract import Finding
from rediver_sarif import SarifParser

ELSEWHERE = {"externalPropertyFileReferences": {"results": [{}]}}
TAXONOMIES_ELSEWHERE = {"externalPropertyFileReferences": {"taxonomies": [{}]}}


def notices(events):
    return [(event.level, event.message) for event in events if isinstance(event, Notice)]


def test_every_run_is_read_with_its_own_tool_and_rules(events, a_result, sarif):
    first, second = (
        sarif(a_result(), tool=tool, rules=[{"id": "R1", "defaultConfiguration": {"level": level}}])
        for tool, level in (("one", "error"), ("two", "note"))
    )
    found = events({"version": "2.1.0", "runs": first["runs"] + second["runs"]})

    assert [type(event) for event in found] == [ToolInfo, Finding, ToolInfo, Finding]
    assert [found[0].name, found[2].name] == ["one", "two"]
    assert [found[1].severity, found[3].severity] == ["high", "low"]
    assert [found[n].properties["sarif"]["tool"] for n in (1, 3)] == ["one", "two"]


@pytest.mark.parametrize(
    ("driver", "name", "version"),
    [
        ({"name": "lint", "version": "1", "semanticVersion": "2"}, "lint", "1"),
        ({"fullName": "lint it", "semanticVersion": "2"}, "lint it", "2"),
        ({"name": "x" * 900}, "x" * 255, None),
        ({}, "unknown tool", None),
        (None, "unknown tool", None),
    ],
)
def test_the_tool_is_named(events, sarif, driver, name, version):
    (tool,) = events(sarif(tool={"driver": driver}))

    assert (tool.name, tool.version) == (name, version)


def test_a_run_that_failed_is_an_error_and_keeps_its_findings(events, a_result, sarif):
    said = {"level": "error", "message": {"text": "bad rule\npassword = 'hunter2'"}}
    invocation = {"executionSuccessful": False, "toolConfigurationNotifications": [said]}
    found = events(sarif(a_result(), invocations=[{"executionSuccessful": True}, invocation]))

    assert notices(found) == [
        ("error", "run 1 (lint) says of itself that it failed: bad rule"),
        ("warning", "lint: bad rule"),
    ]
    assert isinstance(found[-1], Finding)


@pytest.mark.parametrize(
    "crash", [{"exitSignalName": "SIGSEGV"}, {"processStartFailureMessage": "not found"}]
)
def test_a_tool_that_crashed_has_failed_whatever_it_says_of_itself(events, a_result, sarif, crash):
    invocation = {"executionSuccessful": True, **crash}
    found = events(sarif(a_result(), invocations=[invocation]))

    assert notices(found) == [
        ("error", "run 1 (lint) says of itself that it failed: it does not say why")
    ]
    assert isinstance(found[-1], Finding)


@pytest.mark.parametrize("kind", ["toolExecutionNotifications", "toolConfigurationNotifications"])
def test_an_error_in_a_run_that_succeeded_makes_it_partial_and_no_failure(events, sarif, kind):
    """As the standard has it in its appendix K; whether a run failed is `executionSuccessful`."""
    said = {"level": "error", "message": {"text": "a rule threw"}}
    found = events(sarif(invocations=[{"executionSuccessful": True, kind: [said]}]))

    assert notices(found) == [("warning", "lint: a rule threw")]


def test_what_a_tool_complains_of_is_a_warning(events, sarif):
    place = {"physicalLocation": {"artifactLocation": {"uri": "a.ts"}}}
    said = [
        {"level": "note", "message": {"text": "started"}},
        {"level": "warning", "message": {"text": "Syntax error"}, "locations": [place]},
        {"descriptor": {"id": "CTN9"}},
        {"level": "error", "message": {"id": "why"}},
        "nonsense",
    ]
    found = events(sarif(invocations=[{"toolExecutionNotifications": said}]))[1:]

    assert [(each.message, each.path) for each in found] == [
        ("lint: Syntax error", "a.ts"),
        ("lint: CTN9", None),
        ("lint: why", None),
        ("lint: something went wrong", None),
    ]


def test_many_complaints_are_counted(events, sarif):
    said = [{"level": "error", "message": {"text": f"n{number}"}} for number in range(1000)]
    found = events(sarif(invocations=[{"toolExecutionNotifications": said}]))

    assert len(found) == 22
    assert found[-1].message == "run 1 (lint) has 980 more complaints of its tool"


@pytest.mark.parametrize(
    ("run", "level", "words"),
    [
        ({}, "warning", "has no results"),
        ({"results": None}, "warning", "has no results"),
        ({"results": 42}, "error", "no list"),
        ({"results": {"a": [{}]}}, "error", "no list"),
        ({"results": {"item": [{}]}}, "error", "no list"),
        (ELSEWHERE, "warning", "in another file"),
        ({"results": []} | ELSEWHERE, "warning", "in another file"),
        ({"results": []} | TAXONOMIES_ELSEWHERE, "info", "taxonomies"),
    ],
)
def test_a_run_whose_results_are_not_all_here_says_so(events, run, level, words):
    ((found_level, found_words),) = notices(events({"version": "2.1.0", "runs": [run]}))

    assert found_level == level
    assert words in found_words


@pytest.mark.parametrize("more", [{}, {"runs.item.results": [{}]}])
def test_a_report_without_runs_is_no_clean_scan(events, more):
    assert notices(events({"version": "2.1.0", "runs": [], **more}))[0][0] == "warning"


@pytest.mark.parametrize("count", [1, 3])
def test_a_report_that_changes_while_it_is_read_is_no_report(tmp_path, a_result, sarif, count):
    path = tmp_path / "report.sarif"
    path.write_text(json.dumps(sarif(a_result(), a_result())), encoding="utf-8")
    with path.open("rb", buffering=0) as stream:
        events = SarifParser().parse(stream)
        next(events)  # its tool: the whole report was seen
        path.write_text(json.dumps(sarif(*[a_result()] * count)), encoding="utf-8")

        with pytest.raises(ReportUnreadable, match="changed while it was read"):
            list(events)


def test_a_run_that_is_none_costs_the_others_nothing(events, a_result, sarif):
    document = sarif(a_result())
    document["runs"].insert(0, None)
    found = events(document)

    assert notices(found) == [
        ("error", "run 1 (unknown tool) is no object: its results cannot be read")
    ]
    assert isinstance(found[-1], Finding)


def test_results_kept_inline_elsewhere_are_told(events, sarif):
    document = sarif() | {"inlineExternalProperties": [{"results": [{}, {}]}]}

    assert notices(events(document)) == [("warning", "2 inline external results are not read")]


def test_a_result_that_is_none_costs_itself_and_a_notice(events, a_result, sarif):
    found = events(sarif(a_result(), None, "x", 5, [], a_result()))

    assert sum(isinstance(event, Finding) for event in found) == 2
    ((level, words),) = notices(found)
    assert level == "warning"
    assert "4 of 6 results of run 1 (lint) cannot be read, the first of them number 2" in words


UNREADABLE = {
    "empty": (b"", "empty"),
    "a sentence": (b"FATAL", "not JSON"),
    "a list": (b"[]", "no JSON object"),
    "null": (b"null", "no JSON object"),
    "a number": (b"5", "no JSON object"),
    "another version": (b'{"version": "2.0.0", "runs": []}', r"SARIF 2\.0\.0; this reads 2\.1\.0"),
    "another version at its end": (b'{"runs": [], "version": "1.0.0"}', r"SARIF 1\.0\.0"),
    "a version that is none": (b'{"version": 2.1, "runs": []}', "of no version"),
    "no version": (b'{"runs": []}', "names no version"),
    "no runs": (b'{"version": "2.1.0"}', "no `runs`"),
    "runs of null": (b'{"version": "2.1.0", "runs": null}', "`runs` of the report are no list"),
    "runs of an object": (b'{"version": "2.1.0", "runs": {}}', "`runs` of the report are no list"),
    "a cut": (b'{"version": "2.1.0", "runs": [{"results": [{}', "cut off"),
    "text after it": (b'{"version": "2.1.0", "runs": []} done', "not JSON"),
    "runs without end": (
        b'{"version": "2.1.0", "runs": [' + b"{}," * 10_001 + b"{}]}",
        "10,000 runs",
    ),
}


@pytest.mark.parametrize(("data", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_report_is_refused_with_a_sentence(events, data, words):
    with pytest.raises(ReportUnreadable, match=words):
        events(data)


def test_nothing_leaves_before_the_whole_report_was_seen(a_result, sarif):
    data = json.dumps(sarif(*[a_result()] * 50_000)).encode()

    with pytest.raises(ReportUnreadable):
        next(SarifParser().parse(io.BytesIO(data[:-1])))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_read(events, a_result, sarif, encoding):
    document = json.dumps(sarif(a_result(message={"text": "größe 😀"})), ensure_ascii=False)
    found = events(document.encode(encoding))

    assert found[-1].message == "größe 😀"
