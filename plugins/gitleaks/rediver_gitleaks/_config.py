"""gitleaks' configuration: one on the agent's host, or gitleaks' own rules, less what to leave out.

A configuration without a rule would find nothing and end well, so it is refused. What it extends is
looked up by gitleaks in the directory where it runs, which is the target: only an absolute path is
the operator's. A command may name any file of the host, so no sentence quotes what is in it.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import AfterValidator

from rediver_agent import ToolError

_TOKENS: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_MAX_BYTES: Final = 4 << 20
_PLACE: Final = re.compile(r"\(at [a-z0-9, ]+\)$")


def _config(name: str) -> str:
    path = Path(name).absolute()
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{name!r} is larger than {_MAX_BYTES >> 20} MiB")
        read: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ValueError(f"{name!r} cannot be read on the agent's host: {fault.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        place = _PLACE.search(str(fault))
        raise ValueError(f"{name!r} is no TOML{f' {place[0]}' if place else ''}") from None
    found = read.get("extend")
    extends = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    base = extends.get("path")
    if isinstance(base, str) and base and not base.startswith("/"):
        raise ValueError(
            f"{name!r} extends a relative path, which gitleaks would take from the scanned folder; "
            "write the whole path"
        )
    if not (read.get("rules") or base or extends.get("useDefault") is True):
        raise ValueError(f"{name!r} has no rules; add some, or [extend] useDefault = true")
    return str(path)


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
