"""gitleaks' configuration: one on the agent's host, or gitleaks' own rules, less what to leave out.

A configuration without a rule would find nothing and end well, so it is refused. What it extends is
looked up by gitleaks in the directory where it runs, which is the target: only an absolute path is
the operator's.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import AfterValidator

_TOKENS: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_MAX_BYTES: Final = 4 << 20


def _config(name: str) -> str:
    path = Path(name).absolute()
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{name!r} is larger than {_MAX_BYTES >> 20} MiB")
        read: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ValueError(f"{name!r} cannot be read on the agent's host: {fault.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ValueError(f"{name!r} is no TOML: {fault}") from None
    found = read.get("extend")
    extends = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    base = extends.get("path")
    if isinstance(base, str) and base and not base.startswith("/"):
        raise ValueError(
            f"{name!r} extends {base!r}, which gitleaks would take from the scanned folder; write "
            "the whole path"
        )
    if not (read.get("rules") or base or extends.get("useDefault") is True):
        raise ValueError(f"{name!r} has no rules; add some, or [extend] useDefault = true")
    return str(path)


Config = Annotated[str, AfterValidator(_config)]
"""The path of a configuration that is there and has rules, absolute."""


def write_config(path: Path, base: str, root: str, exclude: Sequence[str]) -> None:
    """Write a configuration that extends `base`, less globs below `root` (a regex) to leave out."""
    text = f"[extend]\n{base}\n"
    if exclude:
        paths = [f"{root}(?:.*/)?{_regex(glob)}(?:/|$)" for glob in exclude]
        text += f"[[allowlists]]\npaths = {json.dumps(paths)}\n"
    path.write_text(text)


def extending(path: str) -> str:
    """What a configuration says that extends the one at `path`."""
    return f"path = {json.dumps(path)}"  # a basic string of TOML is one of JSON


def _regex(glob: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return "".join(_TOKENS.get(part, re.escape(part)) for part in parts)
