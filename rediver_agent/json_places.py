"""The tree of the paths that are wanted, and the walk of a window along it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from rediver_agent.json_values import (
    ARRAY,
    MAX_PARTS,
    OBJECT,
    Shape,
    count_objects,
    kind_of,
    refuse_many_parts,
    split,
    value_of,
)
from rediver_agent.json_windows import Window


@dataclass(slots=True)
class Place:
    """A node of the tree that paths make: exact, so that no odd key is taken for a path."""

    path: str
    built: bool = False
    seen: bool = False
    shape: "Shape | None" = None
    keys: "dict[str, Place]" = field(default_factory=dict[str, "Place"])
    element: "Place | None" = None

    def at(self, path: str) -> "Place":
        place = self
        for step in path.split(".") if path else ():
            below = Place(f"{place.path}.{step}".lstrip("."))
            if step == "item":
                place.element = place.element or below
                place = place.element
            else:
                place = place.keys.setdefault(step, below)
        return place


def walk(window: Window, place: Place, depth: int = 0) -> Iterator[tuple[str, Iterable[Any]]]:
    """The outline of the value at hand, by the many of a path. On to the token after it."""
    if place.built:
        yield place.path, (window.value(depth),)
        return
    if place.seen:
        yield place.path, (window.kind(),)
    if window.byte == OBJECT and (place.keys or place.element):
        yield from _members(window, place, depth + 1)
    elif window.byte == ARRAY and place.element:
        yield from _elements(window, place.element, depth + 1)
    elif place.seen:
        window.pass_over_counted()
    else:
        window.pass_over(depth)


def _members(window: Window, place: Place, depth: int) -> Iterator[tuple[str, Iterable[Any]]]:
    for key in window.members():
        if below := place.keys.get(key):
            yield from walk(window, below, depth)
        else:
            window.pass_over(depth)


def _elements(window: Window, place: Place, depth: int) -> Iterator[tuple[str, Iterable[Any]]]:
    if place.built:
        yield from _built(window, place, depth)
    elif place.keys or place.element:
        for _ in window.each():
            yield from walk(window, place, depth)
    else:
        yield from _seen(window, place)


def _built(window: Window, place: Place, depth: int) -> Iterator[tuple[str, Iterable[Any]]]:
    for elements in window.elements():
        if elements is None:
            yield place.path, (window.value(depth),)
        else:
            yield place.path, _values(elements, place.shape, depth)


def _values(elements: bytes, shape: Shape | None, depth: int) -> Iterable[Any]:
    """One at a time, unless they are of the shape: then they weigh little more than their text."""
    if shape is None:
        return (value_of(bytes(raw), depth) for raw in split(elements))
    many = shape.all_of(elements)
    if many is not None:
        return many
    return (shape.of(raw) or value_of(bytes(raw), depth) for raw in split(elements))


def _seen(window: Window, place: Place) -> Iterator[tuple[str, Iterable[Any]]]:
    for elements in window.elements():
        if elements is None:
            yield place.path, (window.kind(),)
            window.pass_over_counted()
            continue
        if len(elements) > MAX_PARTS:  # one that is long, or it would have been cut
            refuse_many_parts(elements)
        if (count := count_objects(elements)) is not None:
            yield place.path, repeat(dict, count)
        else:
            yield place.path, (kind_of(bytes(raw)) for raw in split(elements))
