"""Reads `.rediver.yaml` of a scanned directory: the list `suppressions`.

Every entry has a reason and an end, names what it means, and never means everything. A file that is
not understood to the last key is an error: it must neither be ignored nor suppress more than was
meant. It is opened below the target's descriptor, and no link is followed.
"""

import errno
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, Final, NoReturn, cast

import yaml
from typing_extensions import override

from rediver_agent.below import read_file
from rediver_agent.errors import SuppressionsUnreadable
from rediver_agent.suppressions import FILE, MEANT, Entry

_MAX_BYTES: Final = 256 << 10
_MAX_DEPTH: Final = 10
_KEYS: Final = (*MEANT, "reason", "expires")
_TAG: Final = "tag:yaml.org,2002:"
_TEXTS: Final = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "timestamp"))
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_SET: Final = re.compile(r"\[!?\]?[^\]]*\]")  # a bracket that comes first is one of the set
_NO_TEXT: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]"
)  # no server takes all of them
_MAX_TEXT: Final = 2000  # characters


def read_suppressions(directory: int, path: PurePosixPath) -> list[Entry]:
    """The entries of an open directory's file, none without one. `path` is for messages.

    Raises `SuppressionsUnreadable` naming file, line and key.
    """
    name = path / FILE
    try:
        text = read_file(directory, FILE, _MAX_BYTES).decode()
    except FileNotFoundError:
        return []
    except OSError as fault:
        link = fault.errno == errno.ELOOP
        said = fault.strerror or str(fault)
        why = "it is a symbolic link" if link else said[:1].lower() + said[1:]
        raise SuppressionsUnreadable(f"{name} cannot be read: {why}") from fault
    except UnicodeDecodeError as fault:
        raise SuppressionsUnreadable(f"{name} is not UTF-8") from fault
    try:
        return _entries(cast("Any", yaml).compose(text, Loader=_Loader))  # its stubs are partial
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        where = f" line {mark.line + 1}" if mark else ""
        raise SuppressionsUnreadable(f"{name}{where}: {fault.problem}") from fault
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as fault:
        raise SuppressionsUnreadable(f"{name} is not YAML: {fault}") from fault


class _Loader(yaml.SafeLoader):
    """Builds nodes only, and refuses what may grow: aliases, and nesting."""

    depth = 0

    @override
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = cast("Any", self).peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="an alias (*name) is not taken here; write it out",
                problem_mark=event.start_mark,
            )
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem="it is nested too deeply", problem_mark=event.start_mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _refuse(node: yaml.Node, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _entries(root: yaml.Node | None) -> list[Entry]:
    if root is None or _is_empty(root):
        return []
    listed = _table(root, ("suppressions",), "the file").get("suppressions")
    if listed is None or _is_empty(listed):
        return []
    if not isinstance(listed, yaml.SequenceNode) or listed.tag != f"{_TAG}seq":
        _refuse(listed, "`suppressions` must be a list; begin each entry with a dash")
    return [_entry(node) for node in listed.value]


def _entry(node: yaml.Node) -> Entry:
    nodes = _table(node, _KEYS, "a suppression")
    texts = {key: _text(key, value) for key, value in nodes.items()}
    if not any(key in texts for key in MEANT):
        _refuse(node, "a suppression needs `rule`, `path` or `fingerprint`")
    for key in ("reason", "expires"):
        if key not in texts:
            _refuse(node, f"a suppression needs `{key}`")
    if "fingerprint" not in texts and not any(
        key in texts and _is_narrow(texts[key]) for key in ("rule", "path")
    ):
        _refuse(node, "this would suppress everything; name a rule or a path with letters in it")
    until = _until(nodes["expires"], texts.pop("expires"))
    return Entry(line=node.start_mark.line + 1, until=until, **texts)


def _table(node: yaml.Node, known: Sequence[str], what: str) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode) or node.tag != f"{_TAG}map":
        _refuse(node, f"{what} must be keys with values: {', '.join(known)}")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "a key that is no word"
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(known)}"
            _refuse(key, f"`{name[:100]}` is no key of {what}; {hint}")
        if name in found:
            _refuse(key, f"`{name}` is there twice")
        found[name] = value
    return found


def _text(key: str, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or (node.tag not in _TEXTS and not _is_empty(node)):
        _refuse(node, f"`{key}` must be a text")
    text = str(node.value).strip()
    if not text or _is_empty(node):
        _refuse(node, f"`{key}` is empty")
    if len(text) > _MAX_TEXT or _NO_TEXT.search(text):
        _refuse(node, f"`{key}` must be a text of at most {_MAX_TEXT} characters, none of control")
    return text


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"


def _is_narrow(glob: str) -> bool:
    """Whether a letter or digit of it has to be there: `**/*.*` and `[!x]*` match nearly all."""
    return any(letter.isalnum() for letter in _SET.sub("", glob))


def _until(node: yaml.Node, text: str) -> datetime:
    """A day counts to its end, in UTC."""
    try:
        if _DAY.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), time.max, UTC)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    _refuse(node, f"`expires` must be a day such as 2027-01-31, or a time with a zone, not {text}")
