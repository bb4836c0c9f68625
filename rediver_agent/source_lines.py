"""Lines of the scanned source, for findings whose tool does not quote them.

Files are opened below the target's own descriptor, component by component, and no symbolic link is
followed: a report cannot make the agent quote a file that lies elsewhere.
"""

import os
from pathlib import PurePath
from typing import Final

from rediver_agent.below import is_below, read_file

MAX_FILE_BYTES: Final = 5 << 20  # larger files are data, not source
MAX_LINES: Final = 20
MAX_CHARACTERS: Final = 2000


class SourceLines:
    """Reads from one target. Findings come file by file, so the last file's lines are kept."""

    def __init__(self, target: int, place: PurePath) -> None:
        """`target` is its descriptor, `place` where it is."""
        self._target = target
        root = os.path.realpath(place).strip("/")
        self._root = f"{root}/" if root else ""
        self._path: str | None = None
        self._lines: list[str] = []

    def relative(self, path: str) -> str:
        """A path as it is in the target: many a tool names files by where they are on the host,
        and some parsers leave the first slash out.
        """
        plain = path.lstrip("/")
        if not plain.startswith(self._root) or (path == plain and is_below(self._target, path)):
            return path
        inside = plain.removeprefix(self._root)
        return inside if is_below(self._target, inside) else path

    def quote(self, path: str, first: int, last: int | None) -> str | None:
        """Lines `first` to `last` (from 1) of a file in the target; None if they are not there."""
        if path != self._path:
            self._path, self._lines = path, self._read(path)
        end = min(max(last or first, first), first + MAX_LINES - 1)
        return "\n".join(self._lines[first - 1 : end])[:MAX_CHARACTERS] or None

    def _read(self, path: str) -> list[str]:
        try:
            text = read_file(self._target, path, MAX_FILE_BYTES).decode("utf-8", "replace")
        except OSError:
            return []
        # Not splitlines(): a form feed ends no line for the tools that number them.
        return text.replace("\0", "\ufffd").replace("\r\n", "\n").split("\n")
