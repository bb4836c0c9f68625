"""Whatever a report says: no error but `ReportUnreadable`, no good result lost, no secret."""

import copy
import json
from contextlib import suppress
from functools import reduce
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rediver_agent import Notice, ReportUnreadable
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_semgrep._parse import SemgrepParser

APP = (Path(__file__).parent / "data" / "app.json").read_bytes()
SECRET = "hunter2-hunter2"  # planted, to be looked for
WHERE = {"path": "a.py", "start": {"line": 3, "col": 2}, "end": {"line": 3, "col": 9}}
GOOD = {"check_id": "good", **WHERE, "extra": {"message": "m", "severity": "ERROR", "metadata": {}}}
CODE = [{**WHERE}, f"x = '{SECRET}'"]
RICH = {
    "check_id": "a.b.c",
    **WHERE,
    "extra": {
        "message": f"A key: {SECRET}",
        "severity": "ERROR",
        "metadata": {
            "cwe": ["CWE-798: Hard-coded"],
            "owasp": "A07:2021",
            "technology": ["secrets"],
            "category": "security",
            "confidence": "HIGH",
            "references": ["https://x.test/a", 7],
            "shortlink": "https://sg.run/abc",
            "sca-fix-versions": [{"p": "1.2"}],
        },
        "lines": f"x = '{SECRET}'",
        "fix": SECRET,
        "fixed_lines": [SECRET],
        "fingerprint": SECRET,
        "is_ignored": False,
        "metavars": {"$X": {"abstract_content": SECRET}},
        "validation_state": "CONFIRMED_VALID",
        "historical_info": {"git_commit": "abc", "git_commit_timestamp": "2026-01-01"},
        "dataflow_trace": {
            "taint_source": ["CliCall", [CODE, [], ["CliLoc", CODE]]],
            "intermediate_vars": [{"location": {**WHERE}, "content": SECRET}],
            "taint_sink": ["CliLoc", CODE],
        },
        "sca_info": {
            "reachable": True,
            "dependency_match": {
                "lockfile": "l",
                "dependency_pattern": {"ecosystem": "npm", "package": "p", "semver_range": "<1"},
                "found_dependency": {"package": "p", "version": "1", "ecosystem": "npm"},
            },
        },
    },
}
OPEN = copy.deepcopy(RICH)  # the same as what is no secret: every field is read
OPEN["extra"]["metadata"] |= {"cwe": 79, "technology": None}
for hidden in ("validation_state", "historical_info"):
    del OPEN["extra"][hidden]

junk = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        2**40,
        10**30,
        0.5,
        "",
        "x",
        "7",
        [],
        [[]],
        [None],
        {},
        {"a": {}},
        ["CliLoc"],
    ]
)


def places(value, path=()):
    """The path of everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else inside:
        yield (*path, key)
        yield from places(item, (*path, key))


def entry(value, key):
    """What stands there; None where an earlier change took it away."""
    try:
        return value[key]
    except (TypeError, KeyError, IndexError):
        return None


def changed(value, changes):
    value = copy.deepcopy(value)
    for (*way, last), new in changes:
        holder = reduce(entry, way, value)
        if isinstance(holder, dict | list) and entry(holder, last) is not None:
            holder[last] = copy.deepcopy(new)
    return value


def changes_of(value):
    at = st.sampled_from(sorted(places(value), key=str))
    return st.lists(st.tuples(at, junk), min_size=1, max_size=4)


def read(*results):
    report = {"version": "1", "results": [GOOD, *results, GOOD], "errors": []}
    return parse(SemgrepParser(), json.dumps(report).encode())


@settings(deadline=None, max_examples=200)  # the machine may be busy
@given(changes_of(OPEN))
def test_a_result_with_any_value_anywhere_is_a_finding_or_told_and_costs_no_other(changes):
    first, *between, last = [
        e for e in read(changed(OPEN, changes)) if isinstance(e, Finding | Notice)
    ]

    assert (first.rule_id, last.rule_id) == ("good", "good")
    assert len(between) == 1
    if isinstance(between[0], Finding):
        Finding.model_validate_json(between[0].model_dump_json())


def test_what_is_no_secret_is_told_whole():
    found = read(OPEN)[1]

    assert [step.message for step in found.data_flow] == ["source", "call", "variable", "sink"]
    assert found.vulnerability.fixed_versions == ["1.2"]
    assert found.remediation.fix_code == SECRET


@settings(deadline=None, max_examples=100)  # the machine may be busy
@given(changes_of({"extra": {k: v for k, v in RICH["extra"].items() if k != "metadata"}}))
def test_nothing_of_a_secret_is_in_what_is_made_of_its_result(changes):
    assert SECRET not in repr(read(changed(RICH, changes)))


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
        parse(SemgrepParser(), data)


def test_many_odd_results_and_errors_are_told_by_their_number():
    report = {"results": [GOOD, *[7] * 1000, GOOD], "errors": [{"level": "warn"}] * 1000}

    events = parse(SemgrepParser(), json.dumps(report).encode())

    assert len([event for event in events if isinstance(event, Finding)]) == 2
    said = [event.message for event in events if isinstance(event, Notice)]
    assert len(said) == 42
    assert said[-2:] == [
        "980 more results could not be read",
        "semgrep told 980 more problems of the level warning",
    ]
