"""What a report must not have if it is to be read in bounded memory, and by ijson at all.

Streams that look at the bytes on their way to ijson, and raise `ReportUnreadable` before anything
is built of them. They see brackets and quotes, not JSON: what they let through may still be wrong.
"""

import re
from itertools import accumulate
from typing import Final, Protocol

from rediver_agent.errors import ReportUnreadable

MAX_DEPTH: Final = 200  # ijson keeps the path of every level: 30,000 levels cost it 2 GiB
MAX_TEXT: Final = 8 << 20  # bytes of one text: yajl reads a long one anew with each chunk
MAX_DIGITS: Final = 1000  # of one number


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


_DROPPED: Final = bytes(set(range(256)) - set(b'"[]{}'))
_TEXT: Final = re.compile(rb'"[^"]*"')
_STEPS: Final = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")


def is_deeper(value: bytes, limit: int) -> bool:
    """Whether a whole value is nested more than that."""
    rest = value.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _DROPPED)
    return max(accumulate(_steps(_TEXT.sub(b"", rest))), default=0) > limit


def _steps(brackets: bytes) -> memoryview:
    """1 for each that opens, -1 for each that closes."""
    return memoryview(brackets.translate(_STEPS)).cast("b")


class ShortNumbers:
    """A stream without numbers of more digits than Python takes: they would crash ijson.

    Its C backend goes on with an error set, and the process ends by a segmentation fault.
    """

    _LONG: Final = re.compile(rb"[0-9]{%d}" % MAX_DIGITS)

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._end = b""

    def read(self, size: int = -1, /) -> bytes:
        raw = self._source.read(size)
        if self._LONG.search(self._end + raw):
            raise ReportUnreadable(f"a number in the report has {MAX_DIGITS:,} digits or more")
        self._end = (self._end + raw)[-MAX_DIGITS:]
        return raw


class Guarded:
    """A stream that is not empty, not nested past `MAX_DEPTH`, has no text past `MAX_TEXT` and does
    not end inside of one: where the document is whole before it, yajl does not mind.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._begun = False
        self._depth = 0
        self._text = 0  # bytes so far of the text that the last chunk ended in; 0 outside of one
        self._escape = b""  # the backslash that the last chunk ended with

    def read(self, size: int = -1, /) -> bytes:
        raw = self._source.read(size)
        if raw:
            self._begun = True
            self._nest(self._outside_texts(raw))
        elif size and not self._begun:
            raise ReportUnreadable("the report is empty")
        elif size and self._text:
            raise ReportUnreadable("the report is cut off inside of a text")
        return raw

    def _outside_texts(self, raw: bytes) -> bytes:
        rest = (self._escape + raw).replace(b"\\\\", b"")
        self._escape = b"\\" if rest.endswith(b"\\") else b""
        rest = rest.replace(b'\\"', b"").translate(None, _DROPPED)
        unended = self._text > 0 and b'"' not in rest
        if self._text:
            rest = b'"' + rest
        outside, quote, _ = _TEXT.sub(b"", rest).partition(b'"')
        self._text = (self._text * unended + len(raw)) if quote else 0
        if self._text > MAX_TEXT:
            raise ReportUnreadable(f"a text in the report is longer than {MAX_TEXT >> 20} MiB")
        return outside

    def _nest(self, brackets: bytes) -> None:
        depths = list(accumulate(_steps(brackets), initial=self._depth))
        self._depth = depths[-1]
        if max(depths) > MAX_DEPTH:
            raise ReportUnreadable(f"the report is nested more than {MAX_DEPTH} deep")
