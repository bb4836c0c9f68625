"""Reads a SARIF report twice: what its runs say, then their results, one at a time.

Only one result and a few hundred rules are in memory, however long the report is. Raises
`ReportUnreadable` and nothing else; a result that cannot be read costs itself and a notice.
"""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from typing import Any, BinaryIO, Final

from pydantic import ValidationError

from rediver_agent import Notice, ParseEvent, ReportUnreadable, items
from rediver_agent.contract import Finding
from rediver_sarif._outline import RESULTS, Outline, read_outline
from rediver_sarif._plain import Result
from rediver_sarif._quick import QuickFindings
from rediver_sarif._run import Run
from rediver_sarif._store import Store
from rediver_sarif._values import table

_NOT_READ: Final = object()
_CHANGED: Final = "the report changed while it was read: has its tool ended?"


def parse(stream: BinaryIO) -> Generator[ParseEvent]:
    """The events of a report: for each run its tool, its notices, its findings."""
    try:
        with closing(Store()) as store:
            outline = read_outline(stream, store)
            yield from _of_document(outline)
            yield from _of_runs(outline, items(stream, RESULTS, into=Result))
    except sqlite3.Error as fault:
        raise ReportUnreadable(
            f"the report's rules cannot be kept in a temporary file: {fault}; is TMPDIR full?"
        ) from fault


def _of_document(outline: Outline) -> Iterator[Notice]:
    if not outline.runs:
        yield Notice("warning", "the report has no runs: nothing says that a tool looked")
    if outline.inline_results:
        yield Notice("warning", f"{outline.inline_results} inline external results are not read")


def _of_runs(outline: Outline, results: Iterator[Any]) -> Iterator[ParseEvent]:
    several = len({run.tool.name for run in outline.runs}) > 1
    for run in outline.runs:
        yield run.tool
        yield from run.notices()
        yield from _of_run(run, QuickFindings(run, several=several), islice(results, run.results))
    if next(results, results) is not results:
        raise ReportUnreadable(_CHANGED)


def _of_run(run: Run, findings: QuickFindings, results: Iterator[Any]) -> Iterator[ParseEvent]:
    number = unreadable = first = 0
    for number, result in enumerate(results, 1):
        try:
            if isinstance(result, Result):
                finding = findings.of_plain(result)
            else:
                finding = findings.of(table(result)) if isinstance(result, dict) else _NOT_READ
        except (ValidationError, RecursionError):  # too deep where nothing is read, but copied
            finding = _NOT_READ
        if isinstance(finding, Finding):
            yield finding
        elif finding is _NOT_READ:
            unreadable += 1
            first = first or number
    if number != run.results:
        raise ReportUnreadable(_CHANGED)
    if unreadable:
        yield Notice(
            "warning",
            f"{unreadable} of {run.results} results of {run.label} cannot be read, the first of "
            f"them number {first}: the others are reported",
        )
