"""What a run of gitleaks says beside its report: gitleaks ends with 0 although git failed.

Its log also says how much it looked at: nothing at all is no clean scan. A configuration may be any
file of the host, so what the log quotes of it is not repeated.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from rediver_agent import Completed, Notice, ToolError, items
from rediver_gitleaks._config import files_of
from rediver_gitleaks._options import Options
from rediver_gitleaks._target import LINK

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_LINE: Final = re.compile(r"\S+ (ERR|FTL|WRN) (.+)")
_OURS: Final = re.compile(rf"/\S*/{LINK}/")
_COMMITS: Final = re.compile(r"\S+ INF (\d+) commits scanned")
_BYTES: Final = re.compile(r"\S+ INF scanned ~(\d+) bytes")
_TOO_LARGE: Final = "skipping file: too large"
_MAX_LOG: Final = 16 << 20  # characters; of a longer log its end is read, too
_TOLD: Final = 20  # complaints that are told one by one
_QUOTED: Final = re.compile(r"""\s[\w-]+=(?!\S*$)?.*""")


def require_leaks(report: Path, done: Completed) -> None:
    """After exit code 1: it found leaks before it failed. `ToolError` if not, with its reason."""
    if report.is_file() and report.stat().st_size:
        with report.open("rb") as stream:
            if next(items(stream, "item"), None) is not None:
                return
    reason = " / ".join(line for line in _lines(done)[-3:])
    raise ToolError(
        f"gitleaks failed: {reason}", exit_code=done.exit_code, stderr_tail=done.stderr_tail
    )


def rules_hash(options: Options) -> str:
    """Names the rule set: a configuration by its content, gitleaks' own and a repository's not."""
    own = b"the repository's" if options.honour_repository_config else b"gitleaks'"
    files = files_of(options.config) if options.config else []
    rules = b"".join(file.read_bytes() for file in files) or own
    return hashlib.sha256(rules).hexdigest()[:32]


def looked_at(done: Completed) -> dict[str, JsonValue]:
    """How many bytes and commits gitleaks says that it scanned."""
    found: dict[str, JsonValue] = {}
    for line in _lines(done):
        for key, pattern in (("commits_scanned", _COMMITS), ("bytes_scanned", _BYTES)):
            if said := pattern.match(line):
                found[key] = int(said[1])
    return found


def complaints(done: Completed) -> Iterator[Notice]:
    """A notice for whatever was not looked at."""
    if done.exit_code == 1:
        yield Notice("error", "gitleaks stopped early; the leaks that it had found are kept")
    told = [found for line in _lines(done) if (found := _LINE.match(line))]
    large = [said for said in told if said[2].startswith(_TOO_LARGE)]
    others = [said for said in told if said not in large and not said[2].startswith("leaks found")]
    for said in others[:_TOLD]:
        yield Notice("warning" if said[1] == "WRN" else "error", f"gitleaks: {said[2]}"[:2000])
    if len(others) > _TOLD:
        level = "error" if any(said[1] != "WRN" for said in others[_TOLD:]) else "warning"
        yield Notice(level, f"gitleaks told {len(others) - _TOLD} more problems")
    if large:
        said = f"{len(large)} or more files were left out, as max_target_megabytes asks for"
        yield Notice("info", said)
    scanned = looked_at(done)
    if 0 in (scanned.get("commits_scanned"), scanned.get("bytes_scanned")) and not others:
        what = "commit" if scanned.get("commits_scanned") == 0 else "file with anything in it"
        yield Notice("warning", f"gitleaks scanned no {what}: nothing was looked at")


def _lines(done: Completed) -> list[str]:
    with done.stderr.open(encoding="utf-8", errors="replace") as stream:
        told = stream.read(_MAX_LOG)
    whole = told if len(told) < _MAX_LOG else told + done.stderr_tail
    text = _OURS.sub("", _COLOUR.sub("", whole))
    return [line.strip() for line in text.splitlines() if line.strip()]
