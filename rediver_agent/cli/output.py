"""What `scan` and `import` print: a table for people, the contract's JSON or SARIF for machines."""

import io
import json
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

import click

from rediver_agent.cli.sarif_output import write_sarif
from rediver_agent.cli.table import write_table
from rediver_agent.contract.base import dump
from rediver_agent.contract.findings import Report, Severity
from rediver_agent.contract.results import ResultStatus
from rediver_agent.errors import ConfigurationError
from rediver_agent.executor import Outcome
from rediver_agent.masking import printable
from rediver_agent.spool import Spool


def write_reports(
    spool: Spool, outcomes: Sequence[Outcome], format_name: str, output: Path | None
) -> None:
    """Print what was found; failures are sentences on stderr, whatever the format.

    Raises `ConfigurationError` if `output` cannot be written, a full disk included.
    """
    for outcome in outcomes:
        if outcome.status is not ResultStatus.COMPLETED:
            click.echo(printable(f"{outcome.metadata.get('scanner')}: {outcome.error}"), err=True)
    reports = [report for outcome in outcomes for report in outcome.reports]
    if format_name != "table":  # JSON is UTF-8 whatever the locale
        cast("io.TextIOWrapper", sys.stdout).reconfigure(encoding="utf-8")
    with _written(output) as stream:
        if format_name == "json":
            _write_json(spool, reports, stream)
        elif format_name == "sarif":
            write_sarif(spool, outcomes, stream)
        else:
            write_table(spool, outcomes, stream)


def exit_code(outcomes: Sequence[Outcome], fail_on: str | None) -> int:
    """2 if anything failed, else 1 if a finding is as severe as `fail_on`, else 0."""
    if any(outcome.status is not ResultStatus.COMPLETED for outcome in outcomes):
        return 2
    if fail_on is None:
        return 0
    limit = Severity(fail_on)
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


def _write_json(spool: Spool, reports: Sequence[Report], stream: TextIO) -> None:
    """`{"reports": [report, …]}`, a finding at a time."""
    stream.write('{"reports": [')
    for number, report in enumerate(reports):
        header = dump(report)
        header.pop("findings", None)
        stream.write(",\n" if number else "\n")
        stream.write(json.dumps(header, ensure_ascii=False)[:-1])
        stream.write(', "findings": [')
        stream.writelines(_separated(spool, report))
        stream.write("]}")
    stream.write("]}\n")


def _separated(spool: Spool, report: Report) -> Iterator[str]:
    for number, finding in enumerate(spool.findings(report.metadata.id)):
        text = finding.model_dump_json(exclude_none=True, exclude_defaults=True)
        yield f"{',' if number else ''}\n{text}"
