"""gitleaks' configuration: one on the agent's host, or gitleaks' own rules, less what to leave out.

A configuration without a rule would find nothing and end well, so it is refused. What it extends,
and what that extends, is looked up by gitleaks in the directory where it runs, which is the target:
only an absolute path is the operator's. No sentence quotes what is in such a file.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import AfterValidator

from rediver_agent import ToolError

_TOKENS: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_MAX_BYTES: Final = 4 << 20
_PLACE: Final = re.compile(r"\(at [a-z0-9, ]+\)$")
_STEPS: Final = 2  # that gitleaks goes from one configuration to the next; it drops what is beyond
_START_OR_FOLDER: Final = re.compile(r"\((?:\?:)?(?:\^\|/|/\|\^)\)")
_START: Final = re.compile(r"(?<![\[\\])\^|\\A")

Table = dict[str, Any]


def _config(name: str) -> str:
    path = Path(name).absolute()
    tables = list(_chain(path))
    if not any(table.get("rules") or _extends(table).get("useDefault") is True for table in tables):
        raise ValueError(f"{name!r} has no rules; add some, or [extend] useDefault = true")
    return str(path)


def files_of(config: str) -> list[Path]:
    """A configuration of the host, and those that it extends."""
    return [Path(config), *_bases(_chain(Path(config)))]


def starts_at_the_root(config: str) -> bool:
    """Whether a path in it is given from the root of the target on.

    A folder is scanned by another name, so that nothing would ever be there.
    """
    patterns = [pattern for table in _chain(Path(config)) for pattern in _path_patterns(table)]
    return any(_START.search(_START_OR_FOLDER.sub("", pattern)) for pattern in patterns)


def _chain(path: Path) -> Iterator[Table]:
    """A configuration and what it extends. `ValueError` where gitleaks would not take it all."""
    for step in range(_STEPS + 1):
        table = _read(path)
        yield table
        base = _extends(table).get("path")
        if not isinstance(base, str) or not base:
            return
        if not base.startswith("/"):
            raise ValueError(
                f"'{path}' extends a relative path, which gitleaks would take from the scanned "
                "folder; write the whole path"
            )
        if step == _STEPS:
            break
        path = Path(base)
    raise ValueError(
        f"'{path}' extends another one: gitleaks drops what is {_STEPS + 1} steps away"
    )


def _bases(chain: Iterator[Table]) -> Iterator[Path]:
    for table in chain:
        if base := _extends(table).get("path"):
            yield Path(base)


def _read(path: Path) -> Table:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"'{path}' is larger than {_MAX_BYTES >> 20} MiB")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ValueError(f"'{path}' cannot be read on the agent's host: {fault.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        place = _PLACE.search(str(fault))
        raise ValueError(f"'{path}' is no TOML{f' {place[0]}' if place else ''}") from None


def _extends(table: Table) -> Table:
    found = table.get("extend")
    return cast("Table", found) if isinstance(found, dict) else {}


def _path_patterns(table: Table) -> Iterator[str]:
    """The regexes for paths, of rules and of what is allowed, however deep."""
    for key, value in table.items():
        for each in cast("list[object]", value) if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from _path_patterns(cast("Table", each))
            elif key in ("path", "paths") and isinstance(each, str):
                yield each


Config = Annotated[str, AfterValidator(_config)]
"""The path of a configuration that is there and has rules, absolute."""


def with_exclusions(base: str, root: str, exclude: Sequence[str]) -> str:
    """A configuration's text, less globs below `root` (a regex) to leave out."""
    if not exclude:
        return base
    paths = [f"{root}(?:.*/)?{_regex(glob)}(?:/|$)" for glob in exclude]
    return f"{base}\n[[allowlists]]\npaths = {json.dumps(paths)}\n"


def text_of(config: str) -> str:
    """The text of a configuration of the host, to be added to. `ToolError` where that cannot be.

    It is not extended by ours: gitleaks goes two steps only, and drops the rules beyond in silence.
    """
    try:
        text = Path(config).read_text(encoding="utf-8")
    except OSError as fault:
        raise ToolError(f"{config} cannot be read: {fault.strerror}") from fault
    if "allowlist" in tomllib.loads(text):
        raise ToolError(
            f"{config} has an [allowlist], which excludes nothing more: write it as [[allowlists]]"
        )
    return text


def _regex(glob: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return "".join(_TOKENS.get(part, re.escape(part)) for part in parts)
