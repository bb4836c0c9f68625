"""The quick way and the thorough one find the same, and ordinary results take the quick one."""

import io
import json
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rediver_agent.contract import Finding
from rediver_sarif._finding import Findings
from rediver_sarif._outline import read_outline
from rediver_sarif._quick import QuickFindings
from rediver_sarif._store import Store

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
    "codeFlows": st.just(
        [{"threadFlows": [{"locations": [{"location": {"message": {"text": "s"}}}]}]}]
    ),
    "relatedLocations": st.just([{"message": {"text": "there"}}]),
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


def both(run, several):
    return [kind(run, several=several) for kind in (QuickFindings, Findings)]


def outcome(findings, result):
    try:
        found = findings.of(result)
    except ValidationError:
        return "refused"
    return found and found.model_dump()


@pytest.fixture(scope="module", params=[{}, {"columnKind": "unicodeCodePoints"}], ids=str)
def run(request):
    one = {"tool": {"driver": {"name": "lint", "rules": RULES}}, "results": [], **request.param}
    document = {"version": "2.1.0", "runs": [one]}
    with closing(Store()) as store:
        yield read_outline(io.BytesIO(json.dumps(document).encode()), store).runs[0]


@settings(deadline=None, max_examples=200)  # the machine may be busy
@given(result=results, several=st.booleans())
def test_both_ways_find_the_same_in_any_result(run, result, several):
    quick, thorough = both(run, several)
    found = outcome(quick, result)

    assert found == outcome(thorough, result)
    if isinstance(found, dict):
        Finding.model_validate(found)


@pytest.mark.slow
@settings(deadline=None, max_examples=5000)
@given(result=results, several=st.booleans())
def test_both_ways_find_the_same_in_many_results(run, result, several):
    quick, thorough = both(run, several)

    assert outcome(quick, result) == outcome(thorough, result)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ruleIndex": 0, "level": "error"},
        {"rule": {"id": "R1", "index": 0, "toolComponent": {"index": 0}}},
        {"fingerprints": {"a/v1": "x"}, "properties": {}},
        {"message": {"text": TRIVY}},
        {"suppressions": [{"kind": "inSource"}]},
    ],
)
def test_an_ordinary_result_takes_the_quick_way(run, a_result, more):
    assert QuickFindings(run, several=False).ordinary(a_result(**more))
