"""Lines of the scanned source, for findings whose tool does not quote them.

Files are opened below the target's own descriptor, component by component, and no symbolic link is
followed: a report cannot make the agent quote a file that lies elsewhere.
"""

import os
import stat
from pathlib import PurePosixPath
from typing import Final

MAX_FILE_BYTES: Final = 5 << 20  # larger files are data, not source
MAX_LINES: Final = 20
MAX_CHARACTERS: Final = 2000
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class SourceLines:
    """Reads from one target. Findings come file by file, so the last file's lines are kept."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._path: str | None = None
        self._lines: list[str] = []

    def quote(self, path: str, first: int, last: int | None) -> str | None:
        """Lines `first` to `last` (from 1) of a file in the target; None if they are not there."""
        if path != self._path:
            self._path, self._lines = path, self._read(path)
        end = min(max(last or first, first), first + MAX_LINES - 1)
        return "\n".join(self._lines[first - 1 : end])[:MAX_CHARACTERS] or None

    def _read(self, path: str) -> list[str]:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\0" in path:
            return []
        try:
            descriptor = self._open(parts)
        except OSError:
            return []
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_FILE_BYTES:
            os.close(descriptor)
            return []
        with os.fdopen(descriptor, "rb") as file:
            text = file.read(MAX_FILE_BYTES).decode("utf-8", "replace").replace("\0", "\ufffd")
        # Not splitlines(): a form feed ends no line for the tools that number them.
        return text.replace("\r\n", "\n").split("\n")

    def _open(self, parts: tuple[str, ...]) -> int:
        directory = os.dup(self._target)
        try:
            for part in parts[:-1]:
                below = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = below
            return os.open(parts[-1], _FLAGS, dir_fd=directory)
        finally:
            os.close(directory)
