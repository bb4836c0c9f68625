"""Reads `semgrep --json`, of any version since 0.90, one result at a time.

`errors` are read as closely as `results`: semgrep ends with exit code 0 although files were not
parsed. A report that looked at no file at all says so. Of many complaints of a kind the first are
told one by one, the others by their number.
"""

import mimetypes
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal

from pydantic import JsonValue

from rediver_agent import (
    Notice,
    ParseEvent,
    Parser,
    ReportUnreadable,
    ToolInfo,
    outline,
    top_level,
)
from rediver_semgrep._finding import Findings, Unreadable
from rediver_semgrep._report import said
from rediver_semgrep._values import table, text

Level = Literal["error", "warning", "info"]

TOLD: Final = 20  # complaints of a kind that are told one by one

_NAMED: Final = 5  # files that a notice names; it counts the others
_UNSEEN: Final = {"exceeded_size_limit", "too_big", "too_many_matches", "insufficient_permissions"}
_MEDIA: Final = re.compile(
    r"(image|audio|video|font)/|application/(zip|pdf|octet-stream|java-archive|x-tar|vnd\.)"
)
_BUILT: Final = {
    "version",
    "engine_requested",
    "results.item",
    "errors.item",
    "paths.scanned.item",
    "paths.skipped.item",
}
_SEEN: Final = {"results", "errors", "paths.scanned"}
_NOT_UTF8: Final = "\ufffd"  # what semgrep writes for bytes of a name: such a file it cannot open
_LEVELS: Final[dict[str, Level]] = {"error": "error", "info": "info"}


@dataclass(slots=True)
class _Told:
    """What was read so far, but for the findings."""

    lists: set[str] = field(default_factory=set[str])
    version: str | None = None
    engine: str = ""
    scanned: int = 0
    results: int = 0
    unreadable: int = 0
    errors: Counter[Level] = field(default_factory=Counter[Level])
    unseen: int = 0
    unopened: list[str] = field(default_factory=list[str])
    named: list[str] = field(default_factory=list[str])


class SemgrepParser(Parser):
    """The format `semgrep`."""

    format = "semgrep"

    def sniff(self, head: bytes) -> bool:
        """The lists `results` and `errors`, or a result's own key."""
        keys = top_level(head)
        return isinstance(keys.get("results"), list) and ("errors" in keys or b'"check_id"' in head)

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        """See `Parser.parse`."""
        findings, told = Findings(), _Told()
        for place, value in outline(stream, _BUILT, _SEEN):
            if place == "results.item":
                told.results += 1
                try:
                    yield findings.of(value)
                except Unreadable as reason:
                    told.unreadable += 1
                    if told.unreadable <= TOLD:
                        yield Notice("error", f"a result of semgrep could not be read: {reason}")
            elif place == "errors.item":
                notice = _error(value)
                told.errors[notice.level] += 1
                if told.errors[notice.level] <= TOLD:
                    yield notice
            else:
                _learn(told, place, value)
        if not told.lists >= {"results", "errors"}:
            raise ReportUnreadable("no report of semgrep: it has no lists `results` and `errors`")
        yield from _tool(told)
        yield from _summary(told)


def _learn(told: _Told, place: str, value: object) -> None:
    if place == "paths.scanned.item":
        told.scanned += 1
        if _NOT_UTF8 in text(value) and len(told.unopened) < _NAMED:
            told.unopened.append(text(value)[:1000])
    elif place in _SEEN:
        told.lists = told.lists | {place} if value is list else told.lists - {place}
    elif place == "version":
        told.version = str(value)[:100]
    elif place == "engine_requested":
        told.engine = text(value)[:100]
    elif file := _unseen(value):
        told.unseen += 1
        told.named = [*told.named, file][:_NAMED]


def _tool(told: _Told) -> Iterator[ToolInfo]:
    looked: dict[str, JsonValue] = {}
    if told.engine:
        looked["engine"] = told.engine
    if "paths.scanned" in told.lists:
        looked["files_scanned"] = told.scanned
    if told.version or looked:
        yield ToolInfo("semgrep", told.version, looked)


def _summary(told: _Told) -> Iterator[Notice]:
    """What is said at the end: how many more complaints there were, and what was not looked at."""
    if told.unreadable > TOLD:
        yield Notice("error", f"{told.unreadable - TOLD} more results could not be read")
    for level, count in told.errors.items():
        if count > TOLD:
            yield Notice(level, f"semgrep told {count - TOLD} more problems of the level {level}")
    if told.unopened:
        yield Notice(
            "warning",
            "semgrep opens no file whose name is not UTF-8, and does not say so; rename "
            + ", ".join(told.unopened),
            path=told.unopened[0],
        )
    if told.unseen:
        yield _not_scanned(told.unseen, told.named)
    nothing_wrong = not (told.results or told.errors or told.unseen)
    if "paths.scanned" in told.lists and not told.scanned and nothing_wrong:
        yield Notice(
            "warning",
            "semgrep scanned no file: there is none in the target, or none in a language of the "
            "rules, or the options leave all of them out",
        )


def _error(raw: object) -> Notice:
    entry = table(raw)
    level = _LEVELS.get(text(entry.get("level")), "warning")
    return Notice(level, said(raw), text(entry.get("path"))[:1000] or None)


def _unseen(raw: object) -> str | None:
    """The file that was left out, where nobody asked for that. Media files hold no source."""
    entry = table(raw)
    path = str(entry.get("path"))[:1000]
    kind, compression = mimetypes.guess_type(path)
    media = compression or _MEDIA.match(kind or "")
    return path if text(entry.get("reason")) in _UNSEEN and not media else None


def _not_scanned(count: int, named: list[str]) -> Notice:
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return Notice(
        "warning",
        f"semgrep left out what is too large or cannot be read: {', '.join(named)}{more}; raise "
        "`max_target_bytes`, or name in `exclude` what needs no scan",
        path=named[0],
    )
