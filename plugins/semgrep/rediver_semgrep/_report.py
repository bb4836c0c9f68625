"""Makes one report of the two that a run writes.

Without a login, semgrep's JSON has a placeholder for the lines of a result and does not say that a
comment silences it; its SARIF, written by the same run in the same order, does. What cannot be
matched stays as it is: open, and without lines.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

from rediver_agent import Completed, ToolError, items


def require_results(report: Path, done: Completed) -> None:
    """After an exit code other than 0. `ToolError`, with semgrep's reason, if there are none."""
    reason = ""
    if report.is_file() and report.stat().st_size:
        with report.open("rb") as stream:
            if next(items(stream, "results.item"), None) is not None:
                return
            reason = " / ".join(map(said, items(stream, "errors.item")))
    reason = reason or " / ".join(done.stderr_tail.strip().splitlines()[-3:])
    raise ToolError(
        f"semgrep scanned nothing and ended with exit code {done.exit_code}: {reason}",
        exit_code=done.exit_code,
        stderr_tail=done.stderr_tail,
    )


def said(error: Any) -> str:
    """One of semgrep's `errors` as a line. Its further lines quote the target, and are left out."""
    entry = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
    kind = entry.get("type")
    if isinstance(kind, list) and kind:
        kind = cast("list[Any]", kind)[0]
    text = str(entry.get("message") or entry.get("long_msg") or "").strip()
    return f"{kind}: {text.partition(chr(10))[0]}"[:500]


def completed(report: Path, twin: Path) -> Path:
    """The JSON report, with the quoted lines and the silenced results that its SARIF twin tells.

    Returns a new file beside it. Raises `ReportUnreadable` where either is not JSON.
    """
    whole = report.with_name("completed.json")
    with (
        report.open("rb") as header,
        report.open("rb") as results,
        twin.open("rb") as sarif,
        whole.open("w") as out,
    ):
        pairs = zip_longest(items(results, "results.item"), items(sarif, "runs.item.results.item"))
        out.write('{"version":' + json.dumps(next(items(header, "version"), None)))
        out.writelines(_array("results", (_told(*pair) for pair in pairs if pair[0] is not None)))
        out.writelines(_array("errors", items(header, "errors.item")))
        out.write(',"paths":{"scanned":[]')
        out.writelines(_array("skipped", items(header, "paths.skipped.item")))
        out.write("}}")
    return whole


def _array(name: str, values: Iterable[Any]) -> Iterator[str]:
    yield f',"{name}":['
    for number, value in enumerate(values):
        yield ("," if number else "") + json.dumps(value)
    yield "]"


def _told(result: dict[str, Any], twin: dict[str, Any] | None) -> dict[str, Any]:
    """The result with what its twin says, if it is its twin."""
    try:
        place = cast("dict[str, Any]", twin)["locations"][0]["physicalLocation"]
        region = place["region"]
        theirs = (twin or {})["ruleId"], place["artifactLocation"]["uri"], region["startLine"]
        ours = result["check_id"], result["path"], result["start"]["line"]
        lines = region["snippet"]["text"]
        if ours == theirs:
            result["extra"]["lines"] = lines
            result["extra"]["is_ignored"] = bool((twin or {}).get("suppressions"))
    except (LookupError, TypeError):
        return result
    return result
