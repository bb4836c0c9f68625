"""Takes secrets out of what is said about them.

A SARIF result does not say which of its texts is the secret. So nothing of a snippet is believed to
be harmless, and neither is what looks like a secret in a message: what is quoted, what is assigned,
and long runs of letters and digits. Only what the rule's name, the path or the commit say as well
is left standing. The rule's description is not believed either: trivy writes the line into it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rediver_agent import MASK, mask
from rediver_sarif._values import array, table, text

_MAX_PIECES: Final = 500
_MAX_DEPTH: Final = 12
_SPLIT: Final = re.compile(r"[\s\"'`=:,;()<>{}\[\]]+")
_SUSPECTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<=['\"`])[^'\"`\n]+(?=['\"`])",
        r"(?<==)\s*[^\s,;]+",
        r"(?:(?<=passwd:)|(?<=password:)|(?<=secret:)|(?<=token:)|(?<=key:))\s*\S+",
    )
)
_DIGIT: Final = re.compile(r"\d")
_LONG: Final = re.compile(r"[\w+/=.~-]{16,}")


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
        return _LONG.sub(self._unless_words, said)

    def _unless_known(self, match: re.Match[str]) -> str:
        found = match[0].strip()
        return match[0] if set(found) <= {"*"} or found in self._known else MASK

    def _unless_words(self, match: re.Match[str]) -> str:
        """Without a digit it is words that a tool has joined; a full stop ends a sentence."""
        found = match[0].rstrip(".")
        if found in self._known or not _DIGIT.search(found):
            return match[0]
        return MASK + match[0][len(found) :]

    def _pieces_of(self, result: object) -> Iterator[str]:
        for snippet in _snippets(result, _MAX_DEPTH):
            yield from (line for line in (snippet, *snippet.split("\n")) if len(line.strip()) > 3)
            for piece in _SPLIT.split(snippet):
                if len(piece) > 4 and piece not in self._known:
                    yield piece


def _snippets(value: Any, depth: int) -> Iterator[str]:
    """Every text that is source, wherever in the result it stands."""
    if not depth:
        return
    for item in array(value):
        yield from _snippets(item, depth - 1)
    for key, item in table(value).items():
        if key in {"snippet", "insertedContent"}:
            if said := text(table(item).get("text")).strip():
                yield said
        else:
            yield from _snippets(item, depth - 1)
