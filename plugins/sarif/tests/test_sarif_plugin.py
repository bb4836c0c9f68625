"""The SARIF plugin is found, passes the standard checks, and reads what real tools wrote."""

import json
from pathlib import Path

import pytest

from rediver_agent.contract import Finding
from rediver_agent.testing import check_parser, parse, provided
from rediver_sarif import SarifParser

DATA = Path(__file__).parent / "data"
SEMGREP = (DATA / "semgrep.sarif").read_bytes()
GITLEAKS = (DATA / "gitleaks.sarif").read_bytes()


def snippets(data):
    for result in json.loads(data)["runs"][0]["results"]:
        yield result["locations"][0]["physicalLocation"]["region"]["snippet"]["text"]


def test_the_agent_finds_the_plugin_by_its_entry_point():
    parsers = provided("sarif", "parser")

    assert [parser.format for parser in parsers] == ["sarif"]


def test_standard_checks():
    check_parser(SarifParser(), SEMGREP, secrets=["requires login"])


def test_standard_checks_with_secrets():
    lines = {line for text in snippets(GITLEAKS) for line in text.split("\n")}

    check_parser(SarifParser(), GITLEAKS, secrets=[*snippets(GITLEAKS), *lines])


def test_a_report_of_semgrep_is_read():
    events = parse(SarifParser(), SEMGREP)
    found = [event for event in events if isinstance(event, Finding)]

    assert len(found) == 16
    assert [each.rule_id for each in found if each.suppression] == ["semgrep-rules.py-eval-call"]
    sql = next(each for each in found if each.rule_id == "semgrep-rules.py-flask-sql-taint")
    assert (sql.location.path, sql.location.start_line) == ("api/app.py", 17)
    assert sql.location.snippet == '    return {"rows": db.execute(query).fetchall()}'
    assert sql.severity == "high"
    assert sql.vulnerability.cwe_ids == ["CWE-89"]
    assert sql.vulnerability.owasp_ids == ["A01:2017", "A03:2021"]
    assert sql.partial_fingerprints == {}


def test_semgreps_columns_are_bytes_and_become_code_points():
    found = [event for event in parse(SarifParser(), SEMGREP) if isinstance(event, Finding)]
    place = next(each.location for each in found if "😀" in (each.location.snippet or ""))

    assert place.snippet[place.start_column - 1 :].startswith("document.body")


@pytest.mark.parametrize(
    "head",
    [
        b'{"version": "2.1.0", "runs": [',
        b'{"runs": [{"results": [{"ruleId": "x',
        b'\xef\xbb\xbf {"$schema": "https://json.schemastore.org/sarif-2.1.0.json",',
        '{"version": "1.0.0", "runs": []}'.encode("utf-16"),
        b'{"version": "2.1.0", "runs": null}',
    ],
)
def test_sarif_of_any_version_is_recognised_by_its_beginning(head):
    assert SarifParser().sniff(head)


@pytest.mark.parametrize(
    "head",
    [
        b'{"version": "1.180.0", "results": [], "errors": [], "paths": {}}',  # semgrep
        b'{"SchemaVersion": 2, "ArtifactName": ".", "Results": []}',  # trivy
        b'[{"RuleID": "x", "Description": "runs"}]',  # gitleaks
        b'{"reports": [{"version": "1.0"}]}',  # Rediver
        b'{"version": "1.0", "metadata": {"runs": 1}, "tool": {}}',
        b"null",
    ],
)
def test_reports_of_other_formats_are_left_to_others(head):
    assert not SarifParser().sniff(head)
