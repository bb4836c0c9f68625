"""Takes secrets out of what is said about them.

A SARIF result does not say which of its texts is the secret. So nothing of a snippet is believed to
be harmless, and neither is what looks like a secret in a message: what is quoted, what is assigned,
and long runs of letters and digits. Only what the rule's own text, the path or the commit say as
well is left standing.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rediver_agent import MASK, mask
from rediver_sarif._values import array, table, text

_MAX_PIECES: Final = 500
_SPLIT: Final = re.compile(r"[\s\"'`=:,;()<>{}\[\]]+")
_SUSPECTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<=['\"`])[^'\"`\n]+(?=['\"`])",
        r"(?<==)\s*[^\s,;]+",
        r"(?<=passwd:)\s*\S+|(?<=password:)\s*\S+|(?<=secret:)\s*\S+|(?<=token:)\s*\S+|(?<=key:)\s*\S+",
        r"(?=[\w+/=.~-]*\d)(?=[\w+/=.~-]*[a-z])[\w+/=.~-]{16,}",
    )
)


class Redactor:
    """For the texts of one result. `known` are texts that hold no secret."""

    def __init__(self, result: object, known: Iterable[str]) -> None:
        self._known = " ".join(known)
        self._pieces = list(self._pieces_of(result))[:_MAX_PIECES]

    def __call__(self, said: str) -> str:
        """The text, with the mark for whatever may be of the secret."""
        said = mask(said, *self._pieces)
        for suspect in _SUSPECTS:
            said = suspect.sub(self._unless_known, said)
        return said

    def _unless_known(self, match: re.Match[str]) -> str:
        found = match[0].strip()
        return match[0] if MASK in found or found in self._known else MASK

    def _pieces_of(self, result: object) -> Iterator[str]:
        for snippet in _snippets(result, 12):
            yield from (line for line in (snippet, *snippet.split("\n")) if len(line.strip()) > 3)
            for piece in _SPLIT.split(snippet):
                if len(piece) > 4 and piece not in self._known:
                    yield piece


def _snippets(value: object, depth: int) -> Iterator[str]:
    """Every text of a snippet, wherever in the result it stands."""
    for item in array(value) if depth else []:
        yield from _snippets(item, depth - 1)
    for key, item in table(value).items() if depth else []:
        if key in {"snippet", "insertedContent"}:
            about: dict[str, Any] = dict(table(item))
            yield from filter(None, (text(about.get("text")).strip(),))
        else:
            yield from _snippets(item, depth - 1)
