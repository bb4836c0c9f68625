"""The quick way and the thorough one find the same, and ordinary results take the quick one."""

import io
import json
from contextlib import closing, suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_sarif import SarifParser
from rediver_sarif._finding import Findings
from rediver_sarif._outline import read_outline
from rediver_sarif._plain import Result
from rediver_sarif._quick import QuickFindings
from rediver_sarif._store import Store
from rediver_sarif._uri import Paths

RULES = [
    {"id": "R1", "shortDescription": {"text": "A headline"}, "helpUri": "https://lint.example/1"},
    {"id": "R2", "properties": {"tags": ["CWE-79"], "security-severity": "8.1"}},
    {"id": "leak", "properties": {"tags": ["secret"]}},
    {"id": "CVE-2020-1234", "name": "Dependency", "fullDescription": {"text": "Long."}},
]
TRIVY = (
    "Package: a\nInstalled Version: 1\nVulnerability x\nFixed Version: 2, 3\nLink: [x](https://e/x)"
)
texts = st.sampled_from(
    [
        *("plain words", "größe 😀\nsecond line", " led by a space", "\nled by a line", "a\tb", ""),
        *("\x00", "is CWE-22", "see [this](1) \\[kept\\]", TRIVY, "[x](https://e.example/)"),
        *("x" * 1001, 5, None),
    ]
)
numbers = st.sampled_from([1, 2, 9, 0, -1, 2**31, 3.0, True, "7", None])
regions = st.dictionaries(
    st.sampled_from(["startLine", "endLine", "startColumn", "endColumn", "charOffset"]), numbers
) | st.fixed_dictionaries(
    {"startLine": st.integers(1, 9), "startColumn": st.integers(1, 5)},
    optional={"endColumn": st.integers(1, 9), "snippet": st.fixed_dictionaries({"text": texts})},
)
addresses = st.sampled_from(
    [
        {"uri": "a/b.py"},
        {"uri": "a/b.py", "uriBaseId": "ROOT"},
        {"uri": "../x"},
        {"index": 0},
        {},
        5,
    ]
)
physicals = st.fixed_dictionaries(
    {"artifactLocation": addresses, "region": regions},
    optional={"contextRegion": st.just({"startLine": 1, "snippet": {"text": "é\nx"}})},
)
locations = st.fixed_dictionaries(
    {},
    optional={"physicalLocation": physicals, "message": st.just({"text": "here"}), "id": numbers},
) | st.sampled_from([{"logicalLocations": [{"name": "f"}]}, 5, {"physicalLocation": 5}])
steps = st.fixed_dictionaries(
    {"physicalLocation": st.fixed_dictionaries({"artifactLocation": addresses, "region": regions})},
    optional={"message": st.fixed_dictionaries({"text": texts}), "id": st.integers(-2, 3)},
)
threads = st.fixed_dictionaries(
    {
        "locations": st.lists(
            st.fixed_dictionaries(
                {"location": steps | locations}, optional={"nestingLevel": numbers}
            ),
            max_size=3,
        )
    },
    optional={"id": texts},
)
flows = st.lists(
    st.fixed_dictionaries(
        {"threadFlows": st.lists(threads, max_size=2)}, optional={"message": st.just({})}
    ),
    max_size=2,
) | st.sampled_from([[{}], 5, None, [{"threadFlows": None}]])
RARE = {
    "kind": st.sampled_from(["fail", "open", "pass", 5]),
    "level": st.sampled_from(["error", "note", "odd", None, []]),
    "ruleIndex": st.sampled_from([0, 1, 9, -1, True, None]),
    "rule": st.sampled_from([{"id": "R2"}, {"index": 1}, {"toolComponent": {"index": 0}}, [], 5]),
    "properties": st.sampled_from([{}, {"tags": ["CWE-5"]}, {"security-severity": "2"}, []]),
    "fingerprints": st.sampled_from(
        [{"a/v1": "x"}, {"m": "requires login"}, {"n": {"value": "y"}}, 5]
    ),
    "partialFingerprints": st.sampled_from([{"line": "z:1"}, {"secretHash": "q"}, None]),
    "suppressions": st.sampled_from([[{"kind": "inSource"}], [{"status": "rejected"}], [], None]),
    "codeFlows": flows,
    "relatedLocations": st.lists(steps) | st.lists(locations) | numbers,
    "hostedViewerUri": st.just("https://viewer.example/"),
    "baselineState": st.sampled_from(["new", "absent"]),
    "taxa": st.just([{"id": "79", "toolComponent": {"name": "CWE"}}]),
}
results = st.fixed_dictionaries(
    {
        "ruleId": st.sampled_from(
            ["R1", "R2", "R2/x", "leak", "CVE-2020-1234", "new", "", None, 5]
        ),
        "message": st.fixed_dictionaries({"text": texts})
        | st.sampled_from([{"id": "m", "arguments": ["x"]}, {"text": "{0}", "arguments": [1]}, 5]),
        "locations": st.lists(locations, max_size=2) | st.just(5),
    },
    optional=RARE,
)


