"""Reads Rediver's own reports, a finding at a time, and loses nothing of them.

Raises `ReportUnreadable` and nothing else; a finding that the contract does not take costs itself
and a notice.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO

from pydantic import ValidationError

from rediver_agent import Notice, ParseEvent, ToolInfo, items
from rediver_agent.contract import Asset, CoverageType, Finding, FindingType
from rediver_agent.contract import parse as parse_model
from rediver_json._masked import masked_finding
from rediver_json._outline import Header, read_outline


def parse(stream: BinaryIO) -> Iterator[ParseEvent]:
    """The events of a document: for each report its tool, its notices, its findings."""
    headers, path = read_outline(stream)
    if not headers:
        yield Notice("warning", "the document has no reports: nothing says that a tool looked")
    yield from _incomplete(headers)
    findings = items(stream, path)
    for header in headers:
        tool = header.tool
        yield ToolInfo(tool.name, tool.version, tool.properties)
        if header.metadata.coverage_type is CoverageType.PARTIAL:
            yield Notice("warning", f"report {header.number} ({tool.name}) is of a partial scan")
        yield from _findings(header, islice(findings, header.findings))


def _incomplete(headers: list[Header]) -> Iterator[Notice]:
    """A notice for each report whose parts are not all here: parts 0 to the last."""
    parts: dict[str, set[int]] = {}
    lasts: dict[str, int] = {}
    for header in headers:
        metadata = header.metadata
        parts.setdefault(metadata.id, set()).add(metadata.part)
        if metadata.last:
            lasts[metadata.id] = metadata.part
    for name, found in parts.items():
        if found != set(range(lasts.get(name, -1) + 1)):
            yield Notice("warning", f"the report {name} is here in part only")


def _findings(header: Header, entries: Iterator[Any]) -> Iterator[ParseEvent]:
    assets = header.assets
    unreadable, reason = 0, ""
    for number, entry in enumerate(entries, 1):
        try:
            yield _finding(entry, assets)
        except ValidationError as fault:
            unreadable += 1
            first = fault.errors(include_input=False)[0]
            place = "".join(f".{step}" for step in first["loc"])
            reason = reason or f"number {number}{place}: {first['msg']}"
    if unreadable:
        yield Notice(
            "warning",
            f"{unreadable} of {header.findings} findings of report {header.number} cannot be "
            f"read, the first of them {reason}; the others are reported",
        )


def _finding(entry: Any, assets: Mapping[str, Asset]) -> Finding:
    """The finding, as it must be before the agent gives it its asset and its fingerprint."""
    finding = parse_model(Finding, entry)
    changed: dict[str, Any] = {"asset_ref": None, "fingerprint": None}
    properties = dict(finding.properties)
    for key in entry.keys() - Finding.model_fields.keys():
        properties.setdefault(key, entry[key])
    if len(assets) > 1 and (asset := assets.get(finding.asset_ref or "")):
        properties.setdefault("asset", {"type": asset.type, "value": asset.value})
    if finding.fingerprint and not finding.fingerprint.startswith("rv"):
        given = {"imported": finding.fingerprint}
        changed["partial_fingerprints"] = given | finding.partial_fingerprints
    if properties != finding.properties:
        changed["properties"] = properties
    finding = finding.model_copy(update=changed)
    return masked_finding(finding) if finding.type is FindingType.SECRET else finding
