"""Makes one report of the two that a run writes, in one pass over each.

Without a login, semgrep's JSON has a placeholder for the lines of a result and does not say that a
comment silences it; its SARIF, written by the same run in the same order, does. What cannot be
matched stays as it is: open, and without lines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from pydantic_core import to_json

from rediver_agent import Completed, ToolError, items, outline

_KEPT: Final = {
    "version": b'"version":',
    "engine_requested": b'"engine_requested":',
    "results.item": b'"results":[',
    "errors.item": b'"errors":[',
    "paths.scanned.item": b'"paths":{"scanned":[',
    "paths.skipped.item": b'"paths":{"skipped":[',
}
_LISTS: Final = {
    "results": b'"results":%s',
    "errors": b'"errors":%s',
    "paths.scanned": b'"paths":{"scanned":%s}',
}

_MAX_REASON: Final = 1500

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Whole:
    """The one report, and how much there is: rules that were loaded, results, and their flows."""

    path: Path
    rules: int
    results: int
    flows: int


def require_results(report: Path, done: Completed, own: Sequence[str]) -> None:
    """After an exit code other than 0. `ToolError`, with semgrep's reason, if there are none."""
    reason = ""
    if report.is_file() and report.stat().st_size:
        with report.open("rb") as stream:
            if next(items(stream, "results.item"), None) is not None:
                return
            told = [
                _kind(error) if own and _quotes_rules(error) else said(error)
                for error in items(stream, "errors.item")
            ]
            reason = " / ".join(told)
    raise failure(done.exit_code, reason, done.stderr_tail, own)


def failure(exit_code: int | None, reason: str, stderr_tail: str, own: Sequence[str]) -> ToolError:
    """The error of a run that scanned nothing. `own` are the host's rules: a command may name any
    file as such, so what semgrep quotes of them is not repeated.
    """
    sentence = f"semgrep scanned nothing and ended with exit code {exit_code}"
    if not own:
        reason = reason or " / ".join(stderr_tail.strip().splitlines()[-3:])
    sentence += f": {reason[:_MAX_REASON]}" if reason else ""
    if own:
        sentence += f"; `semgrep scan --validate --config={own[0]}` tells what is wrong with a rule"
    return ToolError(sentence, exit_code=exit_code, stderr_tail=stderr_tail)


def said(error: Any) -> str:
    """One of semgrep's `errors` as a line. Its further lines quote the target, and are left out."""
    entry = cast("Object", error) if isinstance(error, dict) else {}
    text = str(entry.get("message") or entry.get("long_msg") or "").strip()
    return f"{_kind(error)}: {text.partition(chr(10))[0]}"[:500]


def _kind(error: Any) -> str:
    kind: Any = cast("Object", error).get("type") if isinstance(error, dict) else None
    if isinstance(kind, list) and kind:
        kind = cast("list[Any]", kind)[0]
    return str(cast("object", kind))[:100]


def _quotes_rules(error: Any) -> bool:
    return _kind(error) == "InvalidRuleSchemaError"


def completed(report: Path, twin: Path) -> Whole:
    """The JSON report, with the quoted lines and the silenced results that its SARIF twin tells.

    It is a new file beside the other two. Raises `ReportUnreadable` where either is not JSON.
    """
    path = report.with_name("completed.json")
    results = flows = 0
    with report.open("rb") as main, twin.open("rb") as sarif, path.open("wb") as out:
        twins = _Twins(sarif)
        writer = _Writer(out)
        for place, value in outline(main, set(_KEPT), set(_LISTS)):
            if place in _LISTS:
                writer.declare(place, value)
            elif place == "results.item":
                results += 1
                whole = _told(value, twins.next())
                flows += _has_flow(whole)
                writer.write(place, whole)
            else:
                writer.write(place, value)
        writer.end()
        rules = twins.rules()
    return Whole(path, rules, results, flows)


class _Twins:
    """The results of the SARIF twin one after the other, and then the number of its rules."""

    def __init__(self, sarif: BinaryIO) -> None:
        self._rules = 0
        self._results = self._read(sarif)

    def _read(self, sarif: BinaryIO) -> Iterator[Any]:
        rule = "runs.item.tool.driver.rules.item"
        for place, value in outline(sarif, {"runs.item.results.item"}, {rule}):
            if place == rule:
                self._rules += 1
            else:
                yield value

    def next(self) -> Any:
        return next(self._results, None)

    def rules(self) -> int:
        for _ in self._results:
            pass
        return self._rules


class _Writer:
    """Writes values as they come; a list that is gone on with later is written as a second one."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._place = ""
        out.write(b'{"completed":true')

    def declare(self, place: str, kind: type[Any]) -> None:
        """That there is a list, if it is one: an empty one has no values that would tell."""
        self._close()
        self._out.write(b"," + _LISTS[place] % (b"[]" if kind is list else b"null"))

    def write(self, place: str, value: Any) -> None:
        if place == self._place and place.endswith(".item"):
            self._out.write(b"," + to_json(value))
            return
        self._close()
        self._out.write(b"," + _KEPT[place] + to_json(value))
        self._place = place

    def end(self) -> None:
        self._close()
        self._out.write(b"}")

    def _close(self) -> None:
        if self._place.endswith(".item"):
            self._out.write(b"]}" if self._place.startswith("paths.") else b"]")
        self._place = ""


def _has_flow(result: Any) -> bool:
    extra = cast("Object", result).get("extra") if isinstance(result, dict) else None
    return isinstance(extra, dict) and "dataflow_trace" in extra


def _told(result: Any, twin: Any) -> Any:
    """The result with what its twin says, if it is its twin."""
    try:
        place = twin["locations"][0]["physicalLocation"]
        region = place["region"]
        theirs = twin["ruleId"], place["artifactLocation"]["uri"], region["startLine"]
        ours = result["check_id"], result["path"], result["start"]["line"]
        lines = region["snippet"]["text"]
        if ours == theirs:
            result["extra"]["lines"] = lines
            result["extra"]["is_ignored"] = bool(twin.get("suppressions"))
    except (LookupError, TypeError, AttributeError):
        return result
    return result