RUN = {"tool": {"driver": {"name": "lint", "rules": RULES}}}
KINDS = [{}, {"columnKind": "unicodeCodePoints"}]


def document(found, several, more):
    """The results in a run of their own, after one of the same tool or of another."""
    before = {"tool": {"driver": {"name": "other" if several else "lint"}}, "results": []}
    return {"version": "2.1.0", "runs": [before, {**RUN, **more, "results": found}]}


def thorough(report, several):
    with closing(Store()) as store:
        run = read_outline(io.BytesIO(json.dumps(report).encode()), store).runs[1]
        findings = Findings(run, several=several)
        for result in report["runs"][1]["results"]:
            with suppress(ValidationError):
                yield findings.of(result)


def same(found, several, more):
    report = document(found, several, more)
    events = parse(SarifParser(), json.dumps(report).encode())
    read = [event for event in events if isinstance(event, Finding)]

    assert read == [finding for finding in thorough(report, several) if finding]
    for finding in read:
        Finding.model_validate(finding.model_dump())


@settings(deadline=None, max_examples=200)  # the machine may be busy
@given(st.lists(results, min_size=1, max_size=3), st.booleans(), st.sampled_from(KINDS))
def test_both_ways_find_the_same_in_any_result(found, several, more):
    same(found, several, more)


@pytest.mark.slow
@settings(deadline=None, max_examples=5000)
@given(st.lists(results, min_size=1, max_size=3), st.booleans(), st.sampled_from(KINDS))
def test_both_ways_find_the_same_in_many_results(found, several, more):
    same(found, several, more)


segments = st.sampled_from(["a", "b", "a b", "%41", "..", ".", "", "co"])
roots = st.sampled_from(
    ["file:///home/a/", "file:///home/a/b", "/home/", "C:/x", "https://e/r", "", "../"]
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "uri": roots | st.lists(segments, max_size=3).map("/".join),
        "uriBaseId": st.sampled_from(["A", "B", "SRCROOT", ""]),
    },
)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(st.sampled_from(["A", "B", "SRCROOT", ""]), entries),
    st.lists(segments, min_size=1, max_size=4).map("/".join),
    st.sampled_from(["A", "B", "SRCROOT", "", "unknown", None]),
)
def test_an_address_that_is_remembered_is_the_one_that_is_resolved(bases, uri, base):
    paths = Paths(bases, ["file:///home/a/co"], lambda _: {})
    where = {"uri": uri} | ({} if base is None else {"uriBaseId": base})

    for _ in range(2):
        assert paths.of(where) == paths.resolved(uri, base)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ruleIndex": 0, "level": "error"},
        {"rule": {"id": "R1", "index": 0, "toolComponent": {"index": 0}}},
        {"fingerprints": {"a/v1": "x"}, "properties": {}},
        {"message": {"text": TRIVY}},
        {"suppressions": [{"kind": "inSource"}]},
        {"kind": "fail", "relatedLocations": [{"id": 1, "message": {"text": "there"}}]},
    ],
)
def test_an_ordinary_result_takes_the_quick_way(a_result, more):
    result = msgspec.json.decode(json.dumps(a_result() | more), type=Result)
    with closing(Store()) as store:
        run = read_outline(io.BytesIO(json.dumps(document([], False, {})).encode()), store).runs[1]

        assert QuickFindings(run, several=False).ordinary(result)
