"""What scans found as one SARIF document, a result at a time: one run a report."""

from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from rediver_agent import __version__
from rediver_agent.contract.findings import Report
from rediver_agent.contract.results import ResultStatus
from rediver_agent.contract.sarif import document_text, result_of, run_text
from rediver_agent.executor import Outcome
from rediver_agent.handlers.scan_outcome import notices_of
from rediver_agent.spool import Spool


def write_sarif(spool: Spool, outcomes: Sequence[Outcome], stream: TextIO) -> None:
    """One document. Memory holds the rules, never the results.

    A scan that failed is a run that says so, with or without results: never a missing one.
    """
    stream.writelines(
        document_text(
            _run(spool, outcome, report)
            for outcome in outcomes
            for report in outcome.reports or (None,)
        )
    )


def _run(spool: Spool, outcome: Outcome, report: Report | None) -> Iterator[str]:
    findings = spool.findings(report.metadata.id) if report else ()
    driver = {"name": report.tool.name if report else str(outcome.metadata.get("scanner"))}
    if report and report.tool.version:
        driver["version"] = report.tool.version
    return run_text(
        ((finding, result_of(finding)) for finding in findings),
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
