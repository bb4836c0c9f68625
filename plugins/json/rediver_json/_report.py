"""A tool's report, read by a mapping: its findings, and what must be said of the reading.

A path that is in no entry names itself. Raises `ReportUnreadable` and nothing else; memory is that
of one entry.
"""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from rediver_agent import (
    Notice,
    ParseEvent,
    ReportUnreadable,
    ToolInfo,
    rewound,
)
from rediver_agent.contract import Finding
from rediver_json._convert import flat, line, masked
from rediver_json._entries import Findings, document
from rediver_json._lines import Lines
from rediver_json._mapped import Reader
from rediver_json._mapping import Mapping
from rediver_json._path import Entry
from rediver_json._value import Value

_HELD: Final = 100  # findings, until the paths that must be there have been seen once
_MAX_ERRORS: Final = 1000  # of the tool's own, each a notice
_MAX_SAID: Final = 500  # characters of one


class Mapped:
    """One reading of one report."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._findings = Findings(mapping.plan)
        self._reader = Reader(mapping)
        self._lines = Lines()
        self._version: str | None = None
        self._errors: list[Notice] = []
        self._nothing = 0
        self._of_document = {
            name: value
            for name, value in (("tool.version", mapping.tool.version), ("errors", mapping.errors))
            if value and value.paths
        }
        """What the document itself should have, and has not had yet."""

    def events(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        """The tool, the findings in order, and then the notices."""
        yield ToolInfo(self._mapping.tool.name)
        held: list[Finding] = []
        proven = False
        try:
            for entry in self._entries(stream):
                held.append(self._reader.finding(entry))
                proven = proven or not self._missing()
                if proven or len(held) >= _HELD:
                    yield from held
                    held.clear()
        except ReportUnreadable:
            yield from held
            raise
        self._demand()
        yield from held
        if self._version:
            yield ToolInfo(self._mapping.tool.name, self._version)
        yield from self._notices()

    def _entries(self, stream: BinaryIO) -> Iterator[Entry]:
        found = self._of_lines(stream) if self._mapping.lines else self._of(stream)
        for entry in found:
            if entry.value is None:
                self._nothing += 1
            elif self._reader.is_finding(entry):
                yield entry

    def _of(self, stream: BinaryIO) -> Iterator[Entry]:
        fault = None
        try:
            root = document(stream, self._mapping.plan.root)
            self._learn(root)
        except ReportUnreadable as error:  # what comes before the fault is kept all the same
            root, fault = Entry({}), error
        yield from self._findings.of(stream, root)
        if fault:
            raise fault

    def _of_lines(self, stream: BinaryIO) -> Iterator[Entry]:
        for text in self._lines.of(rewound(stream)):
            try:
                found = list(self._of(io.BytesIO(text)))
            except ReportUnreadable as fault:
                self._lines.refuse(str(fault))
            else:
                yield from found

    def _learn(self, root: Entry) -> None:
        """The tool's version and its own complaints, which the document itself has."""
        for name, value in tuple(self._of_document.items()):
            if any(root.at(path) for path in value.paths):
                del self._of_document[name]
        self._version = self._version or line(_first(root, self._mapping.tool.version) or [None])
        for said in _first(root, self._mapping.errors):
            if len(self._errors) < _MAX_ERRORS and said not in (False, 0):
                # There may be a secret in it, and nothing says which.
                words = "of an error" if self._mapping.secret else _said(said)
                self._errors.append(Notice("warning", f"the tool says: {words}"))

    def _missing(self) -> list[tuple[str, Value]]:
        """What must be there, and was in no entry yet."""
        must = [("title", self._mapping.title)]
        if self._mapping.severity and self._mapping.default_severity is None:
            must.append(("severity", self._mapping.severity))
        found = self._reader.tally.found
        return [(name, value) for name, value in must if value.paths and not found[name]]

    def _demand(self) -> None:
        """Raises `ReportUnreadable` where a path led nowhere in the whole report."""
        self._lines.demand()
        if fault := self._findings.fault():
            raise ReportUnreadable(fault)
        tally = self._reader.tally
        for text in self._mapping.where:
            if tally.entries and not tally.found[f"where.{text}"]:
                raise ReportUnreadable(self._nowhere("where", repr(text), tally.entries))
        for name, value in self._missing() if tally.taken else ():
            raise ReportUnreadable(self._nowhere(name, value.text, tally.taken))

    def _nowhere(self, name: str, text: str, count: int) -> str:
        keys = ", ".join(self._findings.first_keys or ()) or "none"
        useless = self._reader.tally.useless[name]
        problem = "leads to nothing that can be used" if useless else "leads to nothing"
        return (
            f"the mapping's {name} path {text} {problem} in any of the entries ({count}); the keys "
            f"of the first are: {keys}"
        )

    def _notices(self) -> Iterator[Notice]:
        yield from self._errors
        yield from self._lines.notices()
        tally, taken = self._reader.tally, self._reader.tally.taken
        for name in ("title", "severity"):
            missing = taken - tally.found[name] if name in self._required() else 0
            if missing:
                yield Notice("error", f"{missing} of {taken} entries have no {name}; they are kept")
        if self._nothing:
            yield Notice("error", f"{self._nothing} entries are `null`")
        if self._findings.odd:
            yield Notice(
                "error",
                f"{self._findings.odd} parts of the report are not as the mapping's findings path "
                "says; what is in them is not read",
            )
        if self._findings.nulls:
            yield Notice("info", "the list of findings is `null`: taken for an empty one")
        for word, count in tally.unknown.items():
            yield Notice(
                "warning",
                f"the severity {word!r} ({count} times) is none that is known: taken for medium; "
                "name it in the mapping's severities",
            )
        if tally.hidden:
            yield Notice(
                "warning",
                f"the secret was not found in {tally.hidden} of {taken} entries: their texts and "
                "snippets are left out",
            )
        yield from self._infos()

    def _infos(self) -> Iterator[Notice]:
        for name, value in self._of_document.items():
            said = f"the mapping's {name} path {value.text} is nowhere in the report"
            yield Notice("info", said)
        tally, taken = self._reader.tally, self._reader.tally.taken
        for name, value in self._mapping.fields.items():
            if name in {"title", "tool.version", "secret.value"} or not taken or not value.paths:
                continue
            if not tally.found[name]:
                yield Notice("info", self._nowhere(name, value.text, taken))
            elif tally.useless[name]:
                count = tally.useless[name]
                yield Notice(
                    "info",
                    f"the mapping's {name} path {value.text} led to nothing that can be used in "
                    f"{count} of {taken} entries",
                )
        if tally.entries and not taken:
            said = ", ".join(f"{what} ({count})" for what, count in tally.passed.items())
            yield Notice("info", f"`where` leaves out all {tally.entries} entries; {said}")

    def _required(self) -> set[str]:
        names = {"title"} if self._mapping.title.paths else set[str]()
        if self._mapping.severity and self._mapping.default_severity is None:
            names.add("severity")
        return names


def _first(entry: Entry, value: Value | None) -> list[Any]:
    """What the first source that is there gives."""
    for source in value.sources if value else ():
        found = [source.constant] if source.path is None else flat(entry.at(source.path))
        if found:
            return found
    return []


def _said(said: Any) -> str:
    """What a tool complains of, in one line."""
    if isinstance(said, dict):
        parts = ((key, line([each])) for key, each in masked(said, ()).items())
        return ", ".join(f"{key}: {text}" for key, text in parts if text)[:_MAX_SAID] or "an error"
    return (line([said]) or "an error")[:_MAX_SAID]
