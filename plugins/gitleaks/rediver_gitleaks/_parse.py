"""Reads gitleaks' JSON, of version 8 and before, and lets nothing of a secret through.

`[]` is a clean report. The document `null`, which old versions wrote, is read as no findings with
a warning, so that it never counts as a full and clean scan.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from pydantic import AliasChoices, BaseModel, Field, ValidationError

from rediver_agent import (
    MASK,
    Notice,
    ParseEvent,
    Parser,
    ReportUnreadable,
    mask,
    outline,
)
from rediver_agent.contract import (
    Finding,
    FindingType,
    Location,
    Secret,
    Severity,
    Vulnerability,
)
from rediver_gitleaks._target import below_target

_MAX_TITLE: Final = 200
_MAX_SNIPPET: Final = 2000


class _Leak(BaseModel):
    """One entry; the second name is that of version 7."""

    rule: str = Field(validation_alias=AliasChoices("RuleID", "rule"))
    description: str = Field("", validation_alias="Description")
    file: str = Field("", validation_alias=AliasChoices("File", "file"))
    start_line: int | None = Field(None, validation_alias=AliasChoices("StartLine", "lineNumber"))
    end_line: int | None = Field(None, validation_alias="EndLine")
    start_column: int | None = Field(None, validation_alias="StartColumn")
    end_column: int | None = Field(None, validation_alias="EndColumn")
    match: str = Field("", validation_alias=AliasChoices("Match", "line"))
    secret: str = Field("", validation_alias=AliasChoices("Secret", "offender"))
    commit: str = Field("", validation_alias=AliasChoices("Commit", "commit"))
    date: str = Field("", validation_alias=AliasChoices("Date", "date"))
    tags: Any = Field(None, validation_alias="Tags")


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
        for path, value in outline(stream, {"item"}, {""}):
            if path:
                yield _finding(value)
            elif value is type(None):
                yield Notice("warning", "the report is `null`: it may be of a scan of nothing")
            elif value is not list:
                raise ReportUnreadable("no report of gitleaks: it is not a list")


def _finding(raw: object) -> Finding | Notice:
    try:
        leak = _Leak.model_validate(raw)
        return Finding(
            type=FindingType.SECRET,
            title=leak.description[:_MAX_TITLE] or leak.rule,
            severity=Severity.HIGH,  # gitleaks has none
            rule_id=leak.rule,
            location=_location(leak),
            vulnerability=Vulnerability(cwe_ids=["CWE-798"]),
            secret=Secret(secret_type=leak.rule, masked_value=MASK),
            properties={"commit": leak.commit, "date": leak.date} if leak.commit else {},
        )
    except ValidationError as fault:
        first = fault.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return Notice("error", f"a leak of gitleaks could not be read: {place}: {first['msg']}")


def _location(leak: _Leak) -> Location:
    return Location(
        path=below_target(leak.file) or None,
        start_line=leak.start_line or None,
        end_line=leak.end_line or None,
        start_column=_column(leak.start_line, leak.start_column),
        end_column=_column(leak.end_line, leak.end_column, 1),
        snippet=_masked(leak),
    )


def _column(line: int | None, column: int | None, beyond: int = 0) -> int | None:
    """gitleaks' columns are right on line 1 and one too large on all others."""
    if line is None or column is None:
        return None
    return max(1, column + beyond - (line > 1))


def _masked(leak: _Leak) -> str:
    """The match without the secret; the mark alone where the secret may stand in it otherwise."""
    decoded = "decoded:" in str(leak.tags)  # then the match has it in another form
    secret = leak.secret.strip()
    if decoded or not secret or secret not in leak.match:
        return MASK
    return mask(leak.match, leak.secret, secret)[:_MAX_SNIPPET]
