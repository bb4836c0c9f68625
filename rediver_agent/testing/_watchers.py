"""Whether enrichers and observers keep their promises."""

import inspect
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import anyio
from pydantic import ValidationError

from rediver_agent.contract.findings import Finding, FindingType, Location, Severity
from rediver_agent.contract.results import CommandResult, ResultStatus
from rediver_agent.interfaces import AnyEnricher, AnyObserver, Enricher, ObservedCommand, Observer
from rediver_agent.testing._checks import (
    check_async,
    check_name_and_options,
    fail,
    valid_options,
)

_THEN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_BARE: Final = [
    Finding(type=kind, title="a thing", severity=severity)
    for kind in FindingType
    for severity in Severity
]
_PLACED: Final = Finding(
    type=FindingType.VULNERABILITY,
    title="a thing in a file",
    severity=Severity.HIGH,
    rule_id="rule",
    message="It is in a file.",
    location=Location(path="src/app.py", start_line=1, snippet="eval(x)"),
    tags=["security"],
)
SAMPLES: Final[Sequence[Finding]] = (*_BARE, _PLACED)
"""Findings with as little in them as there may be, of each kind and severity; and one with more."""


def check_enricher(enricher: AnyEnricher, findings: Sequence[Finding] = (), **options: Any) -> None:
    """What every enricher must do: with `findings`, and with those that have little in them."""
    check_name_and_options(enricher, Enricher)
    valid = valid_options(enricher, options)
    for finding in (*findings, *SAMPLES):
        before = finding.model_dump_json()
        answer = _enriched(enricher, Finding.model_validate_json(before), valid)
        if answer is not None:
            _check_enriched(answer, finding)
        if _enriched(enricher, Finding.model_validate_json(before), valid) != answer:
            fail("enrich() says something else the second time: keep no state between two calls")


def _enriched(enricher: AnyEnricher, finding: Finding, options: Any) -> Finding | None:
    try:
        answer = cast("object", enricher.enrich(finding, options))
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything is its fault
        fail(f"enrich() raises {fault!r} for {finding.model_dump_json(exclude_defaults=True)}")
    if inspect.iscoroutine(answer):
        answer.close()
        fail("enrich() is async: write it as `def enrich`, it is called in worker threads")
    if answer is not None and not isinstance(answer, Finding):
        fail(f"enrich() returns a {type(answer).__name__}: return a Finding, or None to drop it")
    return answer


def _check_enriched(answer: Finding, finding: Finding) -> None:
    try:
        Finding.model_validate(answer.model_dump(warnings="none"))
    except ValidationError as fault:
        fail(f"enrich() returns a finding that is not valid: {fault}")
    if answer.fingerprint != finding.fingerprint:
        fail("enrich() sets a fingerprint: leave it, the agent sets it from what the tool said")


def check_observer(observer: AnyObserver, **options: Any) -> None:
    """What every observer must do: commands of all kinds begin, and end in all ways."""
    check_name_and_options(observer, Observer)
    check_async(observer, "started")
    check_async(observer, "finished")
    valid = valid_options(observer, options)
    anyio.run(_check_told, observer, valid)


async def _check_told(observer: AnyObserver, options: Any) -> None:
    for number, status in enumerate(ResultStatus):
        command = ObservedCommand(
            f"cmd_{number}", "scan", number or None, commanded=bool(number), started_at=_THEN
        )
        result = CommandResult(
            status=status,
            completed_at=_THEN,
            findings_count=number or None,
            error=None if status is ResultStatus.COMPLETED else "it did not work",
            metadata={},
        )
        await _told("started", observer.started(command, options))
        await _told("finished", observer.finished(command, result, options))


async def _told(what: str, answer: Awaitable[None]) -> None:
    try:
        await answer
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything is its fault
        fail(f"{what}() raises {fault!r}: catch what may go wrong, and log it")
