"""Reads gitleaks' JSON, of version 8 and before, and lets nothing of a secret through.

`[]` is a clean report. The document `null`, which old versions wrote, is read as no findings with
a warning, so that it never counts as a full and clean scan. Of persons nothing is kept: neither
the author of a commit nor its message.
"""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from pydantic import ValidationError

from rediver_agent import (
    MASK,
    Notice,
    ParseEvent,
    Parser,
    ReportUnreadable,
    mask,
    outline,
)
from rediver_agent.contract import Finding, FindingType, Severity
from rediver_gitleaks._baseline import BASELINE
from rediver_gitleaks._target import below_target

TOLD: Final = 20  # entries without a meaning that are told one by one

_MAX_TITLE: Final = 200
_MAX_SNIPPET: Final = 2000
_MAX_WORD: Final = 1000
_MAX_TAGS: Final = 50
_MAX_LINE: Final = 2**31 - 1  # what databases hold
_SHORTEST: Final = 4  # a shorter "secret" is in many a word, and hides nothing
_LINK: Final = re.compile(r"https?://[^\s@]+")
_TEXTS: Final = {  # of version 8, and of version 7
    "RuleID": "rule",
    "Description": "",
    "File": "file",
    "Match": "line",
    "Secret": "offender",
    "Commit": "commit",
    "Date": "date",
    "Link": "",
}
_ALL_TEXT: Final = {str}
_DIGITS: Final = 12
_MAX_ENTROPY: Final = 64  # bits of one character: none has more
_ABOUT: Final = {"cwe_ids": ["CWE-798"]}
_KNOWN: Final = {"kind": "external", "justification": "in the baseline of gitleaks"}


class Unreadable(ValueError):
    """An entry that is none. The sentence quotes nothing of it."""


class GitleaksParser(Parser):
    """The format `gitleaks`."""

    format = "gitleaks"

    def sniff(self, head: bytes) -> bool:
        """A list of entries. Not `[]`, which any tool could have written."""
        return head.lstrip().startswith(b"[") and any(
            all(key in head for key in keys)
            for keys in ((b'"RuleID"', b'"Secret"'), (b'"offender"', b'"rule"'))
        )

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        """See `Parser.parse`."""
        unreadable = 0
        for path, value in outline(stream, {"item"}, {""}):
            if path:
                try:
                    yield _finding(value)
                except Unreadable as reason:
                    unreadable += 1
                    if unreadable <= TOLD:
                        yield Notice("error", f"a leak of gitleaks could not be read: {reason}")
            elif value is type(None):
                yield Notice("warning", "the report is `null`: it may be of a scan of nothing")
            elif value is not list:
                raise ReportUnreadable("no report of gitleaks: it is not a list")
        if unreadable > TOLD:
            yield Notice("error", f"{unreadable - TOLD} more leaks could not be read")


def _finding(raw: object) -> Finding:
    if not isinstance(raw, dict):
        raise Unreadable("it is no object")
    leak = cast("dict[str, Any]", raw)
    rule, description, file, match, secret, commit, date, link = _texts(leak)
    if not rule:
        raise Unreadable("it has no `RuleID`")
    tags = _tags(leak.get("Tags"))
    fields: dict[str, Any] = {
        "type": FindingType.SECRET,
        "title": _without(description[:_MAX_TITLE], secret) or rule[:_MAX_TITLE],
        "severity": Severity.HIGH,  # gitleaks has none
        "rule_id": rule[:_MAX_WORD],
        "location": _location(leak, file, _masked(match, secret, tags)),
        "vulnerability": _ABOUT,
        "secret": {"secret_type": rule[:_MAX_WORD], "masked_value": MASK},
        "properties": _properties(commit, date, leak.get("Entropy")),
    }
    if tags:
        fields["tags"] = [_without(tag, secret) for tag in tags]
    if link and _LINK.fullmatch(link):
        fields["references"] = [_without(link, secret)[:_MAX_WORD]]
    if leak.get(BASELINE) is True:
        fields["suppression"] = _KNOWN
    try:
        return Finding.model_validate(fields)
    except ValidationError as fault:
        first = fault.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Unreadable(f"{place}: {first['msg']}"[:_MAX_WORD]) from None


def _texts(leak: dict[str, Any]) -> list[str]:
    """The texts of `_TEXTS`, "" where one is absent. Raises `Unreadable` for another type."""
    found: list[Any] = [leak.get(name) for name in _TEXTS]
    if set(map(type, found)) == _ALL_TEXT:
        return found
    for number, (name, of_version_7) in enumerate(_TEXTS.items()):
        value = leak.get(name)
        value = leak.get(of_version_7) if value is None else value
        if value is not None and not isinstance(value, str):
            raise Unreadable(f"`{name}` is no text")
        found[number] = value or ""
    return found


def _number(leak: dict[str, Any], name: str, of_version_7: str = "") -> int | None:
    """A number from 1 on, also in quotes. Raises `Unreadable` for what is none."""
    value = leak.get(name, leak.get(of_version_7))
    if isinstance(value, str) and value.isdecimal() and len(value) < _DIGITS:
        value = int(value)
    if value is None or (type(value) is int and -1 <= value <= 0):
        return None
    if type(value) is not int or not 0 < value <= _MAX_LINE:
        raise Unreadable(f"`{name}` is no line or column")
    return value


def _tags(value: object) -> list[str]:
    values = cast("list[object]", value) if isinstance(value, list) else []
    return [tag[:_MAX_WORD] for tag in values[:_MAX_TAGS] if isinstance(tag, str) and tag]


def _properties(commit: str, date: str, entropy: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if commit:
        found = {"commit": commit[:_MAX_WORD], "date": date[:_MAX_WORD]}
    if isinstance(entropy, float | int) and 0 < entropy <= _MAX_ENTROPY:
        found["entropy"] = round(entropy, 2)
    return found


def _location(leak: dict[str, Any], file: str, snippet: str) -> dict[str, Any]:
    start, end = _number(leak, "StartLine", "lineNumber"), _number(leak, "EndLine")
    return {
        "path": below_target(file) or None,
        "start_line": start,
        "end_line": end,
        "start_column": _column(start, _number(leak, "StartColumn")),
        "end_column": _column(end, _number(leak, "EndColumn"), 1),
        "snippet": snippet,
    }


def _column(line: int | None, column: int | None, beyond: int = 0) -> int | None:
    """gitleaks' columns are right on line 1 and one too large on all others."""
    if line is None or column is None:
        return None
    return max(1, column + beyond - (line > 1))


def _masked(match: str, secret: str, tags: list[str]) -> str:
    """The match without the secret; the mark alone where the secret may stand in it otherwise."""
    if match == "REDACTED":
        return MASK
    bare = secret.strip()
    if not bare or bare not in match:
        return MASK
    if any("decoded:" in tag for tag in tags):  # then the match has it in another form
        return MASK
    return mask(match, secret, bare)[:_MAX_SNIPPET]


def _without(text: str, secret: str) -> str:
    bare = secret.strip()
    return mask(text, bare) if len(bare) >= _SHORTEST and bare in text else text
