"""What scans found as one SARIF document, a result at a time: one run a report."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from rediver_agent import __version__
from rediver_agent.cli.baseline import Comparison, state_of
from rediver_agent.contract.findings import Finding, Report
from rediver_agent.contract.results import ResultStatus
from rediver_agent.contract.sarif import Result, document_text, result_of, run_text
from rediver_agent.executor import Outcome
from rediver_agent.handlers.scan_outcome import notices_of
from rediver_agent.spool import Spool

Results = Callable[[str], Iterable[tuple[Finding, Result]]]


def write_sarif(spool: Spool, outcomes: Sequence[Outcome], stream: TextIO) -> None:
    """One document. Memory holds the rules, never the results.

    A scan that failed is a run that says so, with or without results: never a missing one.
    """

    def results(report_id: str) -> Iterator[tuple[Finding, Result]]:
        return ((finding, result_of(finding)) for finding in spool.findings(report_id))

    _write(results, outcomes, stream)


def write_compared_sarif(
    comparison: Comparison, outcomes: Sequence[Outcome], stream: TextIO
) -> None:
    """The same beside a baseline. What is gone is not made up: only who scanned could say so."""

    def results(report_id: str) -> Iterator[tuple[Finding, Result]]:
        for finding in comparison.findings(report_id):
            yield finding, {**result_of(finding), "baselineState": state_of(finding)}

    _write(results, outcomes, stream)


def _write(results: Results, outcomes: Sequence[Outcome], stream: TextIO) -> None:
    stream.writelines(
        document_text(
            _run(results, outcome, report)
            for outcome in outcomes
            for report in outcome.reports or (None,)
        )
    )


def _run(results: Results, outcome: Outcome, report: Report | None) -> Iterator[str]:
    driver = {"name": report.tool.name if report else str(outcome.metadata.get("scanner"))}
    if report and report.tool.version:
        driver["version"] = report.tool.version
    return run_text(
        results(report.metadata.id) if report else (),
        driver,
        extension={"name": "rediver-agent", "version": __version__},
        invocations=[_invocation(outcome)],
    )


def _invocation(outcome: Outcome) -> dict[str, Any]:
    """Whether the scan was whole, and what its tool had to say against it."""
    complaints = [(level, said) for level, said in notices_of(outcome) if level != "info"]
    if outcome.error and not complaints:
        complaints = [("error", outcome.error)]
    return {
        "executionSuccessful": outcome.status is ResultStatus.COMPLETED,
        "toolExecutionNotifications": [
            {"level": level, "message": {"text": said}} for level, said in complaints
        ],
    }
