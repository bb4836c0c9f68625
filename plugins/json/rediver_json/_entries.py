"""The entries of a report that a mapping names, one at a time, each with what it stands in.

Only what the mapping reads is built: an entry, or what it stands in, may be of any size. What an
entry stands in is read beside it, by a second reader of the same file that is never more than one
step ahead, so that it is known even where it is written after the entries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, BinaryIO, Final, cast

from rediver_agent import ReportUnreadable, events
from rediver_json._path import Each, Entry, Path, Step, without_last_each

MAX_PARTS: Final = 200_000  # of what is built of one entry: some 25 MiB
_TEXT_OF_A_PART: Final = 64  # characters, which weigh as much as a part: 12 MiB of text in all
_SHOWN: Final = 20  # keys that a sentence names
_OPENING: Final = frozenset({"start_map", "start_array"})
_CLOSING: Final = frozenset({"end_map", "end_array"})
_KINDS: Final = {
    "start_map": "an object",
    "start_array": "a list",
    "null": "null",
    "string": "a text",
    "boolean": "true or false",
}
_CONTAINER: Final = {Each.LIST: "start_array", Each.OBJECT: "start_map"}

Tree = dict[str, "Tree | None"]
"""Which keys are built; None is everything below one."""
_Parts = Iterator[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the entries are, and what is read of them and of what they stand in."""

    path: Path
    root: Tree | None
    """What is read of the document itself."""
    trees: tuple[Tree | None, ...]
    """What is read at each level: the last is of the entries, the first is not used if it is not
    the last."""


@dataclass(slots=True)
class Findings:
    """One reading of the entries, over one document or over the lines of a file.

    After it `fault` says whether the path led anywhere.
    """

    plan: Plan
    first_keys: list[str] | None = None
    """The keys of the first entry that is an object."""
    nulls: set[int] = field(default_factory=set[int])
    """The steps at which there was `null` instead of a list."""
    odd: int = 0
    """How often there was something else."""
    _tried: set[int] = field(default_factory=set[int])
    _led_on: set[int] = field(default_factory=set[int])
    _keys: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    _kinds: dict[int, str] = field(default_factory=dict[int, str])

    def of(self, stream: BinaryIO, root: Entry) -> Iterator[Entry]:
        """The entries of one document, `root`. Raises `ReportUnreadable` where it is not JSON."""
        steps, trees = self.plan.path.steps, self.plan.trees
        count = len(trees) - 1
        beside = {
            level: _Walk(_first(steps, level), tree).elements(stream, level)
            for level, tree in enumerate(trees)
            if 0 < level < count and tree != {}
        }
        standing = [root]
        for level, key, value in _Walk(steps, trees[-1], self).all(stream):
            if level == count:
                yield Entry(value, key, standing[-1] if count else None)
            else:
                outer = next(beside[level], None) if level in beside else None
                standing[level:] = [Entry(outer, key, standing[level - 1])]

    def fault(self) -> str | None:
        """What is wrong with the path, if it led nowhere at all."""
        text, steps = self.plan.path.text, self.plan.path.steps
        for at in sorted(self._tried - self._led_on):
            if at and at in self.nulls:
                return None
            named = f"the mapping's findings path {without_last_each(text) or '.'!r}"
            if at in self._keys:
                keys = ", ".join(self._keys[at]) or "none"
                whose = "its keys are" if at == 0 else "where it ends the keys are"
                return f"{named} is not in the report; {whose}: {keys}"
            return f"{named} leads nowhere: {_advice(steps[at], self._kinds.get(at, 'nothing'))}"
        return None

    def see(self, at: int, event: str) -> bool:
        """Whether the step at `at` can be made here; remembers what was seen instead."""
        self._tried.add(at)
        step = self.plan.path.steps[at]
        if isinstance(step, Each):
            if event == _CONTAINER[step]:
                self._led_on.add(at)
                return True
        elif event == "start_map":
            self._keys.setdefault(at, [])
            return True
        if event == "null":
            self.nulls.add(at)
        else:
            self.odd += 1
        self._kinds.setdefault(at, _KINDS.get(event, "a number"))
        return False

    def see_key(self, at: int, key: str, *, led_on: bool) -> None:
        """One key where a step asks for a key."""
        if led_on:
            self._led_on.add(at)
        elif len(known := self._keys.setdefault(at, [])) < _SHOWN and key not in known:
            known.append(key[:100])


def document(stream: BinaryIO, tree: Tree | None) -> Entry:
    """What a tree names of the document itself. Raises `ReportUnreadable`."""
    if tree == {}:
        return Entry({})
    ((_, _, value),) = _Walk((), tree).all(stream)
    return Entry(value)


