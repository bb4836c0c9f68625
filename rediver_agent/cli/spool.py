"""`rediver-agent spool`: what waits for the server, what it refused, and what to do about it."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from rediver_agent.cli.console import console_for
from rediver_agent.cli.delivery import kept_spool
from rediver_agent.cli.options import config_option
from rediver_agent.errors import ConfigurationError
from rediver_agent.masking import printable
from rediver_agent.settings_file import load
from rediver_agent.spool import Entry


@click.group("spool")
def command() -> None:
    """See and mend what waits for the server."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@config_option
def list_entries(as_json: bool, config_file: Path | None) -> None:
    """Show what waits, and what the server refused (parked), with the reason."""
    with kept_spool(load(config_file)) as spool:
        entries = spool.entries()
    if as_json:
        click.echo(json.dumps({"entries": [_row(entry) for entry in entries]}, indent=2))
        return
    if not entries:
        click.echo("nothing waits")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("number", "what", "of", "since", "tries", "state"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        state = f"{'parked' if entry.parked else 'waits'}: {entry.last_error or 'not tried yet'}"
        table.add_row(
            str(entry.seq),
            entry.kind,
            entry.command_id or entry.report_id or "",
            _time(entry.created_at),
            str(entry.attempts),
            printable(state),
        )
    console_for(sys.stdout).print(table)


@command.command("retry")
@config_option
def retry(config_file: Path | None) -> None:
    """Make everything due now, parked rows too; the running agent or the next --push sends it."""
    with kept_spool(load(config_file)) as spool:
        click.echo(f"{spool.retry()} rows are due now")


@command.command("drop")
@click.argument("number", type=click.IntRange(1, 2**63 - 1))  # what SQLite counts
@config_option
def drop(number: int, config_file: Path | None) -> None:
    """Give up a parked row for good."""
    with kept_spool(load(config_file)) as spool:
        if not spool.drop(number):
            raise ConfigurationError(f"no parked row has the number {number}; see `spool list`")
    click.echo(f"row {number} is gone")


def _row(entry: Entry) -> dict[str, object]:
    return {
        "number": entry.seq,
        "kind": entry.kind,
        "command_id": entry.command_id,
        "report_id": entry.report_id,
        "attempts": entry.attempts,
        "state": "parked" if entry.parked else "waiting",
        "error": entry.last_error,
        "created_at": _time(entry.created_at),
        "next_try_at": _time(entry.next_try_at) if entry.next_try_at else None,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
