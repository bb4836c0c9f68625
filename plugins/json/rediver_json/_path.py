"""Paths into a report: how a mapping says where a value stands.

`a.b` keys, `a[0]` and `a[-1]` one of a list, `a[]` each of a list, `a.*` each value of an object,
`"a.b"` a key that has dots, `.` the entry itself, `@key` the key that the entry stands under,
`^.` in front what the entry stands in. What is not there is nothing, never an error.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, cast

MAX_PATH: Final = 1000  # characters

_TOKEN: Final = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*")|\[(?P<index>-?\d{1,9})?\]|(?P<any>\*)|(?P<key>[^.\[\]"*^]+)"""
)
_OUT: Final = re.compile(r"\^(?:\.|$)")
_KEY: Final = "@key"


class Each(Enum):
    """A step that leads to many values."""

    LIST = "[]"
    OBJECT = "*"


Step = str | int | Each


@dataclass(frozen=True, slots=True)
class Path:
    """Where a value stands, seen from an entry. `text` is how the mapping wrote it."""

    text: str
    up: int = 0
    """How many times out of what the entry stands in."""
    names_key: bool = False
    """Whether it is the key that the entry stands under, not anything in it."""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a report, with what it stands in. `key` is of the object that it stands in."""

    value: Any
    key: str | None = None
    outer: "Entry | None" = None

    def at(self, path: Path) -> list[Any]:
        """All that a path leads to, in order; [] where there is nothing."""
        place: Entry | None = self
        for _ in range(path.up):
            place = place.outer if place else None
        if place is None:
            return []
        if path.names_key:
            return [] if place.key is None else [place.key]
        return list(_values(place.value, path.steps))


def path_of(text: object) -> Path:
    """What a mapping wrote, read. Raises `ValueError` with a sentence."""
    if not isinstance(text, str):
        raise ValueError(f"a path is a text like location.line, not {_article(text)}")  # noqa: TRY004 - pydantic takes no other
    if len(text) > MAX_PATH:
        raise ValueError(f"a path has more than {MAX_PATH} characters")
    at = up = 0
    while match := _OUT.match(text, at):
        up, at = up + 1, match.end()
    if text[at:] == _KEY:
        return Path(text, up, names_key=True)
    steps = () if text[at:] in ("", ".") else tuple(_steps(text, at))
    return Path(text, up, steps=steps)


def _article(value: object) -> str:
    kinds: dict[type[Any], str] = {dict: "a section", list: "a list", type(None): "nothing"}
    return kinds.get(type(value), "a number or a word of YAML's own; put it into quotes")


def without_last_each(text: str) -> str:
    """How a path reads to whoever is told of the list or the object that it leads to."""
    return text.removesuffix("*").removesuffix("[]").removesuffix(".")


def _steps(text: str, at: int) -> Iterator[Step]:
    start = at
    while at < len(text):
        if text[at] == "." and (at > start or text[at + 1 : at + 2] == "["):
            at += 1  # `.[0]` is as good as `[0]`
        elif at > start and text[at] != "[":
            raise ValueError(f"{text!r} is no path: a dot is missing before {text[at:][:20]!r}")
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"{text!r} is no path: {text[at:][:20] or 'its end'!r} is no step")
        at = match.end()
        yield _step(match, text)


def _step(match: re.Match[str], text: str) -> Step:
    if match["quoted"]:
        try:
            return cast("str", json.loads(match["quoted"]))
        except ValueError as fault:
            raise ValueError(f"{text!r} is no path: {match['quoted']} is no JSON text") from fault
    if match["key"] == _KEY:
        raise ValueError(f'{text!r}: @key stands alone or after ^.; a key of that name is "@key"')
    if match["key"]:
        return match["key"]
    if match["any"]:
        return Each.OBJECT
    return int(match["index"]) if match["index"] else Each.LIST


def _values(value: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    for number, step in enumerate(steps):
        if isinstance(step, Each):
            for inner in _inside(value, step):
                yield from _values(inner, steps[number + 1 :])
            return
        if isinstance(step, str) and isinstance(value, dict) and step in value:
            value = cast("dict[str, Any]", value)[step]
        elif isinstance(step, int) and isinstance(value, list):
            several = cast("list[Any]", value)
            if not -len(several) <= step < len(several):
                return
            value = several[step]
        else:
            return
    yield value


def _inside(value: Any, step: Each) -> list[Any]:
    if step is Each.LIST and isinstance(value, list):
        return cast("list[Any]", value)
    if step is Each.OBJECT and isinstance(value, dict):
        return list(cast("dict[str, Any]", value).values())
    return []
