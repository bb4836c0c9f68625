"""Whether parsers keep their promises."""

from collections.abc import Collection, Mapping
from typing import Final

from rediver_agent.contract.findings import Asset, Finding
from rediver_agent.errors import ReportUnreadable
from rediver_agent.interfaces import Notice, ParseEvent, Parser
from rediver_agent.testing._checks import check_event, check_instance, check_model, check_name, fail
from rediver_agent.testing._contexts import parse

HOSTILE: Final[Mapping[str, bytes]] = {
    "an empty report": b"",
    "blank space": b" \n\t\n",
    "bytes that mean nothing": bytes(range(256)) * 4,
    "an HTML page": b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
    "a sentence": b"FATAL: out of memory\n",
}


def check_parser(parser: Parser, sample: bytes, *, secrets: Collection[str] = ()) -> None:
    """What every parser must do. `sample` has findings; none of `secrets` may show in an event."""
    check_instance(parser, Parser)
    check_name(getattr(parser, "format", None))
    if parser.options is not None:
        check_model("options", parser.options)
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
