"""Reads JSON piece by piece: what every streaming parser stands on.

Memory stays flat whatever the size of the document. What is plain is read by `json_windows`, many
times as fast; from the first doubt on ijson reads the document, from its start, and what was given
is not given again: its verdict counts, and its words. Any fault of the text is a
`ReportUnreadable`, and so is what `json_guard` refuses of what ijson is to read. UTF-8, and UTF-16
and UTF-32 by their byte-order mark, are read.
"""

import codecs
import io
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from enum import Enum, auto
from functools import partial
from itertools import islice
from math import isfinite
from operator import itemgetter
from types import MappingProxyType
from typing import Any, BinaryIO, Final, Protocol, TypeVar, cast

import ijson

from rediver_agent.errors import ReportUnreadable
from rediver_agent.json_guard import Guarded, Readable, ShortNumbers
from rediver_agent.json_places import Place, walk
from rediver_agent.json_values import (
    FAULTS,
    MAX_KEY,
    MAX_PARTS,
    TEXT_OF_A_PART,
    Doubt,
    Shape,
    is_usable,
)
from rediver_agent.json_windows import WINDOW, Window

_CHUNK: Final = 256 * 1024
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)

_OPENING: Final = frozenset({"start_map", "start_array"})
_CLOSING: Final = frozenset({"end_map", "end_array"})

_Events = Iterator[tuple[str, Any]]
Value = TypeVar("Value")


class _Builder(Protocol):
    value: Any

    def event(self, event: str, value: Any, /) -> None: ...


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


def items(
    stream: BinaryIO, path: str, *, into: type[Any] | None = None, window: int = WINDOW
) -> Iterator[Any]:
    """Every value at `path` (ijson's notation: `runs.item.results.item`), from the stream's start.

    Numbers are int and float. Where a value has the shape of `into`, a msgspec Struct that does not
    nest without end, it may come as that, and may as well come plain. Raises what `outline` does.
    """
    root = _places({path}, ())
    if into is not None:
        root.at(path).shape = Shape(into)
    yield from map(itemgetter(1), _read(stream, root, window))


