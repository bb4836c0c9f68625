"""Whether scanners and parsers keep their promises."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from rediver_agent.contract.findings import Asset, Finding
from rediver_agent.errors import CommandError, ReportUnreadable, ToolError, ToolMissing
from rediver_agent.interfaces import AnyScanner, Notice, ParseEvent, Parser, ScanReport
from rediver_agent.testing._checks import check_event, check_name_and_options, fail
from rediver_agent.testing._contexts import FakeScanContext, Recorded, parse, scan

HOSTILE: Final[Mapping[str, bytes]] = {
    "an empty report": b"",
    "blank space": b" \n\t\n",
    "bytes that mean nothing": bytes(range(256)) * 4,
    "an HTML page": b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
    "a sentence": b"FATAL: out of memory\n",
}
_UNUSED_EXIT_CODE: Final = 113


def check_scanner(scanner: AnyScanner, recorded: Recorded, directory: Path, **options: Any) -> None:
    """What every scanner must do. `recorded` is a run that ends well; `directory` is for files."""
    _check_declaration(scanner)
    number = count()

    def play(changed: Recorded) -> ScanReport:
        return scan(scanner, FakeScanContext(directory / f"run-{next(number)}", changed), **options)

    report = play(recorded)
    if not report.path.is_file() or not report.format:
        fail("scan() returns ctx.parse(report, format): the report's file, and its parser's name")
    _must_raise(lambda: play({}), ToolMissing, f"{scanner.program} is missing: let ToolMissing go")

    def worse(**change: Any) -> Recorded:
        return {
            name: replace(played, **change) if played.files else played
            for name, played in recorded.items()
        }

    ended = worse(exit_code=_UNUSED_EXIT_CODE)
    _must_raise(lambda: play(ended), ToolError, "name the exit codes that mean a whole run in `ok`")
    for files, what in (({}, "no report"), (_emptied(recorded), "an empty report")):
        changed = worse(files=files)
        _must_raise(
            partial(play, changed), CommandError, f"{what} is no clean scan: use ctx.parse()"
        )


def check_parser(parser: Parser, sample: bytes, *, secrets: Collection[str] = ()) -> None:
    """What every parser must do. `sample` has findings; none of `secrets` may show in an event."""
    if not parser.sniff(sample[:65536]):
        fail("sniff() says no to the sample: look for keys that only this format has")
    first = parse(parser, sample)
    for event in first:
        if isinstance(event, Asset):
            fail("parse() yields an Asset: a report's asset is what was scanned")
        check_event(event, secrets)
    if not any(isinstance(event, Finding) for event in first):
        fail("the sample has no findings: give check_parser a report that has some")
    if parse(parser, sample) != first:
        fail("parse() says something else the second time: keep no state between two calls")
    for what, report in HOSTILE.items():
        if parser.sniff(report):
            fail(f"sniff() says yes to {what}")
        if _parsed(parser, report, what) is not None:
            fail(f"parse() takes {what} for a report: raise ReportUnreadable")
    _check_incomplete(parser, b"null", "the document `null`", {"error", "warning"})
    body = sample.rstrip()
    for end in (len(body) // 4, len(body) // 2, len(body) * 3 // 4, len(body) - 1):
        _check_incomplete(parser, body[:end], f"a report cut off after {end} bytes", {"error"})


def _check_declaration(scanner: AnyScanner) -> None:
    check_name_and_options(scanner)
    if not scanner.program:
        fail("program is empty: name what must be on PATH")
    try:
        scanner.options()
    except ValidationError as fault:
        fail(f"options() must be valid: give every option a default ({fault})")


def _check_incomplete(parser: Parser, report: bytes, what: str, levels: Collection[str]) -> None:
    events = _parsed(parser, report, what)
    if events is not None and not any(
        isinstance(event, Notice) and event.level in levels for event in events
    ):
        fail(f"parse() takes {what} for a whole one: raise ReportUnreadable, or yield a Notice")


def _parsed(parser: Parser, report: bytes, what: str) -> list[ParseEvent] | None:
    try:
        return parse(parser, report)
    except ReportUnreadable:
        return None
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything else is its fault
        fail(f"parse() raises {fault!r} for {what}: raise ReportUnreadable")


def _must_raise(act: Callable[[], object], kind: type[CommandError], advice: str) -> None:
    try:
        act()
    except kind:
        return
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything else is its fault
        fail(f"scan() raises {fault!r}, not {kind.__name__}: {advice}")
    fail(f"scan() goes on where it should raise {kind.__name__}: {advice}")


def _emptied(recorded: Recorded) -> dict[str, bytes]:
    return {name: b"" for played in recorded.values() for name in played.files}