class _Walk:
    """Goes down one document along the steps of a path."""

    def __init__(
        self, steps: Sequence[Step], tree: Tree | None, seen: Findings | None = None
    ) -> None:
        self._steps = steps
        self._tree = tree
        self._seen = seen

    def all(self, stream: BinaryIO) -> Iterator[tuple[int, str | None, Any]]:
        """(level, key, value) of every element on the way; only the last level's has a value."""
        parts = events(cast("BinaryIO", _View(stream)))
        event, value = next(parts)
        yield from self._from(parts, event, value, 0, 0, None)
        for _ in parts:  # to the end of the text: there must be nothing after the document
            pass

    def elements(self, stream: BinaryIO, level: int) -> Iterator[Any]:
        """The values of one level alone."""
        return (value for at, _, value in self.all(stream) if at == level)

    def _from(
        self, parts: _Parts, event: str, value: Any, at: int, level: int, key: str | None
    ) -> Iterator[tuple[int, str | None, Any]]:
        if at == len(self._steps):
            yield level, key, self._built(parts, event, value)
            return
        if level and isinstance(self._steps[at - 1], Each):
            yield level, key, None
        step = self._steps[at]
        opening = _CONTAINER[step] if isinstance(step, Each) else "start_map"
        may = self._seen.see(at, event) if self._seen else event == opening
        if not may:
            _passed_over(parts, event)
        elif step is Each.LIST:
            for inner, inner_value in parts:
                if inner == "end_array":
                    return
                yield from self._from(parts, inner, inner_value, at + 1, level + 1, None)
        else:
            yield from self._keys(parts, step, at, level)

    def _keys(
        self, parts: _Parts, step: Step, at: int, level: int
    ) -> Iterator[tuple[int, str | None, Any]]:
        for _, name in parts:
            if name is None:
                return
            event, value = next(parts)
            if step is Each.OBJECT:
                yield from self._from(parts, event, value, at + 1, level + 1, name)
                continue
            if self._seen:
                self._seen.see_key(at, name, led_on=name == step)
            if name == step:
                yield from self._from(parts, event, value, at + 1, level, None)
            else:
                _passed_over(parts, event)

    def _built(self, parts: _Parts, event: str, value: Any) -> Any:
        built = _Building(parts)
        if self._seen and self._seen.first_keys is None and event == "start_map":
            self._seen.first_keys = []
            return built.some(event, value, self._tree, self._seen.first_keys)
        return built.some(event, value, self._tree)


class _Building:
    """One value in the making, of a limited number of parts."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self._left = MAX_PARTS

    def some(self, event: str, value: Any, tree: Tree | None, keys: list[str] | None = None) -> Any:
        """What the tree names of the value that begins with `event`. `keys` collects its keys."""
        if event == "string" and len(value) >= _TEXT_OF_A_PART:
            self._count(len(value) // _TEXT_OF_A_PART)
        if event not in _OPENING:
            return value
        if tree is not None and event == "start_array":
            _passed_over(self._parts, event)
            return []
        return self._array() if event == "start_array" else self._map(tree, keys)

    def _map(self, tree: Tree | None, keys: list[str] | None) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for _, key in self._parts:
            if key is None:
                break
            if keys is not None and len(keys) < _SHOWN:
                keys.append(key[:100])
            event, value = next(self._parts)
            if tree is None or key in tree:
                self._count()
                built[key] = self.some(event, value, None if tree is None else tree[key])
            else:
                _passed_over(self._parts, event)
        return built

    def _array(self) -> list[Any]:
        built: list[Any] = []
        for event, value in self._parts:
            if event == "end_array":
                break
            self._count()
            built.append(self.some(event, value, None))
        return built

    def _count(self, parts: int = 1) -> None:
        self._left -= parts
        if self._left < 0:
            raise ReportUnreadable(
                f"what the mapping names has more than {MAX_PARTS:,} parts in one entry, or in "
                "what the entries stand in, or texts as long as that: name less of it"
            )


class _View:
    """A reader of a stream that other readers read too: it keeps its own place."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._place = 0

    def seek(self, place: int) -> int:
        self._place = place
        return place

    def read(self, size: int = -1, /) -> bytes:
        self._stream.seek(self._place)
        raw = self._stream.read(size)
        self._place += len(raw)
        return raw


def tree_of(paths: Sequence[Path]) -> Tree | None:
    """Which keys some paths need: down to the first step that is no key, and all below that."""
    tree: Tree = {}
    for path in paths:
        if path.names_key:
            continue
        keys = list(takewhile(lambda step: isinstance(step, str), path.steps))
        if not keys:
            return None
        _add(tree, cast("list[str]", keys))
    return tree


def _add(tree: Tree, keys: Sequence[str]) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if below is None:  # all of it is built already
            return
        tree = below
    tree[keys[-1]] = None


def _first(steps: Sequence[Step], level: int) -> Sequence[Step]:
    """The steps that lead to the elements of a level."""
    ends = [number for number, step in enumerate(steps, 1) if isinstance(step, Each)]
    return steps[: ends[level - 1]]


def _passed_over(parts: _Parts, event: str) -> None:
    if event not in _OPENING:
        return
    depth = 1
    for inner, _ in parts:
        if inner in _OPENING:
            depth += 1
        elif inner in _CLOSING:
            depth -= 1
            if not depth:
                return


def _advice(step: Step, kind: str) -> str:
    if step is Each.LIST and kind == "an object":
        return "there is an object, not a list; end it with .* for each of the object's values"
    if step is Each.OBJECT and kind == "a list":
        return "there is a list, not an object; end it with [] for each of the list"
    if isinstance(step, str) and kind == "a list":
        return f"there is a list, not an object with the key {step!r}; write [] before it"
    return f"there is {kind}, not {'a list' if step is Each.LIST else 'an object'}"
