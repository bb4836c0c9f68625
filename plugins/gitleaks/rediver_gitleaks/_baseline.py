"""What an earlier report had is accepted: it is kept, and marked, so that no one misses it.

gitleaks itself would leave it out without a word, and would not recognise it in a folder that it
scans by another name. As there, a leak is known by its rule, file, place and commit: one that has
moved to another line is a new one.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import AfterValidator
from pydantic_core import to_json

from rediver_agent import ReportUnreadable, ToolError, items, outline
from rediver_gitleaks._target import below_target

BASELINE: Final = "rediver_baseline"
"""The key that marks an entry of a report as known."""
MAX_ENTRIES: Final = 200_000  # of a baseline; each is 8 bytes and a place in a set

_PLACES: Final = ("RuleID", "Commit", "StartLine", "EndLine", "StartColumn", "EndColumn")


def _baseline(name: str) -> str:
    path = Path(name).absolute()
    if not path.is_file():
        raise ValueError(f"{name!r} is no file on the agent's host")
    return str(path)


Baseline = Annotated[str, AfterValidator(_baseline)]
"""The path of a report that is there, absolute."""


def known_leaks(baseline: str) -> frozenset[bytes]:
    """What is in a baseline. `ToolError` where it is no report, or too large a one."""
    known: set[bytes] = set()
    try:
        for entry in _entries(Path(baseline)):
            known.add(_identity(entry))
            if len(known) > MAX_ENTRIES:
                raise ToolError(f"the baseline {baseline} has more than {MAX_ENTRIES:,} leaks")
    except (ReportUnreadable, OSError) as fault:
        raise ToolError(f"the baseline {baseline} cannot be used: {fault}") from fault
    return frozenset(known)


def marked(report: Path, known: frozenset[bytes]) -> Path:
    """The report with a mark on what is known: a new file beside it."""
    whole = report.with_name("marked.json")
    with report.open("rb") as stream, whole.open("wb") as out:
        out.write(b"[")
        for number, entry in enumerate(items(stream, "item")):
            out.write(b"," if number else b"")
            if isinstance(entry, dict) and _identity(cast("dict[str, Any]", entry)) in known:
                entry[BASELINE] = True
            out.write(to_json(entry))
        out.write(b"]")
    return whole


def _entries(baseline: Path) -> Iterator[dict[str, Any]]:
    with baseline.open("rb") as stream:
        for place, value in outline(stream, {"item"}, {""}):
            if place and isinstance(value, dict) and "RuleID" in value:
                yield cast("dict[str, Any]", value)
            elif place or value is not list:
                raise ReportUnreadable("it is no JSON report of gitleaks")


def _identity(entry: dict[str, Any]) -> bytes:
    file = below_target(str(entry.get("File", ""))).removeprefix("./")
    parts = [file, *(str(entry.get(key, "")) for key in _PLACES)]
    return hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=8).digest()
