"""Reads `semgrep --json`, of any version since 0.90, one result at a time.

`errors` are read as closely as `results`: semgrep ends with exit code 0 although files were not
parsed. Columns, which semgrep counts in bytes, become code points where the line is told.
"""

import mimetypes
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from pydantic import BaseModel, ValidationError

from rediver_agent import (
    MASK,
    Notice,
    ParseEvent,
    Parser,
    ReportUnreadable,
    ToolInfo,
    outline,
    severity_from_word,
    top_level,
)
from rediver_agent.contract import (
    Finding,
    FindingType,
    Location,
    Remediation,
    Secret,
    Severity,
    Suppression,
    Vulnerability,
)
from rediver_semgrep._report import said

PLACEHOLDER: Final = "requires login"  # what stands for the lines without a login

_SECRETS: Final = {"CWE-259", "CWE-321", "CWE-798"}  # hard-coded passwords, keys, credentials
_CONFIDENCE: Final = {"HIGH": 90, "MEDIUM": 60, "LOW": 30}
_NO_RISK: Final = {"INVENTORY", "EXPERIMENT"}
_MAX_TITLE: Final = 200
_MAX_MESSAGE: Final = 20_000
_MAX_SNIPPET: Final = 2000
_NAMED: Final = 5  # files that a notice names; it counts the others
_UNSEEN: Final = {"exceeded_size_limit", "too_big", "too_many_matches", "insufficient_permissions"}
_MEDIA: Final = re.compile(
    r"(image|audio|video|font)/|application/(zip|pdf|octet-stream|java-archive|x-tar|vnd\.)"
)


class _Position(BaseModel):
    line: int
    col: int = 1


class _Extra(BaseModel):
    message: str = ""
    severity: str = ""
    metadata: dict[str, Any] = {}
    lines: str = PLACEHOLDER
    fix: str | None = None
    is_ignored: bool | None = None


class _Result(BaseModel):
    check_id: str
    path: str
    start: _Position
    end: _Position
    extra: _Extra


class SemgrepParser(Parser):
    """The format `semgrep`."""

    format = "semgrep"

    def sniff(self, head: bytes) -> bool:
        """The lists `results` and `errors`, or a result's own key."""
        keys = top_level(head)
        return isinstance(keys.get("results"), list) and ("errors" in keys or b'"check_id"' in head)

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        """See `Parser.parse`."""
        lists = {"results": False, "errors": False}
        unseen = 0
        named: list[str] = []
        built = {"version", "results.item", "errors.item", "paths.skipped.item"}
        for path, value in outline(stream, built, lists):
            if path in lists:
                lists[path] = value is list
            elif path == "version":
                yield ToolInfo("semgrep", str(value))
            elif path == "results.item":
                yield _finding(value)
            elif path == "errors.item":
                yield _error(value)
            elif file := _unseen(value):
                unseen += 1
                named = [*named, file][:_NAMED]
        if not all(lists.values()):
            raise ReportUnreadable("no report of semgrep: it has no lists `results` and `errors`")
        if unseen:
            yield _not_scanned(unseen, named)


def _finding(raw: object) -> Finding | Notice:
    try:
        result = _Result.model_validate(raw)
        return _secret(result) if _SECRETS & set(_cwes(result)) else _vulnerability(result)
    except ValidationError as fault:
        first = fault.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return Notice("error", f"a result of semgrep could not be read: {place}: {first['msg']}")


def _vulnerability(result: _Result) -> Finding:
    extra, metadata = result.extra, result.extra.metadata
    message = extra.message.strip()[:_MAX_MESSAGE]
    return Finding(
        type=FindingType.VULNERABILITY,
        title=message.partition("\n")[0][:_MAX_TITLE] or result.check_id,
        message=message or None,
        severity=_severity(extra.severity),
        rule_id=result.check_id,
        confidence=_CONFIDENCE.get(str(metadata.get("confidence")).upper()),
        location=_location(result, snippet=_lines(result)),
        vulnerability=Vulnerability(cwe_ids=_cwes(result), owasp_ids=_texts(metadata.get("owasp"))),
        remediation=Remediation(fix_code=extra.fix) if extra.fix else None,
        references=_texts(metadata.get("references")),
        tags=_texts(metadata.get("category")),
        suppression=_suppression(result),
    )


def _secret(result: _Result) -> Finding:
    """A credential in the source. Message, fix and lines may quote it, so they stay here."""
    return Finding(
        type=FindingType.SECRET,
        title=result.check_id,
        severity=_severity(result.extra.severity),
        rule_id=result.check_id,
        location=_location(result, snippet=None),
        vulnerability=Vulnerability(cwe_ids=_cwes(result)),
        secret=Secret(secret_type=result.check_id, masked_value=MASK),
        suppression=_suppression(result),
    )


def _severity(word: str) -> Severity:
    if word.upper() in _NO_RISK:
        return Severity.INFO
    return severity_from_word(word) or Severity.MEDIUM


def _suppression(result: _Result) -> Suppression | None:
    if not result.extra.is_ignored:
        return None
    return Suppression(kind="inSource", justification="a nosemgrep comment")


def _lines(result: _Result) -> str | None:
    lines = result.extra.lines
    return None if lines in ("", PLACEHOLDER) else lines


def _location(result: _Result, snippet: str | None) -> Location:
    start, end = result.start, result.end
    lines = (_lines(result) or "").split("\n")
    whole = len(lines) == end.line - start.line + 1
    return Location(
        path=result.path,
        start_line=start.line,
        end_line=max(end.line, start.line),
        start_column=_column(lines[0], start.col) if whole else start.col,
        end_column=_column(lines[-1], end.col) if whole else end.col,
        snippet=snippet[:_MAX_SNIPPET] if snippet else None,
    )


def _column(line: str, in_bytes: int) -> int:
    """A column in code points. One that is not within the line is left as it is."""
    before = line.encode(errors="replace")[: in_bytes - 1]
    if len(before) < in_bytes - 1:
        return in_bytes
    return len(before.decode(errors="replace")) + 1


def _cwes(result: _Result) -> list[str]:
    """`CWE-79: …`, `CWE-79`, `79`, or a list of such."""
    found = (
        re.match(r"(?:CWE-)?0*([1-9]\d*)", text.strip(), re.IGNORECASE)
        for text in _texts(result.extra.metadata.get("cwe"))
    )
    return list(dict.fromkeys(f"CWE-{match[1]}" for match in found if match))


def _texts(value: object) -> list[str]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [str(text) for text in values if isinstance(text, str | int)]


def _error(raw: Any) -> Notice:
    entry = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
    path = entry.get("path")
    match entry.get("level"):
        case "error":
            level = "error"
        case "info":
            level = "info"
        case _:
            level = "warning"
    return Notice(level, said(raw), path if isinstance(path, str) else None)


def _unseen(raw: object) -> str | None:
    """The file that was left out, where nobody asked for that. Media files hold no source."""
    entry = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
    path = str(entry.get("path"))
    kind, compression = mimetypes.guess_type(path)
    media = compression or _MEDIA.match(kind or "")
    return path if entry.get("reason") in _UNSEEN and not media else None


def _not_scanned(count: int, named: list[str]) -> Notice:
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return Notice(
        "warning",
        f"semgrep left out what is over 1 MB or cannot be read: {', '.join(named)}{more}; name in "
        "`exclude` what needs no scan",
        path=named[0],
    )
