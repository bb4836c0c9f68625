"""What gitleaks is pointed at, and with which configuration, so that the target cannot hide.

gitleaks reads `.gitleaksignore` of whatever folder it scans, and no flag prevents that. Its entries
name a file, so they are made to miss: the target is scanned by a name that nobody can guess.
"""

import json
import re
from pathlib import Path
from secrets import token_hex
from typing import Final

from rediver_agent import ToolError

_HERE: Final = Path("/proc/self/cwd")  # the directory a process runs in: for gitleaks, the target
_OURS: Final = re.compile(r".*?/rediver-target-[0-9a-f]{32}/")
_TOKENS: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def unguessable(work_dir: Path) -> Path:
    """A link to the directory that a process runs in. `ToolError` where there is no /proc."""
    if not _HERE.is_dir():
        raise ToolError(
            "a scan that a repository's .gitleaksignore cannot change needs Linux's /proc; set "
            "honour_repository_config: true to scan without it"
        )
    link = work_dir / f"rediver-target-{token_hex(16)}"
    link.symlink_to(_HERE)
    return link


def below_target(file: str) -> str:
    """A file of a report, without the unguessable name before it."""
    return _OURS.sub("", file, count=1)


def write_config(path: Path, base: str, exclude: list[str], root: str) -> None:
    """gitleaks' configuration: `base` extended by globs to leave out, below `root` (a regex)."""
    text = f"[extend]\n{base}\n"
    if exclude:
        paths = [f"{root}(?:.*/)?{_regex(glob)}(?:/|$)" for glob in exclude]
        text += f"[[allowlists]]\npaths = {json.dumps(paths)}\n"
    path.write_text(text)


def _regex(glob: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return "".join(_TOKENS.get(part, re.escape(part)) for part in parts)
