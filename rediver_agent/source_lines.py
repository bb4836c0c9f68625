"""Lines of the scanned source, for findings whose tool does not quote them.

Files are opened below the target's own descriptor, component by component, and no symbolic link is
followed: a report cannot make the agent quote a file that lies elsewhere.
"""

from typing import Final

from rediver_agent.below import read_file

MAX_FILE_BYTES: Final = 5 << 20  # larger files are data, not source
MAX_LINES: Final = 20
MAX_CHARACTERS: Final = 2000


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
        try:
            text = read_file(self._target, path, MAX_FILE_BYTES).decode("utf-8", "replace")
        except OSError:
            return []
        # Not splitlines(): a form feed ends no line for the tools that number them.
        return text.replace("\0", "\ufffd").replace("\r\n", "\n").split("\n")
