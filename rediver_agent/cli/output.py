"""What `scan` and `import` print: a table for people, the contract's JSON or SARIF for machines."""

import io
import json
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

import click

from rediver_agent.cli.accepted import dropped_sentences, notes
from rediver_agent.cli.baseline import Comparison, Findings
from rediver_agent.cli.sarif_output import write_compared_sarif, write_sarif
from rediver_agent.cli.table import write_compared_table, write_table
from rediver_agent.contract.base import dump
from rediver_agent.contract.findings import Finding, Report, Severity
from rediver_agent.contract.results import ResultStatus
from rediver_agent.errors import ConfigurationError
from rediver_agent.executor import Outcome
from rediver_agent.masking import printable
from rediver_agent.spool import Spool


def write_reports(
    spool: Spool,
    outcomes: Sequence[Outcome],
    format_name: str,
    output: Path | None,
    comparison: Comparison | None = None,
) -> None:
    """Print what was found; failures are sentences on stderr, whatever the format.

    Raises `ConfigurationError` if `output` cannot be written, a full disk included.
    """
    for outcome in outcomes:
        if outcome.status is not ResultStatus.COMPLETED:
            click.echo(printable(f"{outcome.metadata.get('scanner')}: {outcome.error}"), err=True)
    for tool in comparison.unknown_tools if comparison else ():
        said = f"the baseline has no report of {tool}: all that it found is new"
        click.echo(printable(said), err=True)
    for tool in sorted(comparison.absent_tools) if comparison else ():
        click.echo(printable(f"the baseline has a report of {tool}, and here is none"), err=True)
    reports = [report for outcome in outcomes for report in outcome.reports]
    if format_name != "table":  # JSON is UTF-8 whatever the locale
        cast("io.TextIOWrapper", sys.stdout).reconfigure(encoding="utf-8")
        for note in (*dropped_sentences(outcomes), *notes(outcomes)):
            click.echo(printable(note), err=True)
        if comparison:
            click.echo(comparison.sentence, err=True)
    with _written(output) as stream:
        if format_name == "json":
            _write_json(comparison.findings if comparison else spool.findings, reports, stream)
        elif comparison:
            write = write_compared_sarif if format_name == "sarif" else write_compared_table
            write(comparison, outcomes, stream)
        else:
            write_alone = write_sarif if format_name == "sarif" else write_table
            write_alone(spool, outcomes, stream)


def exit_code(
    outcomes: Sequence[Outcome], fail_on: str | None, comparison: Comparison | None = None
) -> int:
    """2 if anything failed, else 1 if a finding is as severe as `fail_on`, else 0.

    Beside a baseline only what is new counts.
    """
    if any(outcome.status is not ResultStatus.COMPLETED for outcome in outcomes):
        return 2
    if fail_on is None:
        return 0
    limit = Severity(fail_on)
    if comparison:
        return int(any(severity >= limit for severity in comparison.new))
    for outcome in outcomes:
        counts = outcome.metadata.get("findings_by_severity")
        if isinstance(counts, dict) and any(
            count and Severity(severity) >= limit for severity, count in counts.items()
        ):
            return 1
    return 0


@contextmanager
def _written(output: Path | None) -> Generator[TextIO]:
    try:
        if output is None:
            yield sys.stdout
            sys.stdout.flush()
        else:
            with output.open("w", encoding="utf-8") as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as fault:
        why = (fault.strerror or str(fault)).lower()
        raise ConfigurationError(
            f"{output or 'stdout'} cannot be written: {why}; free space or name another --output"
        ) from fault


def _write_json(findings: Findings, reports: Sequence[Report], stream: TextIO) -> None:
    """`{"reports": [report, …]}`, a finding at a time."""
    stream.write('{"reports": [')
    for number, report in enumerate(reports):
        header = dump(report)
        header.pop("findings", None)
        stream.write(",\n" if number else "\n")
        stream.write(json.dumps(header, ensure_ascii=False)[:-1])
        stream.write(', "findings": [')
        stream.writelines(_separated(findings(report.metadata.id)))
        stream.write("]}")
    stream.write("]}\n")


def _separated(findings: Iterable[Finding]) -> Iterator[str]:
    for number, finding in enumerate(findings):
        text = finding.model_dump_json(exclude_none=True, exclude_defaults=True)
        yield f"{',' if number else ''}\n{text}"
