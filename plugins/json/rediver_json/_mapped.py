"""One entry of a tool's report, as a mapping reads it: a finding, with nothing of a secret in it.

No entry is lost: one without a title or a severity is kept under another, and counted.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from rediver_agent import MASK, severity_from_score, severity_from_word
from rediver_agent.contract import Finding, FindingType, Severity
from rediver_json._convert import converter, flat, line, masked, score, spellings
from rediver_json._mapping import Mapping
from rediver_json._masked import masked_finding
from rediver_json._path import Entry
from rediver_json._value import Value, word_of

_SHOWN: Final = 40  # characters of a tool's word in a sentence
_MANY_WORDS: Final = 10
_OTHER_TITLES: Final = ("rule_name", "rule_id", "message", "secret.secret_type", "description")
_SAYS_NO_SECRET: Final = frozenset(
    {
        "rule_id", "rule_name", "confidence", "secret.secret_type", "location.path",
        "location.start_line", "location.end_line", "location.start_column",
        "location.end_column",
    }
)  # fmt: skip
"""What is kept of an entry in which the secret was not found: it may stand anywhere."""


@dataclass(slots=True)
class Tally:
    """What became of the entries of one report."""

    entries: int = 0
    taken: int = 0
    """Entries that are findings by `where`."""
    found: Counter[str] = field(default_factory=Counter[str])
    """In how many of them each field had a value."""
    useless: Counter[str] = field(default_factory=Counter[str])
    """In how many there was something, and nothing that the field takes."""
    unknown: Counter[str] = field(default_factory=Counter[str])
    """Words for severities that nobody knows."""
    passed: Counter[str] = field(default_factory=Counter[str])
    """What stood there instead in entries that `where` left out."""
    hidden: int = 0
    """Entries in which the secret was not found."""


class Reader:
    """Reads the entries of one report."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._fields = [
            (name, value, converter(name))
            for name, value in mapping.fields.items()
            if name not in {"tool.version", "secret.value"}
        ]
        self.tally = Tally()

    def is_finding(self, entry: Entry) -> bool:
        """Whether `where` takes the entry."""
        self.tally.entries += 1
        all_hold = True
        for path, words in self._mapping.conditions:
            there = [value for value in flat(entry.at(path)) if not isinstance(value, dict)]
            self.tally.found[f"where.{path.text}"] += bool(there)
            if not any(word_of(value) in words for value in there):
                self._pass(path.text, there)
                all_hold = False
        self.tally.taken += all_hold
        return all_hold

    def finding(self, entry: Entry) -> Finding:
        """What an entry says."""
        secrets = self._secrets(entry)
        values: dict[str, Any] = {}
        for name, value, convert in self._fields:
            if secrets is None and name not in _SAYS_NO_SECRET:
                self.tally.found[name] += 1  # nobody can say
                continue
            self._read(entry, name, value, convert, secrets or (), values)
        severity = self._severity(entry, secrets)
        title = values.pop("title", None)
        if title is None:
            title = self._other_title(values)
        finding = Finding(
            type=self._mapping.type,
            title=title,
            severity=severity,
            **_nested(self._placed(values)),
        )
        return masked_finding(finding) if finding.type is FindingType.SECRET else finding

    def _read(
        self,
        entry: Entry,
        name: str,
        value: Value,
        convert: Any,
        secrets: tuple[str, ...],
        into: dict[str, Any],
    ) -> None:
        there = False
        for source in value.sources:
            found = [source.constant] if source.path is None else flat(entry.at(source.path))
            if not found:
                continue
            there = True
            converted = convert(masked(found, secrets) if secrets else found)
            if converted is not None:
                into[name] = converted
                self.tally.found[name] += 1
                return
        if there:
            self.tally.useless[name] += 1

    def _secrets(self, entry: Entry) -> tuple[str, ...] | None:
        """How the entry's secret may be written; None if it should be there and is not."""
        part = self._mapping.secret
        if part is None or part.value is None:
            return ()
        for source in part.value.sources:
            found = [] if source.path is None else flat(entry.at(source.path))
            if known := spellings(found):
                self.tally.found["secret.value"] += 1
                return known
        self.tally.hidden += 1
        return None

    def _severity(self, entry: Entry, secrets: tuple[str, ...] | None) -> Severity:
        value = self._mapping.severity
        unknown = None
        for source in value.sources if value else ():
            found = [source.constant] if source.path is None else flat(entry.at(source.path))
            known = [self._meant(each, is_score=source.is_score) for each in found]
            if certain := [each for each in known if each is not None]:
                self.tally.found["severity"] += 1
                return max(certain)
            if found and not source.is_score:
                said = None if secrets is None else line(masked(found, secrets))
                unknown = unknown or (said or "no word at all")[:_SHOWN]
        if unknown is None:
            return self._mapping.default_severity or Severity.MEDIUM
        self.tally.found["severity"] += 1
        known_word = unknown in self.tally.unknown or len(self.tally.unknown) < _MANY_WORDS
        self.tally.unknown[unknown if known_word else "another"] += 1
        return Severity.MEDIUM

    def _meant(self, value: Any, *, is_score: bool) -> Severity | None:
        if is_score:
            known = score([value])
            return None if known is None else severity_from_score(known)
        if not isinstance(value, str | int | float):
            return None
        word = word_of(value)
        return self._mapping.severities.get(word.strip()) or severity_from_word(word)

    def _other_title(self, values: dict[str, Any]) -> str:
        for name in _OTHER_TITLES:
            if name in values and (title := line([values[name]])):
                return title
        kind = "secret" if self._mapping.type is FindingType.SECRET else "finding"
        return f"a {kind} of {self._mapping.tool.name}"

    def _placed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Paths below the asset, lines and columns from 1 on, and nothing of a secret's value."""
        place = self._mapping.location
        if place is not None and (path := values.get("location.path")):
            values["location.path"] = path.removeprefix(place.strip) or path
        for name in ("start_line", "end_line", "start_column", "end_column"):
            key = f"location.{name}"
            if place is not None and key in values:
                first = place.first_line if name.endswith("line") else place.first_column
                values[key] = values[key] + 1 - first or None
        if self._mapping.secret is not None:
            values["secret.masked_value"] = MASK
        return values

    def _pass(self, path: str, there: list[Any]) -> None:
        if self._mapping.secret is not None:
            return  # it may stand there
        said = f"{path}: {(line(there[:1]) if there else None) or 'nothing'}"[:_SHOWN]
        if said in self.tally.passed or len(self.tally.passed) < _MANY_WORDS:
            self.tally.passed[said] += 1


def _nested(flat_values: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat_values.items():
        part, dot, inner = name.partition(".")
        if dot:
            nested.setdefault(part, {})[inner] = value
        else:
            nested[name] = value
    return nested
