"""From one of semgrep's results to a finding, or to the reason why it is none.

Columns, which semgrep counts in bytes, become code points where the line is told. Of a credential
in the source nothing is kept: message, fix, lines and values of variables may quote it.
"""

from typing import Any, Final

from pydantic import ValidationError

from rediver_agent import MASK, severity_from_word
from rediver_agent.contract import Finding, FindingType, Severity
from rediver_semgrep._flow import steps
from rediver_semgrep._values import MAX_WORD, Memory, Metadata, Object, array, place, table, text

PLACEHOLDER: Final = "requires login"  # what stands for the lines without a login

_NO_RISK: Final = {"INVENTORY", "EXPERIMENT"}
_MAX_TITLE: Final = 200
_MAX_MESSAGE: Final = 20_000
_MAX_SNIPPET: Final = 2000
_SILENCED: Final = {"kind": "inSource", "justification": "a nosemgrep comment"}

Fields = dict[str, Any]


class Unreadable(ValueError):
    """A result that is no result. The sentence quotes nothing of it."""


class Findings:
    """The findings of one report."""

    def __init__(self) -> None:
        self._memory = Memory()

    def of(self, raw: object) -> Finding:
        """The finding. Raises `Unreadable`."""
        result = table(raw)
        extra, rule_id, path = (
            table(result.get("extra")),
            result.get("check_id"),
            result.get("path"),
        )
        if not isinstance(rule_id, str) or not rule_id or not isinstance(path, str):
            raise Unreadable("it has no `check_id` or no `path`")
        if not isinstance(result.get("extra"), dict):
            raise Unreadable("it has no `extra`")
        metadata = self._memory.of(rule_id, table(extra.get("metadata")))
        fields: Fields = {
            "severity": _severity(text(extra.get("severity"))),
            "rule_id": rule_id[:MAX_WORD],
            "confidence": metadata.confidence,
        }
        name = rule_id.rpartition(".")[2][:MAX_WORD]
        if name and name != rule_id:
            fields["rule_name"] = name
        if extra.get("is_ignored") is True:
            fields["suppression"] = _SILENCED
        if metadata.is_secret or "historical_info" in extra or _validation(extra):
            fields |= _secret(result, extra, metadata)
        else:
            fields |= _vulnerability(result, extra, metadata)
        try:
            return Finding.model_validate(fields)
        except ValidationError as fault:
            first = fault.errors(include_input=False, include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise Unreadable(f"{field}: {first['msg']}"[:MAX_WORD]) from None


def _vulnerability(result: Object, extra: Object, metadata: Metadata) -> Fields:
    message = text(extra.get("message")).strip()[:_MAX_MESSAGE]
    fields: Fields = {
        "type": FindingType.VULNERABILITY,
        "title": message.partition("\n")[0][:_MAX_TITLE] or result["check_id"][:_MAX_TITLE],
        "message": message or None,
        "location": _location(result, extra, _lines(extra)),
        "vulnerability": {"cwe_ids": metadata.cwe_ids, "owasp_ids": metadata.owasp_ids},
        "references": metadata.references,
        "tags": metadata.tags,
        "properties": metadata.properties,
    }
    fingerprint = text(extra.get("fingerprint"))[:MAX_WORD]
    if fingerprint not in ("", PLACEHOLDER):
        fields["partial_fingerprints"] = {"matchBasedId/v1": fingerprint}
    if fix := _fix(extra):
        fields["remediation"] = {"fix_code": fix[:_MAX_MESSAGE]}
    if "dataflow_trace" in extra:
        fields["data_flow"] = steps(extra["dataflow_trace"])
    if "sca_info" in extra:
        package, about = _dependency(table(extra["sca_info"]), metadata)
        fields["vulnerability"] |= package
        fields["properties"] = {**metadata.properties, **about}
    return fields


def _secret(result: Object, extra: Object, metadata: Metadata) -> Fields:
    """A credential in the source. Only what the rule is called, and where it is."""
    rule_id = result["check_id"]
    history = table(extra.get("historical_info"))
    said = {
        "commit": text(history.get("git_commit")),
        "date": text(history.get("git_commit_timestamp")),
        "validation_state": _validation(extra),
    }
    return {
        "type": FindingType.SECRET,
        "title": rule_id[:_MAX_TITLE],
        "location": _location(result, extra, None),
        "vulnerability": {"cwe_ids": metadata.cwe_ids},
        "secret": {"secret_type": rule_id[:MAX_WORD], "masked_value": MASK},
        "references": metadata.own_pages,
        "properties": {key: value[:100] for key, value in said.items() if value},
    }


def _validation(extra: Object) -> str:
    """Whether a credential was tried, and is valid. "" where the rule has no such test."""
    state = extra.get("validation_state")
    return state if state in ("CONFIRMED_VALID", "CONFIRMED_INVALID", "VALIDATION_ERROR") else ""


def _dependency(info: Object, metadata: Metadata) -> tuple[Fields, Fields]:
    """Of a finding of semgrep's supply chain: the package, and how the project comes by it."""
    match = table(info.get("dependency_match"))
    found, pattern = table(match.get("found_dependency")), table(match.get("dependency_pattern"))
    package = text(found.get("package")) or text(pattern.get("package"))
    fields: Fields = {
        "package": package[:MAX_WORD] or None,
        "affected_version": text(found.get("version"))[:MAX_WORD] or None,
        "ecosystem": (text(found.get("ecosystem")) or text(pattern.get("ecosystem")))[:100] or None,
        "cve_id": metadata.cve_id,
        "fixed_versions": metadata.fixed_versions.get(package, []),
    }
    said = {
        "lockfile": text(match.get("lockfile")),
        "transitivity": text(found.get("transitivity")),
        "affected_versions": text(pattern.get("semver_range")),
    }
    about: Fields = {key: value[:MAX_WORD] for key, value in said.items() if value}
    if isinstance(info.get("reachable"), bool):
        about["reachable"] = info["reachable"]
    return fields, about


def _severity(word: str) -> Severity:
    if word.upper() in _NO_RISK:
        return Severity.INFO
    return severity_from_word(word) or Severity.MEDIUM


def _fix(extra: Object) -> str:
    fixed = [line for line in array(extra.get("fixed_lines")) if isinstance(line, str)]
    return text(extra.get("fix")) or "\n".join(fixed)


def _lines(extra: Object) -> str | None:
    lines = text(extra.get("lines"))
    return None if lines in ("", PLACEHOLDER) else lines


def _location(result: Object, extra: Object, snippet: str | None) -> Fields:
    start, end = table(result.get("start")), table(result.get("end"))
    first, last = place(start.get("line")), place(end.get("line"))
    if first is None or last is None:
        raise Unreadable("it has no `start.line` or no `end.line`")
    start_column, end_column = place(start.get("col")), place(end.get("col"))
    said = _lines(extra) or ""
    if not said.isascii():
        lines = said.split("\n")
        if len(lines) == last - first + 1:
            start_column = _code_points(lines[0], start_column)
            end_column = _code_points(lines[-1], end_column)
    return {
        "path": result["path"],
        "start_line": first,
        "end_line": max(last, first),
        "start_column": start_column,
        "end_column": end_column,
        "snippet": snippet[:_MAX_SNIPPET] if snippet else None,
    }


def _code_points(line: str, in_bytes: int | None) -> int | None:
    """A column in code points. One that is not within the line is left as it is."""
    before = line.encode(errors="replace")[: (in_bytes or 1) - 1]
    if in_bytes is None or len(before) < in_bytes - 1:
        return in_bytes
    return len(before.decode(errors="replace")) + 1
