"""What a run of gitleaks says beside its report: gitleaks ends with 0 although git failed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rediver_agent import Completed, Notice, ToolError, items
from rediver_gitleaks._target import LINK

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_LINE: Final = re.compile(r"\S+ (ERR|FTL|WRN) (.+)")
_OURS: Final = re.compile(rf"/\S*/{LINK}/")


def require_leaks(report: Path, done: Completed) -> None:
    """After exit code 1: it found leaks before it failed. `ToolError` if not, with its reason."""
    if report.is_file() and report.stat().st_size:
        with report.open("rb") as stream:
            if next(items(stream, "item"), None) is not None:
                return
    reason = " / ".join(_lines(done)[-3:])
    raise ToolError(
        f"gitleaks failed: {reason}", exit_code=done.exit_code, stderr_tail=done.stderr_tail
    )


def complaints(done: Completed) -> Iterator[Notice]:
    """A notice for whatever was not looked at."""
    if done.exit_code == 1:
        yield Notice("error", "gitleaks stopped early; the leaks that it had found are kept")
    for line in _lines(done):
        told = _LINE.match(line)
        if told and not told[2].startswith("leaks found"):
            yield Notice("warning" if told[1] == "WRN" else "error", f"gitleaks: {told[2]}")


def _lines(done: Completed) -> list[str]:
    text = _OURS.sub("", _COLOUR.sub("", done.stderr_tail))
    return [line.strip() for line in text.splitlines() if line.strip()]
