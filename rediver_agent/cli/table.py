"""Findings for people: the worst first, one line each, and a line that sums up."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rediver_agent.cli.accepted import (
    dropped_sentences,
    notes,
    suppressed_by_enrichers,
    suppressed_in_source,
    suppressed_sentence,
)
from rediver_agent.cli.baseline import NEW, UNCHANGED, Comparison, Findings, state_of
from rediver_agent.cli.console import console_for
from rediver_agent.contract.findings import Finding, Report, Severity, SourceType
from rediver_agent.contract.results import ResultStatus
from rediver_agent.executor import Outcome
from rediver_agent.handlers.scan_outcome import notices_of
from rediver_agent.masking import printable
from rediver_agent.spool import Spool

MOST_ROWS: Final = 200  # more is for `--format json`; the count is always whole
STYLES: Final = {
    Severity.CRITICAL: "bold white on red",
    Severity.HIGH: "bold red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.INFO: "dim",
}
_STATE_STYLES: Final = {NEW: "bold", UNCHANGED: "dim"}

Row = tuple[str, Finding]


def write_table(spool: Spool, outcomes: Sequence[Outcome], stream: TextIO) -> None:
    """Every finding that counts (the 200 worst), then what each scanner came to."""
    console = console_for(stream)
    counts: Counter[Severity] = Counter()
    worst = ranked(_counted(_rows(spool.findings, outcomes), counts))
    if worst:
        console.print(findings_table(worst))
    _print_rest(console, outcomes, counts, len(worst))


def write_compared_table(
    comparison: Comparison, outcomes: Sequence[Outcome], stream: TextIO
) -> None:
    """The same beside a baseline: what is new comes first, and says so."""
    console = console_for(stream)
    counts: Counter[Severity] = Counter()
    rows = _counted(_rows(comparison.findings, outcomes), counts)
    worst = heapq.nsmallest(MOST_ROWS, rows, key=_rank_beside_baseline)
    if worst:
        states = [Text(state_of(finding), _STATE_STYLES[state_of(finding)]) for _, finding in worst]
        console.print(findings_table(worst, states))
    _print_rest(console, outcomes, counts, len(worst))
    console.print(comparison.sentence)


def _rows(findings: Findings, outcomes: Sequence[Outcome]) -> Iterator[Row]:
    return (
        (_found_by(report), finding)
        for outcome in outcomes
        for report in outcome.reports
        for finding in findings(report.metadata.id)
        if finding.suppression is None
    )


def _found_by(report: Report) -> str:
    """The tool; with the asset where it looks into many, as a collector does."""
    if report.metadata.source_type is not SourceType.COLLECTOR or not report.assets:
        return report.tool.name
    return f"{report.tool.name} {report.assets[0].name or report.assets[0].value}"


def _print_rest(
    console: Console, outcomes: Sequence[Outcome], counts: Counter[Severity], shown: int
) -> None:
    if counts.total() > shown:
        console.print(f"… and {counts.total() - shown} more; --format json prints all")
    console.print(_headline(counts, outcomes))
    for outcome in outcomes:
        console.print(_scanner_line(outcome))
    if suppressed := suppressed_sentence(outcomes):
        console.print(suppressed)
    for dropped in dropped_sentences(outcomes):
        console.print(printable(dropped))
    for note in notes(outcomes):
        console.print(f"  {printable(note)}")


def findings_table(rows: Iterable[Row], states: Sequence[Text] = ()) -> Table:
    """Severity, tool, rule, place, and what it is about; `states` is a column before them."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    if states:
        table.add_column("baseline", no_wrap=True)
    table.add_column("severity", no_wrap=True)
    table.add_column("scanner", no_wrap=True)
    table.add_column("rule", overflow="fold", max_width=36)
    table.add_column("place", overflow="fold", max_width=44)
    table.add_column("finding", overflow="ellipsis", no_wrap=True, ratio=1)
    for number, (tool, finding) in enumerate(rows):
        table.add_row(
            *states[number : number + 1],
            Text(finding.severity.value, STYLES[finding.severity]),
            printable(tool),
            printable(finding.rule_id or ""),
            printable(place(finding)),
            printable(" ".join(finding.title.split())),
        )
    return table


def ranked(rows: Iterable[Row]) -> list[Row]:
    """The worst findings first, by scanner and place within a severity; the 200 worst."""
    return heapq.nsmallest(MOST_ROWS, rows, key=_rank)


def tally(rows: Iterable[Row]) -> Counter[Severity]:
    """How many findings of each severity."""
    return Counter(finding.severity for _, finding in rows)


def place(finding: Finding) -> str:
    """`path:line`, as far as it is known."""
    location = finding.location
    if location is None or not location.path:
        return ""
    return f"{location.path}:{location.start_line}" if location.start_line else location.path


def summary(counts: Counter[Severity]) -> Text:
    """`58 findings: 3 critical, …`, each number in its colour."""
    total = counts.total()
    text = Text(f"{total} finding{'' if total == 1 else 's'}", style="bold")
    for number, severity in enumerate(s for s in reversed(Severity) if counts[s]):
        text.append(": " if number == 0 else ", ", style="default")
        text.append(f"{counts[severity]} {severity.value}", style=STYLES[severity])
    return text


def _counted(rows: Iterable[Row], counts: Counter[Severity]) -> Iterable[Row]:
    for row in rows:
        counts[row[1].severity] += 1
        yield row


def _rank(row: Row) -> tuple[int, str, str, int]:
    tool, finding = row
    line = (finding.location.start_line if finding.location else None) or 0
    return -finding.severity.rank, tool, place(finding).rpartition(":")[0], line


def _rank_beside_baseline(row: Row) -> tuple[bool, tuple[int, str, str, int]]:
    return state_of(row[1]) != NEW, _rank(row)


def _headline(counts: Counter[Severity], outcomes: Sequence[Outcome]) -> Text:
    """The summary; with a failed scan it is not left to stand alone, since it proves nothing."""
    failed = sum(outcome.status is not ResultStatus.COMPLETED for outcome in outcomes)
    text = summary(counts)
    if failed:
        text.append(f"  INCOMPLETE: {failed} of {len(outcomes)} failed", style="bold red")
    return text


def _scanner_line(outcome: Outcome) -> Text:
    name = str(outcome.metadata.get("scanner") or "scan")
    version = outcome.metadata.get("scanner_version")
    who = f"{name} {version}" if version else name
    if outcome.status is not ResultStatus.COMPLETED:
        reason = outcome.metadata.get("reason", "failed")
        return Text(printable(f"  {who}: {reason}, NOT a clean result"), style="bold red")
    notes = [f"{outcome.findings_count} found"]
    if suppressed := suppressed_in_source(outcome):
        notes.append(f"{suppressed} suppressed in the source")
    if suppressed := suppressed_by_enrichers(outcome):
        notes.append(f"{suppressed} suppressed by enrichers")
    if outcome.metadata.get("coverage") == "partial":
        notes.append(f"NOT everything was looked at: {first_complaint(outcome)}")
        return Text(printable(f"  {who}: {', '.join(notes)}"), style="yellow")
    return Text(printable(f"  {who}: {', '.join(notes)}"), style="green")


def first_complaint(outcome: Outcome) -> str:
    """The first thing that the tool, or its reader, has to say against the report."""
    complaints = [said for level, said in notices_of(outcome) if level != "info"]
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return (complaints[0] if complaints else "see the log") + more
