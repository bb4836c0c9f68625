"""From semgrep's JSON to findings and notices: what is kept of a result, and what is never."""

import io
import json
import tracemalloc

import pytest

from rediver_agent import Notice, ReportUnreadable
from rediver_agent.contract import Finding, FindingType, Severity
from rediver_agent.testing import parse
from rediver_semgrep._parse import SemgrepParser


def report_of(*results: object, **more: object) -> bytes:
    return json.dumps({"results": results, "errors": [], **more}).encode()


def result(**extra: object) -> dict[str, object]:
    return {
        "check_id": "r",
        "path": "a.py",
        "start": {"line": 3, "col": 10},
        "end": {"line": 3, "col": 14},
        "extra": {"message": "Bad.", "severity": "ERROR", "metadata": {}, **extra},
    }


def findings(report: bytes) -> list[Finding]:
    return [event for event in parse(SemgrepParser(), report) if isinstance(event, Finding)]


def notices(report: bytes) -> list[Notice]:
    return [event for event in parse(SemgrepParser(), report) if isinstance(event, Notice)]


def test_the_placeholder_for_lines_is_never_a_snippet():
    found = findings(report_of(result(lines="requires login", fingerprint="requires login")))

    assert found[0].location is not None
    assert found[0].location.snippet is None
    assert found[0].partial_fingerprints == {}


def test_what_is_remembered_of_rules_is_bounded_by_its_length():
    one = json.dumps(result(metadata={"z": "LONG"})).replace("LONG", "x" * 10**6)
    report = report_of().replace(b"[]", f"[{', '.join([one] * 40)}]".encode(), 1)
    for number in range(40):
        report = report.replace(b'"check_id": "r"', b'"check_id": "r%d"' % number, 1)
    stream = io.BytesIO(report)

    tracemalloc.start()
    try:
        found = sum(isinstance(event, Finding) for event in SemgrepParser().parse(stream))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found == 40
    assert peak < 24 << 20


def test_columns_are_code_points_where_the_line_is_told_and_as_they_are_elsewhere():
    told, untold = findings(report_of(result(lines="# äöü x = eval(y)"), result()))

    assert told.location is not None
    assert untold.location is not None
    assert (told.location.start_column, told.location.end_column) == (7, 11)
    assert (untold.location.start_column, untold.location.end_column) == (10, 14)


def test_a_rule_that_finds_credentials_quotes_nothing_of_them():
    raw = result(
        message="password hunter2 in the source",
        lines="p = 'hunter2'",
        fix="'hunter2'",
        metadata={"cwe": ["CWE-798: Use of Hard-coded Credentials"]},
    )

    found = findings(report_of(raw))

    assert found[0].type is FindingType.SECRET
    assert found[0].secret is not None
    assert "hunter2" not in found[0].model_dump_json()


@pytest.mark.parametrize(
    ("rule", "extra"),
    [
        ("generic.secrets.security.detected-key", {}),
        ("r", {"metadata": {"technology": ["aws", "secrets"]}}),
        ("r", {"metadata": {"cwe": "CWE-321"}}),
        ("r", {"validation_state": "CONFIRMED_VALID"}),
        ("r", {"historical_info": {"git_commit": "abc", "git_commit_timestamp": "2026-01-01"}}),
    ],
)
def test_what_may_show_a_secret_is_one(rule, extra):
    found = findings(report_of({**result(**extra, lines="hunter2"), "check_id": rule}))

    assert found[0].type is FindingType.SECRET
    assert "hunter2" not in found[0].model_dump_json()
    if "historical_info" in extra:
        assert found[0].properties == {"commit": "abc", "date": "2026-01-01"}


def test_a_vulnerable_package_is_told_with_what_mends_it():
    package = {"package": "minimist", "version": "1.2.5", "ecosystem": "npm"}
    raw = result(
        metadata={
            "sca-vuln-database-identifier": "CVE-2021-44906",
            "sca-fix-versions": [{"minimist": "1.2.6"}, {"minimist": "0.2.4"}, {"other": "9"}],
        },
        sca_info={
            "reachability_rule": True,
            "reachable": False,
            "dependency_match": {
                "lockfile": "package-lock.json",
                "dependency_pattern": {"package": "minimist", "semver_range": "< 1.2.6"},
                "found_dependency": {**package, "transitivity": "transitive"},
            },
        },
    )

    found = findings(report_of(raw))[0]

    assert found.vulnerability is not None
    assert found.vulnerability.model_dump(exclude_defaults=True) == {
        "cve_id": "CVE-2021-44906",
        "package": "minimist",
        "ecosystem": "npm",
        "affected_version": "1.2.5",
        "fixed_versions": ["1.2.6", "0.2.4"],
    }
    assert found.properties == {
        "lockfile": "package-lock.json",
        "transitivity": "transitive",
        "affected_versions": "< 1.2.6",
        "reachable": False,
    }


