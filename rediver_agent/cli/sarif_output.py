"""Findings as SARIF 2.1.0, a result at a time: one run a report.

`level` and `security-severity` are the inverse of the table that SARIF is read by, so that a report
written here is read back with the same severities.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO
from urllib.parse import quote

from rediver_agent import __version__
from rediver_agent.contract.findings import (
    Finding,
    FindingType,
    Location,
    Report,
    Severity,
)
from rediver_agent.contract.results import ResultStatus
from rediver_agent.executor import Outcome
from rediver_agent.handlers.scan_outcome import notices_of
from rediver_agent.spool import Spool

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT: Final = "rediver/v1"
_LEVELS: Final[Mapping[Severity, tuple[str, str]]] = {
    Severity.CRITICAL: ("error", "9.5"),
    Severity.HIGH: ("error", "8.0"),
    Severity.MEDIUM: ("warning", "5.5"),
    Severity.LOW: ("note", "2.0"),
    Severity.INFO: ("note", "0.0"),
}


def write_sarif(spool: Spool, outcomes: Sequence[Outcome], stream: TextIO) -> None:
    """One document. Memory holds the rules, never the results.

    A scan that failed is a run that says so, with or without results: never a missing one.
    """
    stream.write(f'{{"$schema": {json.dumps(SCHEMA)}, "version": "2.1.0", "runs": [')
    separator = "\n"
    for outcome in outcomes:
        for report in outcome.reports or (None,):
            stream.write(separator)
            _write_run(spool, outcome, report, stream)
            separator = ",\n"
    stream.write("]}\n")


def _write_run(spool: Spool, outcome: Outcome, report: Report | None, stream: TextIO) -> None:
    rules: dict[str, dict[str, Any]] = {}
    stream.write('{"columnKind": "unicodeCodePoints", "invocations": ')
    stream.write(json.dumps([_invocation(outcome)], ensure_ascii=False))
    stream.write(', "results": [')
    for number, finding in enumerate(spool.findings(report.metadata.id) if report else ()):
        rule_id = finding.rule_id or finding.type.value
        rules.setdefault(rule_id, _rule(rule_id, finding))
        stream.write(",\n" if number else "\n")
        stream.write(json.dumps(_result(rule_id, finding), ensure_ascii=False))
    name = report.tool.name if report else str(outcome.metadata.get("scanner"))
    driver: dict[str, Any] = {"name": name, "rules": list(rules.values())}
    if report and report.tool.version:
        driver["version"] = report.tool.version
    extension = {"name": "rediver-agent", "version": __version__}
    tool = {"driver": driver, "extensions": [extension]}
    stream.write(f'], "tool": {json.dumps(tool, ensure_ascii=False)}}}')


def _invocation(outcome: Outcome) -> dict[str, Any]:
    """Whether the scan was whole, and what its tool had to say against it."""
    complaints = [(level, said) for level, said in notices_of(outcome) if level != "info"]
    if outcome.error and not complaints:
        complaints = [("error", outcome.error)]
    return {
        "executionSuccessful": outcome.status is ResultStatus.COMPLETED,
        "toolExecutionNotifications": [
            {"level": level, "message": {"text": said}} for level, said in complaints
        ],
    }


def _rule(rule_id: str, finding: Finding) -> dict[str, Any]:
    level, score = _LEVELS[finding.severity]
    tags = [*finding.tags]
    if finding.type is FindingType.SECRET:
        tags.append("secret")
    if finding.vulnerability:
        tags += finding.vulnerability.cwe_ids
    return {
        "id": rule_id,
        "name": finding.rule_name or rule_id,
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": finding.description or finding.title},
        "defaultConfiguration": {"level": level},
        "properties": {
            "security-severity": score,
            "tags": list(dict.fromkeys(["security", *tags])),
        },
    }


def _result(rule_id: str, finding: Finding) -> dict[str, Any]:
    level, score = _LEVELS[finding.severity]
    result: dict[str, Any] = {
        "ruleId": rule_id,
        "level": level,
        "message": {"text": finding.message or finding.title},
        "properties": {"security-severity": score},
    }
    if finding.fingerprint:
        result["fingerprints"] = {FINGERPRINT: finding.fingerprint}
    if finding.location and finding.location.path:
        result["locations"] = [_location(finding.location.path, finding.location)]
    if finding.suppression:
        result["suppressions"] = [
            {
                "kind": "inSource" if finding.suppression.kind == "inSource" else "external",
                "justification": finding.suppression.justification or "",
            }
        ]
    return result


def _location(path: str, location: Location) -> dict[str, Any]:
    region: dict[str, Any] = {
        name: value
        for name, value in (
            ("startLine", location.start_line),
            ("endLine", location.end_line),
            ("startColumn", location.start_column),
            ("endColumn", location.end_column),
        )
        if value is not None
    }
    if location.snippet:
        region["snippet"] = {"text": location.snippet}
    physical: dict[str, Any] = {"artifactLocation": {"uri": quote(path)}}
    if location.start_line is not None:
        physical["region"] = region
    return {"physicalLocation": physical}
