"""Findings as SARIF 2.1.0: a rule and a result of each, and the text of a run around them.

`level` and `security-severity` are the inverse of the table that SARIF is read by, so that a report
written here is read back with the same severities.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from rediver_agent.contract.findings import (
    Finding,
    FindingStatus,
    FindingType,
    Location,
    Severity,
)
from rediver_agent.contract.views import StoredFinding

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT: Final = "rediver/v1"
Result = dict[str, Any]

_LEVELS: Final[Mapping[Severity, tuple[str, str]]] = {
    Severity.CRITICAL: ("error", "9.5"),
    Severity.HIGH: ("error", "8.0"),
    Severity.MEDIUM: ("warning", "5.5"),
    Severity.LOW: ("note", "2.0"),
    Severity.INFO: ("note", "0.0"),
}
_EXCUSED: Final = (FindingStatus.FALSE_POSITIVE, FindingStatus.ACCEPTED_RISK)


def document_text(runs: Iterable[Iterator[str]]) -> Iterator[str]:
    """One document, a hundred results at a time."""
    pieces = _pieces(runs)
    while text := "".join(islice(pieces, 100)):
        yield text


def _pieces(runs: Iterable[Iterator[str]]) -> Iterator[str]:
    yield f'{{"$schema": "{SCHEMA}", "version": "2.1.0", "runs": ['
    separator = "\n"
    for run in runs:
        yield separator
        yield from run
        separator = ",\n"
    yield "]}\n"


def run_text(
    found: Iterable[tuple[Finding, Result]],
    driver: Mapping[str, Any],
    extension: Mapping[str, Any],
    **properties: Any,
) -> Iterator[str]:
    """One run, a result at a time. Memory holds the rules, never the results."""
    rules: dict[str, dict[str, Any]] = {}
    yield _text({"columnKind": "unicodeCodePoints", **properties}).removesuffix("}")
    yield ', "results": ['
    for number, (finding, result) in enumerate(found):
        rules.setdefault(result["ruleId"], _rule(finding))
        yield (",\n" if number else "\n") + _text(result)
    tool = {"driver": {**driver, "rules": list(rules.values())}, "extensions": [extension]}
    yield f'], "tool": {_text(tool)}}}'


def result_of(finding: Finding) -> Result:
    """A finding as its tool reported it."""
    level, score = _LEVELS[finding.severity]
    result: Result = {
        "ruleId": _rule_id(finding),
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


def result_of_stored(finding: StoredFinding, asset_type: str, asset: str) -> Result:
    """A finding with what people have decided of it, and the asset that its path is in."""
    result = result_of(finding)
    about = {"fullyQualifiedName": asset, "kind": asset_type}
    result["locations"] = [{**place, "logicalLocations": [about]} for place in _places(result)]
    known = {"id": finding.id, "asset_id": finding.asset_id, "status": finding.status}
    result["properties"].update(known)
    if finding.status is FindingStatus.RESOLVED:
        result["baselineState"] = "absent"
    elif finding.status in _EXCUSED:
        reason = finding.status_reason or ""
        result["suppressions"] = [{"kind": "external", "justification": reason}]
    return result


def _places(result: Result) -> list[dict[str, Any]]:
    return result.get("locations", [{}])


def _rule_id(finding: Finding) -> str:
    return finding.rule_id or finding.type.value


def _rule(finding: Finding) -> dict[str, Any]:
    level, score = _LEVELS[finding.severity]
    tags = ["security", *finding.tags]
    if finding.type is FindingType.SECRET:
        tags.append("secret")
    if finding.vulnerability:
        tags += finding.vulnerability.cwe_ids
    return {
        "id": _rule_id(finding),
        "name": finding.rule_name or _rule_id(finding),
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": finding.description or finding.title},
        "defaultConfiguration": {"level": level},
        "properties": {"security-severity": score, "tags": list(dict.fromkeys(tags))},
    }


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


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
