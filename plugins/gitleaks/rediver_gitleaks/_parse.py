"""Reads gitleaks' JSON, of version 8 and before, and lets nothing of a secret through.

`[]` is a clean report. The document `null`, which old versions wrote, is read as no findings with
a warning, so that it never counts as a full and clean scan. Of persons nothing is kept: neither
the author of a commit nor its message.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
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
from rediver_agent.contract.findings import Secret, Vulnerability
from rediver_gitleaks._baseline import BASELINE
from rediver_gitleaks._leak import MAX_LINE, MAX_TAGS, Leak
from rediver_gitleaks._target import below_target

TOLD: Final = 20  # entries without a meaning that are told one by one

_MAX_TITLE: Final = 200
_MAX_SNIPPET: Final = 2000
_MAX_WORD: Final = 1000
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
_DIGITS: Final = 12
_MAX_ENTROPY: Final = 64  # bits of one character: none has more
_ABOUT: Final = Vulnerability(cwe_ids=["CWE-798"])
_KNOWN: Final = {"kind": "external", "justification": "in the baseline of gitleaks"}
_validated: Final = Finding.__pydantic_validator__.validate_python  # without a frame for each


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
        for path, value in outline(stream, {"item"}, {""}, into={"item": Leak}):
            if path:
                try:
                    yield finding(value)
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


def finding(value: object) -> Finding:
    """The finding of an entry. Raises `Unreadable`."""
    leak = value if isinstance(value, Leak) else _read(value)
    rule = leak.rule[:_MAX_WORD]
    fields: dict[str, Any] = {
        "type": FindingType.SECRET,
        "title": _without(leak.description[:_MAX_TITLE], leak.secret) or rule[:_MAX_TITLE],
        "severity": Severity.HIGH,  # gitleaks has none
        "rule_id": rule,
        "location": _location(leak),
        "vulnerability": _ABOUT,
        "secret": _secret(rule),
        "properties": _properties(leak),
    }
    if leak.tags:
        fields["tags"] = [_without(tag, leak.secret) for tag in leak.tags]
    if leak.link and _LINK.fullmatch(leak.link):
        fields["references"] = [_without(leak.link, leak.secret)[:_MAX_WORD]]
    if leak.in_baseline:
        fields["suppression"] = _KNOWN
    try:
        return _validated(fields)
    except ValidationError as fault:
        first = fault.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Unreadable(f"{place}: {first['msg']}"[:_MAX_WORD]) from None


@lru_cache(512)  # gitleaks has some 200 rules
def _secret(rule: str) -> Secret:
    return Secret(secret_type=rule, masked_value=MASK)


def _read(raw: object) -> Leak:
    """A leak of any shape. Raises `Unreadable`."""
    if not isinstance(raw, dict):
        raise Unreadable("it is no object")
    leak = cast("dict[str, Any]", raw)
    rule, description, file, match, secret, commit, date, link = _texts(leak)
    if not rule:
        raise Unreadable("it has no `RuleID`")
    return Leak(
        rule=rule,
        description=description,
        file=file,
        match=match,
        secret=secret,
        commit=commit,
        date=date,
        link=link,
        start_line=_number(leak, "StartLine", "lineNumber"),
        end_line=_number(leak, "EndLine"),
        start_column=_number(leak, "StartColumn"),
        end_column=_number(leak, "EndColumn"),
        tags=_tags(leak.get("Tags")),
        entropy=_entropy(leak.get("Entropy")),
        in_baseline=leak.get(BASELINE) is True,
    )


def _texts(leak: dict[str, Any]) -> Iterator[str]:
    """The texts of `_TEXTS`, "" where one is absent. Raises `Unreadable` for another type."""
    for name, of_version_7 in _TEXTS.items():
        value = leak.get(name)
        value = leak.get(of_version_7) if value is None and of_version_7 else value
        if value is not None and not isinstance(value, str):
            raise Unreadable(f"`{name}` is no text")
        yield value or ""


def _number(leak: dict[str, Any], name: str, of_version_7: str = "") -> int:
    """A number from 1 on, also in quotes; 0 for none. Raises `Unreadable` for anything else."""
    value = leak.get(name, leak.get(of_version_7) if of_version_7 else None)
    if isinstance(value, str) and value.isdecimal() and len(value) < _DIGITS:
        value = int(value)
    if value is None or (type(value) is int and -1 <= value <= 0):
        return 0
    if type(value) is not int or not 0 < value <= MAX_LINE:
        raise Unreadable(f"`{name}` is no line or column")
    return value


def _tags(value: object) -> list[str]:
    values = cast("list[object]", value) if isinstance(value, list) else []
    return [tag[:_MAX_WORD] for tag in values[:MAX_TAGS] if isinstance(tag, str) and tag]


def _entropy(value: object) -> float | None:
    return value if isinstance(value, float | int) else None


def _properties(leak: Leak) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if leak.commit:
        found = {"commit": leak.commit[:_MAX_WORD], "date": leak.date[:_MAX_WORD]}
    if leak.entropy and 0 < leak.entropy <= _MAX_ENTROPY:
        found["entropy"] = round(leak.entropy, 2)
    return found


def _location(leak: Leak) -> dict[str, Any]:
    start, end = leak.start_line, leak.end_line
    return {
        "path": below_target(leak.file) or None,
        "start_line": start if start > 0 else None,
        "end_line": end if end > 0 else None,
        "start_column": _column(start, leak.start_column),
        "end_column": _column(end, leak.end_column, 1),
        "snippet": _masked(leak),
    }


def _column(line: int, column: int, beyond: int = 0) -> int | None:
    """gitleaks' columns are right on line 1 and one too large on all others."""
    if line < 1 or column < 1:
        return None
    return column + beyond - (line > 1) or 1


def _masked(leak: Leak) -> str:
    """The match without the secret; the mark alone where the secret may stand in it otherwise."""
    match, secret = leak.match, leak.secret
    if match == "REDACTED":
        return MASK
    bare = secret.strip()
    if not bare or bare not in match:
        return MASK
    if leak.tags and any("decoded:" in tag for tag in leak.tags):  # the match has it otherwise
        return MASK
    shown = match.replace(secret, MASK)
    return (shown if secret == bare else shown.replace(bare, MASK))[:_MAX_SNIPPET]


def _without(text: str, secret: str) -> str:
    bare = secret.strip()
    return mask(text, bare) if len(bare) >= _SHORTEST and bare in text else text
