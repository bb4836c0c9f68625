"""Reads JSON through a window that slides over the stream: fast, in flat memory, or not at all.

What is not wanted is passed over at the speed of msgspec's scanner, which checks it as it goes;
what is wanted is cut out whole. A cut is never believed: it is taken where the scanner has proved
that the bytes up to it are whole values. What the window doubts is in `json_values`.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Any, Final

from rediver_agent.json_guard import MAX_DEPTH, Readable
from rediver_agent.json_values import (
    ARRAY,
    MAX_KEY,
    MAX_PARTS,
    OBJECT,
    Doubt,
    decode,
    end_of,
    kind_of,
    refuse_many_parts,
    value_of,
)

WINDOW: Final = 128 * 1024
MAX_VALUE: Final = 2 << 20  # bytes of one value that is wanted: buffers and value take six times it

_CHECKED: Final = 32 * 1024  # bytes at once: the text stays in the processor's cache
_TRIES: Final = 8  # guesses of a cut in one window, before it is read element by element
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_KEY: Final = re.compile(
    rb'("[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*")[ \t\r\n]*:[ \t\r\n]*(?=[^ \t\r\n])'
)
_SIMPLE: Final = re.compile(rb'(?:"[^"\\\x00-\x1f]{0,200}"|true|false|null)(?=[ \t\r\n,}\]])')
_SEPARATOR: Final = re.compile(rb',[ \t\r\n]*(?:\{[ \t\r\n]*"[^"\\]{0,100}"|[^ \t\r\n])')

_COMMA, _END_OBJECT, _END_ARRAY = b",}]"


class Window:
    """The bytes at hand, and where in them the reading is: at the first byte of a token.

    `Doubt` is raised where the text ends too soon or is not as it should be, and so are msgspec's
    own errors (`FAULTS`).
    """

    def __init__(self, source: Readable, size: int = WINDOW) -> None:
        self._source = source
        self._size = size
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._data = b""
        self._at = 0
        self._ended = False
        self._guessing = True  # in the bytes at hand: until a guess has failed
        self._to(0)

    @property
    def byte(self) -> int:
        """The first one of the token at hand."""
        if self._at == len(self._data):
            raise Doubt
        return self._data[self._at]

    def finish(self) -> None:
        """There must be nothing after the document."""
        if self._at < len(self._data):
            raise Doubt

    def kind(self) -> type[Any]:
        """The type of the value at hand, which stays at hand."""
        if self.byte in (OBJECT, ARRAY):
            return dict if self.byte == OBJECT else list
        end = self._whole()
        return kind_of(self._data[self._at : end])

    def value(self, depth: int) -> Any:
        """The value at hand. On to the token after it."""
        end = self._whole()
        text = self._data[self._at : end]
        self._to(end)
        return value_of(text, depth)

    def pass_over(self, depth: int) -> None:
        """On to the token after the value at hand, however long that is."""
        if end := self._near_end():
            self._to(end)
        elif depth > MAX_DEPTH:
            raise Doubt
        elif self.byte == OBJECT:
            for _ in self.members():
                self.pass_over(depth + 1)
        elif self.byte == ARRAY:
            for elements in self.elements():
                if elements is None:
                    self.pass_over(depth + 1)
        else:
            self._to(self._whole())

    def pass_over_counted(self) -> None:
        """On to the token after the value at hand, if it has not too many parts."""
        end = self._whole()
        if end - self._at > MAX_PARTS:
            refuse_many_parts(self._data[self._at : end])
        self._to(end)

    def members(self) -> Iterator[str]:
        """The keys of the object at hand, each with its value at hand: that must be gone past."""
        self._to(self._at + 1)
        if self.byte == _END_OBJECT:
            self._to(self._at + 1)
            return
        yield self._key()
        while self._goes_on(_END_OBJECT):
            yield self._key()

    def each(self) -> Iterator[None]:
        """The elements of the array at hand, each of them at hand: that must be gone past."""
        self._to(self._at + 1)
        if self.byte == _END_ARRAY:
            self._to(self._at + 1)
            return
        yield
        while self._goes_on(_END_ARRAY):
            yield

    def elements(self) -> Iterator[bytes | None]:
        """The elements of the array at hand by the many, written as an array and proved to be one.

        None stands for an element that is longer than the window: it is at hand, and must be gone
        past.
        """
        end = self._near_end()
        if end and end - self._at <= self._size * 3 // 2:
            text = self._data[self._at : end]
            self._to(end)
            yield text
            return
        separator = None
        for _ in self.each():
            if len(self._data) - self._at < self._size // 2 and not self._ended:
                self._more()
            if separator and self._guessing and (text := self._guessed(separator)):
                yield text
            elif end := self._near_end():
                text = self._data[self._at : end]
                self._to(end)
                yield b"[%b]" % text
            else:
                yield None
            if found := _SEPARATOR.match(self._data, self._at):
                separator = found.group()

    def _guessed(self, separator: bytes) -> bytes | None:
        """As many elements as begin at hand and are proved to be whole. On to what follows them."""
        cut = min(len(self._data), self._at + self._size * 3 // 2)
        for _ in range(_TRIES):
            cut = self._data.rfind(separator, self._at + 1, cut)
            if cut < 0:
                return None
            text = b"".join((b"[", memoryview(self._data)[self._at : cut], b"]"))
            end = end_of(text, 0)
            if end is not None:
                # Anything behind it is what follows the array, which has ended before the cut.
                close = len(text) - 1 if end == len(text) else text.rindex(b"]", 0, end)
                self._to(self._at + close - 1)
                return text[: close + 1]
        self._guessing = False
        return None

    def _goes_on(self, end: int) -> bool:
        """Whether another one follows, and on to it; or else past the end of what holds them."""
        byte = self.byte
        if byte not in (_COMMA, end):
            raise Doubt
        self._to(self._at + 1)
        return byte == _COMMA

    def _key(self) -> str:
        while not (found := _KEY.match(self._data, self._at)):
            if self._ended or len(self._data) - self._at > self._size + 8 * MAX_KEY:
                raise Doubt
            self._more()
        key = decode(found[1])
        if len(key) > MAX_KEY:
            raise Doubt
        self._at = found.end()
        return key

    def _near_end(self) -> int | None:
        """Where the token after the value at hand is, if the value lies in the window."""
        if found := _SIMPLE.match(self._data, self._at):
            end = _space_after(self._data, found.end())
            if end < len(self._data):
                return end
        while True:
            end = end_of(self._data, self._at)
            # A number that the window ends with may go on.
            if end is not None and (end < len(self._data) or self._ended):
                return end
            if self._ended or len(self._data) - self._at >= self._size:
                return None
            self._more()

    def _whole(self) -> int:
        """Where the token after the value at hand is, with the whole of the value at hand."""
        while (end := self._near_end()) is None:
            if self._ended or len(self._data) - self._at > MAX_VALUE:
                raise Doubt
            self._more(len(self._data))
        if end - self._at > MAX_VALUE:
            raise Doubt
        return end

    def _to(self, where: int) -> None:
        """To the first byte that is no space, from there on."""
        self._at = _space_after(self._data, where)
        while self._at == len(self._data) and not self._ended:
            self._more()
            self._at = _space_after(self._data, self._at)

    def _more(self, least: int = 0) -> None:
        """Drop what was read, and read on."""
        wanted = max(self._size, least)
        parts = [self._data[self._at :]]
        while wanted > 0 and not self._ended:
            raw = self._source.read(wanted)
            self._ended = not raw
            if not raw.isascii() or self._ended or self._utf8.getstate()[0]:
                self._check(raw)
            parts.append(raw)
            wanted -= len(raw)
        self._data = b"".join(parts)
        self._at = 0
        self._guessing = True

    def _check(self, raw: bytes) -> None:
        """That it goes on as UTF-8."""
        for start in range(0, len(raw), _CHECKED):
            self._utf8.decode(raw[start : start + _CHECKED])
        if self._ended:
            self._utf8.decode(b"", final=True)


def _space_after(data: bytes, where: int) -> int:
    found = _SPACE.match(data, where)
    return found.end() if found else where
