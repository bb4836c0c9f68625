"""Whatever a report says: no other error than `ReportUnreadable`, no good leak lost, no secret."""

import json
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rediver_agent import Notice, ReportUnreadable
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_gitleaks._leak import Leak
from rediver_gitleaks._parse import GitleaksParser, Unreadable, finding

APP = (Path(__file__).parent / "data" / "app.json").read_bytes()
SECRET = "hunter2-hunter2"  # planted, to be looked for
GOOD = {"RuleID": "good", "File": "a", "StartLine": 1, "Match": "x", "Secret": "x"}
RICH = {
    "RuleID": "key",
    "Description": f"A key such as {SECRET}",
    "StartLine": 2,
    "EndLine": 2,
    "StartColumn": 2,
    "EndColumn": 9,
    "Match": f"k = {SECRET}",
    "Line": f"k = {SECRET}",
    "Secret": SECRET,
    "File": "a.env",
    "SymlinkFile": SECRET,
    "Commit": "abc",
    "Link": f"https://x.test/{SECRET}",
    "Entropy": 3.5,
    "Author": SECRET,
    "Email": SECRET,
    "Date": "2026-01-01T00:00:00Z",
    "Message": f"add {SECRET}",
    "Tags": ["a", SECRET],
    "Fingerprint": f"a.env:{SECRET}:2",
}
OLD = {"rule": "key", "line": f"k = {SECRET}", "offender": SECRET, "file": "a", "lineNumber": 2}

junk = st.sampled_from(
    [None, True, -1, 0, 2**40, 10**30, 0.5, "", "x", "7", [], [[]], [None], {}, {"a": SECRET}]
)


words = st.sampled_from(
    [SECRET, f" {SECRET}\n", f"k={SECRET} {SECRET}", "REDACTED", "é", "x" * 3000, "*", "https://x/"]
)
tags = st.sampled_from([["a", SECRET], ["decoded:base64"], [""], ["x" * 2000], ["a"] * 60])
places = st.sampled_from([-2, -1, 1, 2, 2**31 - 1, 2**31, "7", 1.0])
likely = {
    **dict.fromkeys(("Match", "Secret", "Description", "File", "Link", "Date", "date"), words),
    **dict.fromkeys(("StartLine", "EndLine", "StartColumn", "EndColumn", "lineNumber"), places),
    "Tags": tags,
    "Entropy": st.sampled_from([3, 3.14159, 64, 65]),
    "rediver_baseline": st.booleans(),
}
leaks = st.builds(
    lambda leak, values, odd, absent: {
        name: value for name, value in {**leak, **values, **odd}.items() if name not in absent
    },
    st.sampled_from([RICH, OLD]),
    st.fixed_dictionaries({}, optional=likely),
    st.dictionaries(st.sampled_from([*RICH, *OLD]), junk, max_size=1),
    st.sets(st.sampled_from([*RICH]), max_size=2),
)


def read(*leaks):
    return parse(GitleaksParser(), json.dumps([GOOD, *leaks, GOOD]).encode())


@settings(deadline=None, max_examples=300)  # the machine may be busy
@given(st.sampled_from([RICH, OLD]), st.dictionaries(st.sampled_from([*RICH, *OLD]), junk))
def test_a_leak_with_any_values_is_a_finding_or_told_and_costs_no_other(leak, values):
    first, *between, last = read({**leak, **values})

    assert (first.rule_id, last.rule_id) == ("good", "good")
    assert [type(event) for event in between] in ([Finding], [Notice])
    if isinstance(between[0], Finding):
        Finding.model_validate_json(between[0].model_dump_json())


def both_ways_are_the_same(leak):
    (event,) = read(leak)[1:-1]

    try:
        thorough = finding(leak)
    except Unreadable as reason:
        assert isinstance(event, Notice)
        assert str(reason) in event.message  # noqa: PT017 - either is right, if both ways say it
    else:
        assert isinstance(event, Finding)
        assert event.model_dump_json() == thorough.model_dump_json()


@settings(deadline=None, max_examples=300)  # the machine may be busy
@given(leaks)
def test_a_leak_is_the_same_finding_whichever_way_it_is_read(leak):
    both_ways_are_the_same(leak)


@pytest.mark.slow
@settings(deadline=None, max_examples=10_000)
@given(leaks)
def test_many_leaks_are_the_same_findings_whichever_way_they_are_read(leak):
    both_ways_are_the_same(leak)


def test_what_gitleaks_writes_is_read_the_quick_way():
    assert msgspec.json.decode(APP, type=list[Leak])


@settings(deadline=None, max_examples=200)  # the machine may be busy
@given(
    st.sampled_from([RICH, OLD]),
    st.dictionaries(st.sampled_from(sorted({*RICH, *OLD} - {"Secret", "offender"})), junk),
)
def test_nothing_of_a_secret_is_in_what_is_made_of_its_leak(leak, values):
    assert SECRET not in repr(read({**leak, **values}))


@settings(deadline=None, max_examples=100)  # the machine may be busy
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 30)),
        min_size=1,
        max_size=5,
    )
)
def test_any_bytes_may_be_put_in_or_left_out(changes):
    data = APP
    for where, put_in, left_out in changes:
        at = int(where * len(data))
        data = data[:at] + put_in + data[at + left_out :]
    with suppress(ReportUnreadable):
        parse(GitleaksParser(), data)
