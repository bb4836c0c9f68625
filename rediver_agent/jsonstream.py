"""Reads JSON piece by piece: what every streaming parser stands on (ijson, by its C backend).

Memory stays flat whatever the size of the document; only one item is held at a time. Any fault of
the text is a `ReportUnreadable`. UTF-8, and UTF-16 and UTF-32 by their byte-order mark, are read.
"""

import codecs
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Protocol, cast

import ijson

from rediver_agent.errors import ReportUnreadable

_CHUNK: Final = 64 * 1024
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Recoded:
    """A stream in another encoding, read as UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def read(self, size: int = -1, /) -> bytes:
        if size == 0:  # ijson asks for nothing once, to learn that these are bytes
            return b""
        while raw := self._stream.read(_CHUNK):
            if text := self._decoder.decode(raw):
                return text.encode()
        return self._decoder.decode(b"", final=True).encode()


def rewound(stream: BinaryIO) -> Readable:
    """The stream from its start, as UTF-8 without a byte-order mark."""
    stream.seek(0)
    head = stream.read(4)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            stream.seek(len(mark))
            return stream if encoding == "utf-8" else _Recoded(stream, encoding)
    stream.seek(0)
    return stream


def items(stream: BinaryIO, path: str) -> Iterator[Any]:
    """Every value at `path` (ijson's notation: `runs.item.results.item`), from the stream's start.

    Numbers are int and float. Raises `ReportUnreadable` where the text is not JSON.
    """
    try:
        yield from cast("Iterator[Any]", ijson.items(rewound(stream), path, use_float=True))
    except (ijson.JSONError, UnicodeError, OverflowError, RecursionError) as fault:
        raise ReportUnreadable(f"the report is not JSON: {fault}") from fault
