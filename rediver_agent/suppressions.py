"""Which findings a repository's own people accept, why, and until when.

A suppressed finding is kept with its reason; it neither gates nor counts. An entry that is over
suppresses nothing. How entries are written is `suppressions_file`'s part.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final

from rediver_agent.contract.findings import Finding, Suppression

FILE: Final = ".rediver.yaml"
MEANT: Final = ("rule", "path", "fingerprint")
_KIND: Final = "external"  # SARIF's word for what stands beside the source, not in it


@dataclass(frozen=True, slots=True)
class Entry:
    """One suppression. Whatever of rule, path and fingerprint is given must all match."""

    line: int
    reason: str
    until: datetime
    rule: str | None = None
    path: str | None = None
    fingerprint: str | None = None

    def matches(self, finding: Finding) -> bool:
        """Whether it means this finding, which has its fingerprint."""
        if self.fingerprint is not None and finding.fingerprint != self.fingerprint:
            return False
        if self.rule is not None and not _matches_rule(self.rule, finding.rule_id):
            return False
        path = finding.location.path if finding.location else None
        return self.path is None or (path is not None and matches_path(self.path, path))

    def __str__(self) -> str:
        meant = ", ".join(f"{key} {getattr(self, key)}" for key in MEANT if getattr(self, key))
        return f"{FILE} line {self.line} ({meant})"


@dataclass(slots=True)
class Suppressions:
    """The entries of one scan, and what became of them. Used in one thread."""

    entries: Sequence[Entry]
    now: datetime
    _matched: set[Entry] = field(default_factory=set[Entry])
    _used: Counter[Entry] = field(default_factory=Counter[Entry])

    def of(self, finding: Finding) -> Suppression | None:
        """Why a finding is accepted, by its source or by an entry; None if it is not.

        Of several entries the one that holds longest counts.
        """
        meant = self._meaning(finding)
        self._matched.update(meant)
        if finding.suppression is not None or not meant:
            return finding.suppression
        entry = _longest(meant)
        self._used[entry] += 1
        return Suppression(kind=_KIND, justification=entry.reason)

    def take_back(self, finding: Finding) -> None:
        """An enricher has dropped it since, or does not accept it: it is not suppressed by us."""
        if (meant := self._meaning(finding)) and finding.suppression == Suppression(
            kind=_KIND, justification=_longest(meant).reason
        ):
            self._used[_longest(meant)] -= 1

    @property
    def suppressed(self) -> int:
        """How many findings these entries have suppressed."""
        return self._used.total()

    def expired(self) -> list[Entry]:
        """Entries that suppress nothing any more."""
        return [entry for entry in self.entries if entry.until < self.now]

    def unmatched(self) -> list[Entry]:
        """Entries in force that no finding has met."""
        return [e for e in self.entries if e.until >= self.now and e not in self._matched]

    def ending(self) -> list[tuple[int, int]]:
        """In how many days each used entry ends, and how many findings it suppresses."""
        today = self.now.date()
        return sorted(
            ((e.until.date() - today).days, count) for e, count in self._used.items() if count
        )

    def _meaning(self, finding: Finding) -> list[Entry]:
        return [e for e in self.entries if e.until >= self.now and e.matches(finding)]


def _longest(entries: Sequence[Entry]) -> Entry:
    return max(entries, key=lambda entry: entry.until)


def matches_path(pattern: str, path: str) -> bool:
    """Whether a path is meant: `*` and `?` stay within a directory's name, `**` is any of them."""
    wanted = pattern.removeprefix("./").lstrip("/")
    wanted = f"{wanted}**" if wanted.endswith("/") else wanted
    return _match(wanted.split("/"), path.split("/"))


def _match(wanted: Sequence[str], parts: Sequence[str]) -> bool:
    """Goes back to the last `**` only, so that no pattern takes exponential time."""
    here = there = 0
    again: tuple[int, int] | None = None
    while there < len(parts):
        if here < len(wanted) and wanted[here] == "**":
            here, again = here + 1, (here + 1, there)
        elif here < len(wanted) and fnmatchcase(parts[there], wanted[here]):
            here, there = here + 1, there + 1
        elif again is not None:
            here, there = again[0], again[1] + 1
            again = here, there
        else:
            return False
    return all(part == "**" for part in wanted[here:])


def _matches_rule(wanted: str, rule: str | None) -> bool:
    return rule is not None and (rule == wanted or fnmatchcase(rule, wanted))