def events(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The document's parts in its order, from its start: (event, value), as ijson's `basic_parse`.

    For what `items` and `outline` cannot say. Numbers are int and float. Raises `ReportUnreadable`
    where the text is not JSON.
    """
    with _faults():
        yield from _despite_large_numbers(lambda numbers: _events(stream, numbers, _CHUNK))


def outline(
    stream: BinaryIO,
    built: Collection[str],
    seen: Collection[str],
    *,
    into: Mapping[str, type[Any]] = MappingProxyType({}),
    window: int = WINDOW,
) -> Iterator[tuple[str, Any]]:
    """What is where, in one pass: (path, value), in the order of the document, from its start.

    Values at a path of `built` come whole, as those of `items` where `into` has a shape for their
    path. Those at a path of `seen` come as their Python type, before anything inside them, and are
    passed over where no other path leads into them. Paths are in the notation of `items`; the
    document itself is at the empty one.
    Raises `ReportUnreadable` where the text is not JSON, for a key longer than `MAX_KEY` on the way
    to a path, and for a value at one of the paths that has more than `MAX_PARTS` parts, of which a
    long text is several.
    """
    root = _places(built, seen)
    for path, shape in into.items():
        root.at(path).shape = Shape(shape)
    return _read(stream, root, window)


def _read(stream: BinaryIO, root: Place, window: int) -> Iterator[tuple[str, Any]]:
    def by_ijson() -> Iterator[tuple[str, Any]]:
        return _despite_large_numbers(partial(_outline, stream, root))

    with _faults():
        yield from _by_ijson_from_a_doubt_on(_by_window(stream, root, window), by_ijson)


def _places(built: Collection[str], seen: Collection[str]) -> Place:
    root = Place("")
    for path in seen:
        root.at(path).seen = True
    for path in built:
        root.at(path).built = True
    return root


def _by_window(stream: BinaryIO, root: Place, size: int) -> Iterator[tuple[str, Iterable[Any]]]:
    if not is_usable():
        raise Doubt
    window = Window(rewound(stream), size)
    yield from walk(window, root)
    window.finish()


def _by_ijson_from_a_doubt_on(
    found: Iterator[tuple[str, Iterable[Any]]], by_ijson: Callable[[], Iterator[tuple[str, Any]]]
) -> Iterator[tuple[str, Any]]:
    """The values; from the first doubt on, those that ijson gives: its verdict counts."""
    done = 0
    try:
        for path, values in found:
            for value in values:
                done += 1  # what came is not given again
                yield path, value
            del values  # before there are others
    except (Doubt, *FAULTS):
        yield from islice(by_ijson(), done, None)


def _outline(stream: BinaryIO, root: Place, numbers: "_Numbers") -> Iterator[tuple[str, Any]]:
    events = _events(stream, numbers, _CHUNK)
    yield from _walk(events, root, *next(events))
    deque(events, 0)  # to the end of the text: there must be nothing after the document


def top_level(head: bytes) -> dict[str, Any]:
    """The keys of the object that a document begins with, as far as `head` shows it.

    Objects and arrays come as empty ones. {} for what is no object; never an error: for `sniff`.
    """
    found: dict[str, Any] = {}
    depth, key = 0, ""
    with suppress(ReportUnreadable), _faults():
        # In small bites, so that a fault further on does not hide what came before it.
        for event, value in _events(io.BytesIO(head), _Numbers.OF_C, 64):
            depth -= event in _CLOSING
            if depth == 0 and event != "start_map":
                break
            if depth == 1 and event == "map_key":
                key = value
            elif depth == 1 and event not in _CLOSING:
                found.setdefault(key, _kind(event, value)() if event in _OPENING else value)
            depth += event in _OPENING
    return found


def _walk(events: _Events, place: Place, event: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The outline of the value that begins with `event`, to its end."""
    if place.built:
        yield place.path, _built(events, place.path, event, value)
        return
    if place.seen:
        yield place.path, _kind(event, value)
    if event == "start_map" and place.keys:
        for _, key in events:
            if key is None:
                return
            _refuse_long(key)
            yield from _inside(events, place.keys.get(key), *next(events))
    elif event == "start_array" and place.element:
        for inner, inner_value in events:
            if inner == "end_array":
                return
            yield from _inside(events, place.element, inner, inner_value)
    elif _passed_over(events, event) > MAX_PARTS and place.seen:
        raise _too_large(place.path)


def _inside(
    events: _Events, place: Place | None, event: str, value: Any
) -> Iterator[tuple[str, Any]]:
    if place is None:
        _passed_over(events, event)
        return iter(())
    return _walk(events, place, event, value)


def _passed_over(events: _Events, event: str) -> int:
    """Read to the end of the value that begins with `event`. Returns how many parts it had."""
    if event not in _OPENING:
        return 0
    depth = 1
    parts = long = 0
    for parts, (inner, value) in enumerate(events):  # noqa: B007 - returned below
        if inner == "string":
            long += len(value) // TEXT_OF_A_PART
        elif inner == "map_key":
            _refuse_long(value)
        elif inner in _OPENING:
            depth += 1
        elif inner in _CLOSING:
            depth -= 1
            if not depth:
                break
    return parts + long


def _kind(event: str, value: Any) -> type[Any]:
    kinds: dict[str, type[Any]] = {"start_map": dict, "start_array": list}
    return kinds[event] if event in _OPENING else cast("type[Any]", type(value))


def _built(events: _Events, path: str, event: str, value: Any) -> Any:
    builder = cast("_Builder", ijson.ObjectBuilder())
    depth = parts = 0
    while True:
        if event == "map_key":
            _refuse_long(value)
        elif event == "string":
            parts += len(value) // TEXT_OF_A_PART
        builder.event(event, value)
        depth += event in _OPENING
        depth -= event in _CLOSING
        parts += 1
        if not depth:
            return builder.value
        if parts > MAX_PARTS:
            raise _too_large(path)
        event, value = next(events)


def _refuse_long(key: str) -> None:
    if len(key) > MAX_KEY:
        raise ReportUnreadable(f"a key in the report is longer than {MAX_KEY:,} characters")


def _too_large(path: str) -> ReportUnreadable:
    return ReportUnreadable(
        f"a value at {path} has more than {MAX_PARTS:,} parts, or texts as long as that: more than "
        "is read at once"
    )


class _Numbers(Enum):
    """Who reads the numbers. C is fast, and refuses integers of more than 64 bits."""

    OF_C = auto()
    OF_PYTHON = auto()

    def of(self, source: Readable) -> Readable:
        """The source, guarded."""
        return Guarded(source if self is _Numbers.OF_C else ShortNumbers(source))

    def plain(self, values: Iterator[Any]) -> Iterator[Any]:
        """The values, with floats for Python's decimals."""
        return values if self is _Numbers.OF_C else map(_plain, values)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, cast("tuple[Any, ...]", value)))
    if isinstance(value, Decimal):
        number = float(value)
        return number if isfinite(number) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    return value


def _despite_large_numbers(begin: Callable[[_Numbers], Iterator[Value]]) -> Iterator[Value]:
    """What `begin` gives; from the first number on that C cannot hold, by Python's numbers."""
    done = 0
    try:
        for value in begin(_Numbers.OF_C):
            yield value
            done += 1
    except ijson.JSONError as fault:
        if "overflow" not in str(fault):
            raise
        yield from islice(begin(_Numbers.OF_PYTHON), done, None)


def _events(stream: BinaryIO, numbers: _Numbers, chunk: int) -> _Events:
    source = numbers.of(rewound(stream))
    events = ijson.basic_parse(source, use_float=numbers is _Numbers.OF_C, buf_size=chunk)
    return numbers.plain(cast("_Events", events))


@contextmanager
def _faults() -> Generator[None]:
    """Whatever a text can do to ijson and to Python's numbers is a `ReportUnreadable`."""
    try:
        yield
    except ArithmeticError:  # an exponent that Python's decimals do not hold
        raise ReportUnreadable("a number in the report is beyond every range") from None
    except (ijson.JSONError, ValueError, RecursionError) as fault:
        said = fault.args[0] if fault.args else ""
        # yajl's words are bytes where it quotes what is no UTF-8.
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(fault)
        # The first line only: the others quote the report, which may hold a secret.
        reason = said.partition("\n")[0].rstrip()
        raise ReportUnreadable(f"the report is not JSON, or is cut off: {reason}") from None


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
