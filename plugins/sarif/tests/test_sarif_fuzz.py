"""Whatever the bytes, the SARIF parser yields events or raises `ReportUnreadable`."""

import copy
import json
from functools import reduce
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rediver_agent import ReportUnreadable
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_sarif import SarifParser

REPORTS = [path.read_bytes() for path in sorted((Path(__file__).parent / "data").glob("*.sarif"))]
RICH = {
    "ruleId": "R1/x",
    "ruleIndex": 0,
    "rule": {"id": "R1", "index": 0, "guid": "g", "toolComponent": {"index": 0, "name": "lint"}},
    "kind": "fail",
    "level": "error",
    "message": {"id": "default", "arguments": ["a"], "text": "t {0}", "markdown": "m"},
    "locations": [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "a.py", "uriBaseId": "ROOT", "index": 0},
                "region": {
                    "startLine": 1,
                    "endLine": 2,
                    "startColumn": 3,
                    "endColumn": 4,
                    "snippet": {"text": "é😀\nx"},
                },
                "contextRegion": {"startLine": 1, "snippet": {"text": "é\nx"}},
            },
            "logicalLocations": [{"name": "f", "index": 0}],
            "message": {"text": "here"},
        }
    ],
    "codeFlows": [{"threadFlows": [{"locations": [{"index": 0}, {"location": {}}]}]}],
    "taxa": [{"id": "79", "index": 0, "toolComponent": {"name": "CWE", "index": 0}}],
    "fixes": [{"artifactChanges": [{"replacements": [{"insertedContent": {"text": "c"}}]}]}],
    "suppressions": [{"kind": "inSource", "status": "accepted"}],
    "provenance": {"invocationIndex": 0},
    "fingerprints": {"a": "b"},
    "properties": {"security-severity": "7", "tags": ["CWE-798"], "cwe": ["CWE-1"], "owasp": "A1"},
}
RUN = {
    "tool": {
        "driver": {
            "name": "lint",
            "rules": [{"id": "R1", "relationships": [{"target": {"id": "79"}}]}],
            "globalMessageStrings": {"default": {"text": "d {0}"}},
        },
        "extensions": [{"name": "e", "rules": [{"id": "E1"}]}],
    },
    "results": [RICH],
    "invocations": [
        {
            "executionSuccessful": False,
            "toolExecutionNotifications": [{"message": {"text": "n"}, "locations": [{}]}],
            "ruleConfigurationOverrides": [
                {"descriptor": {"id": "R1"}, "configuration": {"level": "note"}}
            ],
            "workingDirectory": {"uri": "file:///w"},
        }
    ],
    "originalUriBaseIds": {"ROOT": {"uri": "file:///w/", "uriBaseId": "ROOT"}},
    "artifacts": [{"location": {"uri": "b.py"}}],
    "taxonomies": [{"name": "CWE", "taxa": [{"id": "79"}]}],
    "threadFlowLocations": [{"location": {}}],
    "logicalLocations": [{"name": "f"}],
    "externalPropertyFileReferences": {"results": []},
    "columnKind": "utf16CodeUnits",
}
DOCUMENT = {"version": "2.1.0", "runs": [RUN], "inlineExternalProperties": [{"results": []}]}

junk = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        2**40,
        10**30,
        0.5,
        "",
        "x",
        "../..",
        "{0}",
        [],
        [[]],
        [None],
        {},
        {"text": {}},
        "\ud800 alone",
        "\x00\x1b[31m",
        "[" * 300,
        1e308,
        -(10**400),
        reduce(lambda inner, _: [inner], range(60), {"text": "deep"}),
        [{"text": "x"}] * 200,
    ]
)


def places(value, path=()):
    """The path of everything inside a JSON value."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in inside:
        yield (*path, key)
        yield from places(item, (*path, key))


def entry(value, key):
    """What stands there; None where an earlier change took it away."""
    try:
        return value[key]
    except (TypeError, KeyError, IndexError):
        return None


PLACES = sorted(places(DOCUMENT), key=str)


def read(data):
    try:
        return parse(SarifParser(), data)
    except ReportUnreadable:
        return []


@settings(deadline=None, max_examples=300)  # the machine may be busy
@given(st.lists(st.tuples(st.sampled_from(PLACES), junk), min_size=1, max_size=4))
def test_any_value_may_stand_anywhere(changes):
    document = copy.deepcopy(DOCUMENT)
    for (*way, last), value in changes:
        holder = reduce(entry, way, document)
        if isinstance(holder, dict | list) and entry(holder, last) is not None:
            holder[last] = copy.deepcopy(value)

    for event in read(json.dumps(document).encode()):
        if isinstance(event, Finding):
            Finding.model_validate_json(event.model_dump_json())


INSIDE = sorted(places(RICH, ()), key=str)
GOOD = {"ruleId": "GOOD", "message": {"text": "still here"}}


@settings(deadline=None, max_examples=200)  # the machine may be busy
@given(
    st.lists(
        st.tuples(st.sampled_from(INSIDE), junk | st.just("delete"), st.booleans()),
        min_size=1,
        max_size=3,
    )
)
def test_an_odd_part_costs_itself_and_no_other_result(changes):
    odd = copy.deepcopy(RICH)
    for (*way, last), value, _ in changes:
        holder = reduce(entry, way, odd)
        if isinstance(holder, dict | list) and entry(holder, last) is not None:
            if value == "delete":
                del holder[last]
            else:
                holder[last] = copy.deepcopy(value)
    texts = [json.dumps(odd), json.dumps(GOOD)]
    if any(twice for _, _, twice in changes):
        texts[0] = texts[0][:-1] + ', "locations": {}, "level": 5}'  # a key that comes again
    run = {**RUN, "results": ["here"]}
    document = json.dumps(DOCUMENT | {"runs": [run]}).replace('"here"', ", ".join(texts))

    events = parse(SarifParser(), document.encode())
    found = [event for event in events if isinstance(event, Finding)]

    assert [each.rule_id for each in found][-1:] == ["GOOD"]
    assert len(found) == 2


@settings(deadline=None, max_examples=200)  # the machine may be busy
@given(
    st.sampled_from([*REPORTS, json.dumps(DOCUMENT).encode()]),
    st.lists(
        st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 30)),
        min_size=1,
        max_size=5,
    ),
)
def test_any_bytes_may_be_put_in_or_left_out(data, changes):
    for where, put_in, left_out in changes:
        at = int(where * len(data))
        data = data[:at] + put_in + data[at + left_out :]

    read(data)


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_refused_or_read(data):
    assert not SarifParser().sniff(data) or data
    read(data)
    read(b'{"version": "2.1.0", "runs": [' + data)
