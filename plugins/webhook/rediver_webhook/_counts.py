"""How many deliveries came to what, for the agent's log and its status. Nothing that a stranger
sent is in these words.
"""

from collections import Counter


class Counts:
    """Counted since the listener began."""

    def __init__(self) -> None:
        self._all: Counter[str] = Counter()
        self._told = 0

    def add(self, kind: str) -> None:
        """One more: `taken`, `other events`, `wrong signature` …"""
        self._all[kind] += 1

    def news(self) -> str | None:
        """Everything in a line, if something has come since this was last asked."""
        if self._all.total() == self._told:
            return None
        self._told = self._all.total()
        return str(self)

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in self._all.most_common())
