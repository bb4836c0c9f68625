"""What a run has measured, as the cells and tables of the page.

A cell is a median with its least and greatest, to three digits of the median. A ratio is taken
within each round, as both sides were measured in turn, and is then summed up in the same way. What
was not measured is a dash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from statistics import median
from typing import Any

Values = Sequence[float]
Figure = tuple[str, str, str]  # group, name, metric


class Results:
    """The rows of a run."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.facts: dict[str, Any] = document["facts"]
        self.missing: list[str] = document["missing"]
        self._rows: list[dict[str, Any]] = document["rows"]

    def names(self, group: str) -> list[str]:
        """Who was measured, in order."""
        return list(dict.fromkeys(row["name"] for row in self._rows if row["group"] == group))

    def values(self, group: str, name: str, metric: str) -> dict[int, float]:
        """A metric by round; nothing where it was not measured."""
        return {
            row["round"]: row[metric]
            for row in self._rows
            if (row["group"], row["name"]) == (group, name) and metric in row
        }

    def ratio(self, ours: Figure, theirs: Figure) -> list[float]:
        """Ours over theirs, in each round that has both."""
        mine, other = self.values(*ours), self.values(*theirs)
        return [mine[number] / other[number] for number in mine if number in other]

    def cell(self, group: str, name: str, metric: str) -> str:
        return cell(list(self.values(group, name, metric).values()))


def cell(values: Values) -> str:
    """Median (least-greatest), or a dash; of one value itself."""
    if not values:
        return "-"
    middle = median(values)
    digits = max(0, 2 - floor(log10(middle))) if middle > 0 else 0
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    least, most = min(values), max(values)
    return f"{middle:,.{digits}f} ({least:,.{digits}f}-{most:,.{digits}f})"


def table(*rows: Sequence[str]) -> str:
    """Markdown; the first row is the heading."""
    heading, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([heading, f"|{'---|' * len(rows[0])}", *body, ""])


@dataclass(frozen=True)
class Goal:
    """What was aimed at: the median of `values` is at most, or at least, the limit."""

    says: str
    values: Values
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    def row(self) -> tuple[str, str, str]:
        """Its line in the table of goals."""
        return self.says, f"{cell(self.values)}{self.unit}", self._verdict()

    def _verdict(self) -> str:
        if not self.values:
            return "not measured"
        middle = median(self.values)
        over = self.at_most is not None and middle > self.at_most
        under = self.at_least is not None and middle < self.at_least
        return "**missed**" if over or under else "met"
