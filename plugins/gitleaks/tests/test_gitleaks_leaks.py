"""From gitleaks' JSON to findings: what is kept of a leak, and that nothing of the secret is."""

import json

import pytest

from rediver_agent import MASK, Notice, ReportUnreadable
from rediver_agent.contract import Finding
from rediver_agent.testing import check_parser, parse
from rediver_gitleaks._parse import GitleaksParser


def leak(**more: object) -> dict[str, object]:
    return {
        "RuleID": "generic-api-key",
        "Description": "A key.",
        "StartLine": 3,
        "EndLine": 3,
        "StartColumn": 2,
        "EndColumn": 9,
        "Match": 'key = "hunter2"',
        "Secret": "hunter2",
        "File": "a.env",
        **more,
    }


def only(report: object) -> Finding:
    (found,) = parse(GitleaksParser(), json.dumps(report).encode())
    assert isinstance(found, Finding)
    return found


def test_it_passes_the_standard_checks_with_secrets_in_the_report():
    check_parser(GitleaksParser(), json.dumps([leak()] * 9).encode(), secrets=["hunter2"])


@pytest.mark.parametrize(
    ("match", "secret", "shown"),
    [
        ('key = "hunter2"', "hunter2", 'key = "***"'),
        ("hunter2 hunter2", "hunter2", "*** ***"),
        ("REDACTED", "REDACTED", MASK),
        ("key = aHVudGVyMg==", "hunter2", MASK),
        ("key = hunter2", "", MASK),
        ("key = hunter2\n", "hunter2\n", "key = ***"),
    ],
)
def test_nothing_of_a_secret_is_kept_from_a_report_that_was_not_redacted(match, secret, shown):
    found = only([leak(Match=match, Secret=secret, Line=match, Message=f"commit of {secret}")])

    assert found.location is not None
    assert found.location.snippet == shown
    assert "hunter2" not in found.model_dump_json()


def test_a_decoded_secret_is_not_quoted_in_the_form_it_had():
    found = only([leak(Match="aHVudGVyMg== hunter2", Tags=["decoded:base64", "decode-depth:1"])])

    assert found.location is not None
    assert found.location.snippet == MASK


@pytest.mark.parametrize(
    ("lines", "given", "meant"), [((1, 1), (1, 20), (1, 21)), ((2, 2), (20, 39), (19, 39))]
)
def test_columns_are_put_right_where_gitleaks_counts_one_too_many(lines, given, meant):
    raw = leak(StartLine=lines[0], EndLine=lines[1], StartColumn=given[0], EndColumn=given[1])

    location = only([raw]).location

    assert location is not None
    assert (location.start_column, location.end_column) == meant


def test_a_leak_has_its_link_and_tags_and_nothing_of_the_secret_in_them():
    link = "https://github.com/o/r/blob/abc/hunter2.env#L2"

    found = only([leak(Link=link, Tags=["key", "is hunter2", 7], Description="Is hunter2 here?")])

    assert found.references == ["https://github.com/o/r/blob/abc/***.env#L2"]
    assert found.tags == ["key", "is ***"]
    assert found.title == "Is *** here?"
    assert only([leak(Link="https://user:hunter3@github.com/o/r")]).references == []


def test_a_leak_of_the_history_names_its_commit_and_no_person():
    found = only([leak(Commit="abc", Date="2024-01-01T00:00:00Z", Author="A", Email="a@b.test")])

    assert found.properties == {"commit": "abc", "date": "2024-01-01T00:00:00Z"}
    assert "a@b.test" not in found.model_dump_json()


def test_an_empty_list_is_clean_and_null_is_not():
    assert parse(GitleaksParser(), b"[]") == []
    assert [type(event) for event in parse(GitleaksParser(), b"null")] == [Notice]


@pytest.mark.parametrize("report", [b"{}", b'{"findings": []}', b"7", b'"[]"', b"[] []"])
def test_what_is_not_a_list_is_no_report(report):
    with pytest.raises(ReportUnreadable):
        parse(GitleaksParser(), report)


def test_an_odd_entry_is_told_without_quoting_it_and_costs_no_other():
    odd = leak(StartLine={"hunter2": 1})

    events = parse(GitleaksParser(), json.dumps([odd, leak(), "hunter2"]).encode())

    assert [type(event) for event in events] == [Notice, Finding, Notice]
    assert "hunter2" not in repr(events)


def test_many_odd_entries_are_told_by_their_number():
    events = parse(GitleaksParser(), json.dumps([7] * 1000 + [leak()]).encode())

    assert [type(event) for event in events] == [*[Notice] * 20, Finding, Notice]
    assert events[-1] == Notice("error", "980 more leaks could not be read")