def test_a_flow_goes_from_its_source_through_calls_to_its_sink():
    def at(line, code):
        return [{"path": "a.py", "start": {"line": line, "col": 1}, "end": {"line": line}}, code]

    def variable(line, name):
        return {"location": at(line, name)[0], "content": name}

    trace = {
        "taint_source": ["CliCall", [at(7, "f()"), [variable(2, "x")], ["CliLoc", at(1, "get()")]]],
        "intermediate_vars": [variable(8, "y")],
        "taint_sink": ["CliCall", [at(9, "g(y)"), [variable(3, "z")], ["CliLoc", at(4, "run(z)")]]],
    }

    found = findings(report_of(result(dataflow_trace=trace)))[0]

    assert [(step.start_line, step.snippet) for step in found.data_flow] == [
        *((1, "get()"), (2, "x"), (7, "f()"), (8, "y")),
        *((9, "g(y)"), (3, "z"), (4, "run(z)")),
    ]


def test_what_a_rule_says_of_itself_is_kept():
    raw = result(
        metadata={
            "owasp": ["A03:2021 - Injection"],
            "category": "security",
            "subcategory": ["vuln"],
            "technology": ["flask"],
            "likelihood": "HIGH",
            "impact": "LOW",
            "references": ["https://x.test/a", "javascript:x"],
            "shortlink": "https://sg.run/abc",
        },
        fingerprint="0123",
    )

    found = findings(report_of({**raw, "check_id": "python.flask.sql"}))[0]

    assert (found.rule_id, found.rule_name) == ("python.flask.sql", "sql")
    assert found.tags == ["security", "vuln", "flask"]
    assert found.references == ["https://x.test/a", "https://sg.run/abc"]
    assert found.properties == {"likelihood": "HIGH", "impact": "LOW"}
    assert found.partial_fingerprints == {"matchBasedId/v1": "0123"}
    assert found.vulnerability is not None
    assert found.vulnerability.owasp_ids == ["A03:2021 - Injection"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"paths": {"scanned": []}}, True),
        ({"paths": {"scanned": ["a.py"]}}, False),
        ({"paths": {}}, False),
        ({"paths": {"scanned": []}, "errors": [{"level": "warn"}]}, False),
    ],
)
def test_a_report_of_no_file_says_so(more, told):
    said = [notice.message for notice in notices(report_of(**more))]

    assert any("scanned no file" in message for message in said) == told


def test_errors_become_notices_by_their_level():
    report = report_of(
        errors=[
            {"level": "error", "type": "SemgrepError", "message": "no such rule"},
            {"level": "warn", "type": ["PartialParsing", []], "message": "at b.py:1:\n `x`"}
            | {"path": "b.py"},
            {"level": "info", "type": "Note", "message": "fine"},
            "odd",
        ]
    )

    assert notices(report) == [
        Notice("error", "SemgrepError: no such rule"),
        Notice("warning", "PartialParsing: at b.py:1:", "b.py"),
        Notice("info", "Note: fine"),
        Notice("warning", "None: "),
    ]


def test_files_left_out_are_told_but_for_media_and_what_was_excluded():
    skipped = [
        {"path": "huge.py", "reason": "exceeded_size_limit"},
        {"path": "huge.png", "reason": "exceeded_size_limit"},
        {"path": "huge.tar.gz", "reason": "exceeded_size_limit"},
        {"path": "vendor/a.py", "reason": "cli_exclude_flags_match"},
    ]

    told = notices(report_of(paths={"scanned": [], "skipped": skipped}))

    assert [(notice.level, notice.path) for notice in told] == [("warning", "huge.py")]


@pytest.mark.parametrize(
    "report",
    [
        b"{}",
        b"[]",
        b'{"results": []}',
        b'{"results": null, "errors": []}',
        b'{"results": {}, "errors": []}',
        b'{"errors": []}',
    ],
)
def test_what_lacks_results_or_errors_is_no_report(report):
    with pytest.raises(ReportUnreadable):
        parse(SemgrepParser(), report)


def test_an_odd_result_is_told_and_costs_no_other():
    odd = {**result(), "start": {"line": 0}}

    events = parse(SemgrepParser(), report_of(odd, result(), 7))

    assert [type(event) for event in events] == [Notice, Finding, Notice]


def test_severities_of_every_version_have_their_place():
    words = ["CRITICAL", "HIGH", "ERROR", "MEDIUM", "WARNING", "LOW", "INFO", "INVENTORY", "odd"]

    found = findings(report_of(*(result(severity=word) for word in words)))

    assert [f.severity for f in found] == [
        *(Severity.CRITICAL, Severity.HIGH, Severity.HIGH, Severity.MEDIUM, Severity.MEDIUM),
        *(Severity.LOW, Severity.INFO, Severity.INFO, Severity.MEDIUM),
    ]
