"""What msgspec says of one JSON value: where it ends, what it is, and when it is not to be trusted.

Every doubt is a `Doubt` or one of `FAULTS`: a fault of the text, a value longer than is held,
nesting past `MAX_DEPTH`, a number that msgspec does not hold. ijson then reads the document: its
verdict counts, and its words (`jsonstream`). What is accepted here and refused there is harmless:
in values that are passed over, long keys, deep nesting and numbers beyond every range; in wanted
ones, integers of 1,000 to 4,300 digits, and keys longer than ijson can afford to keep. Invalid
UTF-8 (`json_windows`), lone surrogates, control characters, cuts and trailing text are found
everywhere.
"""

from contextlib import suppress
from functools import cache
from typing import Any, Final, cast

import msgspec

from rediver_agent.json_guard import MAX_DEPTH, is_deeper

MAX_PARTS: Final = 500_000  # of one value of an outline: some 60 MiB once it is built
TEXT_OF_A_PART: Final = 32  # characters, which weigh as much as a part: 16 MiB of text in all
MAX_KEY: Final = 1000  # characters

FAULTS: Final = (msgspec.MsgspecError, ValueError, RecursionError)  # what a text makes msgspec say

OBJECT, ARRAY, _TEXT = b'{["'
_KINDS: Final[dict[int, type[Any]]] = {OBJECT: dict, ARRAY: list, _TEXT: str}
_TRAILING: Final = "trailing characters (byte "


class _Object(msgspec.Struct):
    """Any object, of which nothing is wanted."""


decode: Final = msgspec.json.Decoder().decode
split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_scan: Final = msgspec.json.Decoder(msgspec.Raw).decode
_objects: Final = msgspec.json.Decoder(list[_Object]).decode


class Doubt(Exception):
    """This text is not to be read by msgspec."""


class Shape:
    """Values that a type takes whole: they come as it. Anything else about one is its refusal."""

    def __init__(self, into: type[Any]) -> None:
        self._one = msgspec.json.Decoder(into).decode
        self._many = msgspec.json.Decoder(list[into]).decode

    def of(self, value: msgspec.Raw) -> Any | None:
        """The value, None where it is not of the shape."""
        try:
            return self._one(value)
        except msgspec.ValidationError:
            return None

    def all_of(self, elements: bytes) -> list[Any] | None:
        """The elements of an array, None where one of them is not of the shape."""
        try:
            return self._many(elements)
        except msgspec.ValidationError:
            return None


def count_objects(elements: bytes) -> int | None:
    """How many objects the array has; None if anything else is among them."""
    try:
        return len(_objects(elements))
    except msgspec.ValidationError:
        return None


@cache
def is_usable() -> bool:
    """Whether this msgspec says where a value ends, which is all that is asked of its errors."""
    for text, end in ((b'{"a": [1]} x', 11), (b"[] ]", 3), (b"1,", 1), (b'"\xc3\xa9"\n\n"', 6)):
        if end_of(text, 0) != end:
            return False
    with suppress(msgspec.DecodeError):
        _scan(b"[1, {]")
        return False
    return True


def end_of(text: bytes, start: int) -> int | None:
    """Where the next token after the value at `start` is; None if the value does not end here."""
    try:
        _scan(memoryview(text)[start:])
    except msgspec.DecodeError as fault:
        _, found, where = str(fault).partition(_TRAILING)
        return start + int(where[:-1]) - 1 if found else None
    return len(text)


def refuse_many_parts(value: bytes) -> None:
    """`Doubt` if it may have more than `MAX_PARTS`: ijson counts them."""
    opened = value.count(b"[") + value.count(b"{")
    if value.count(b",") + value.count(b":") + 2 * opened >= MAX_PARTS:
        raise Doubt


def value_of(text: bytes, depth: int) -> Any:
    """The value that is written so, at that depth of the document."""
    if len(text) > MAX_PARTS:
        refuse_many_parts(text)
    limit = MAX_DEPTH - depth
    if text.count(b"[") + text.count(b"{") > limit and is_deeper(text, limit):
        raise Doubt
    return decode(text)


def kind_of(text: bytes) -> type[Any]:
    return _KINDS.get(text[0]) or cast("type[Any]", type(decode(text)))
