"""JSON Lines: a document on every line. A broken line costs itself, and is counted."""

from collections.abc import Iterator
from typing import Final, Protocol

from rediver_agent import Notice, ReportUnreadable

MAX_LINE: Final = 8 << 20  # bytes
_CHUNK: Final = 256 * 1024


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Lines:
    """The lines of one report, and how many of them could not be read."""

    def __init__(self) -> None:
        self._count = 0
        self._read = False
        self._refused: list[str] = []
        self._refusals = 0

    def of(self, source: Readable) -> Iterator[bytes]:
        """Every line that is not blank and not too long."""
        self._read = True
        for line in _split(source):
            if line is None or line.strip():
                self._count += 1
            if line is None:
                self.refuse(f"it is longer than {MAX_LINE >> 20} MiB")
            elif line.strip():
                yield line

    def refuse(self, why: str) -> None:
        """The line that was given last cannot be read."""
        self._refusals += 1
        if not self._refused:
            self._refused.append(f"line {self._count} ({why})")

    def demand(self) -> None:
        """Raises `ReportUnreadable` if no line could be read."""
        if self._read and not self._count:
            raise ReportUnreadable("the report is empty")
        if self._count and self._refusals == self._count:
            raise ReportUnreadable(f"no line of the report can be read: {self._refused[0]}")

    def notices(self) -> Iterator[Notice]:
        """What must be said of the lines."""
        if self._refusals:
            yield Notice(
                "error",
                f"{self._refusals} of {self._count} lines cannot be read, the first of them "
                f"{self._refused[0]}; the others are",
            )


def _split(source: Readable) -> Iterator[bytes | None]:
    """Lines without their ends; None for one that is too long."""
    rest, too_long = b"", False
    while chunk := source.read(_CHUNK):
        first, *more = chunk.split(b"\n")
        rest += first
        for line in more:
            yield None if too_long else rest
            rest, too_long = line, False
        if too_long or len(rest) > MAX_LINE:
            rest, too_long = b"", True
    if rest or too_long:
        yield None if too_long else rest
