"""`rediver-agent reports`: what the agent here did by itself, kept whether a server has it or not.

A failed run is shown as one, in its own words; a clean one with its age: an old clean is no clean.
"""

import json
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.table import Table
from rich.text import Text

from rediver_agent.agent import utc_now
from rediver_agent.cli.console import console_for
from rediver_agent.cli.delivery import kept_spool
from rediver_agent.cli.options import FORMATS, config_option
from rediver_agent.cli.output import exit_code, write_reports
from rediver_agent.cli.status_table import span
from rediver_agent.cli.table import summary
from rediver_agent.contract.findings import Severity
from rediver_agent.contract.results import CommandResult, ResultStatus
from rediver_agent.cron import next_after
from rediver_agent.durations import format_duration
from rediver_agent.errors import ConfigurationError
from rediver_agent.executor import Outcome
from rediver_agent.masking import printable
from rediver_agent.settings import Settings
from rediver_agent.settings_file import load
from rediver_agent.spool import LocalRun, LocalWork, Spool
from rediver_agent.spool_database import FILE_NAME

SHOWN: Final = 50  # in the table; --json prints all
LATEST: Final = "latest"
SHORT_ID: Final = 8  # of 24; as much as is needed is enough for `show`
DELIVERY: Final = {"nothing": "", "waiting": "waits", "given_up": "given up"}
DELIVERY_STYLES: Final = {"sent": "green", "refused": "bold red", "given_up": "red"}
OLD: Final = 2  # intervals without another scan: what it said is doubtful by now


@click.group("reports")
def command() -> None:
    """See what the agent here found by itself."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, with all runs.")
@config_option
def list_reports(as_json: bool, config_file: Path | None) -> None:
    """Show every local scan and collection that is kept, the newest first; failed ones too."""
    settings = load(config_file)
    now = utc_now()
    with _spool_of(settings) as spool:
        if as_json:
            runs = spool.local_runs() if spool else []
            click.echo(
                json.dumps({"reports": [_document(run, settings, now) for run in runs]}, indent=2)
            )
            return
        runs = spool.local_runs(SHOWN) if spool else []
        more = spool.count_local_runs() - len(runs) if spool else 0
    if not runs:
        click.echo(_why_none(settings))
        return
    console = console_for(sys.stdout)
    console.print(_table(runs, settings, now))
    if more:
        console.print(f"… and {more} older; --json prints all")
    for line in _failures(runs):
        console.print(line)


@command.command("show")
@click.argument("run_id", metavar="ID")
@click.option("--format", "format_name", type=FORMATS, default="table", show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to a file instead of stdout.",
)
@config_option
def show(run_id: str, format_name: str, output: Path | None, config_file: Path | None) -> None:
    """Print one report as `scan` does. ID: the beginning of one that `list` shows, or `latest`.

    Exit code 2, and a sentence, if that run failed.
    """
    settings = load(config_file)
    with _spool_of(settings) as spool:
        if spool is None:
            raise ConfigurationError(_why_none(settings))
        run = _chosen(spool, run_id, settings)
        if run.result is None:
            raise ConfigurationError(
                f"{_what(run)} began {_ago(run.started_at, utc_now())} and is not finished; see "
                "`rediver-agent status`"
            )
        click.echo(
            printable(f"{_short(run)}: {_what(run)}, {_age(run, utc_now())}"),
            err=format_name != "table" or output is not None,
        )
        outcome = _outcome(run, run.result, spool)
        if outcome.status is ResultStatus.COMPLETED and not outcome.reports:
            raise ConfigurationError("its report is not kept any more, so that nothing can be said")
        write_reports(spool, [outcome], format_name, output)
    raise SystemExit(exit_code([outcome], None))


@contextmanager
def _spool_of(settings: Settings) -> Generator[Spool | None]:
    """The agent's spool, whether it runs or not; None where there never was an agent."""
    if not (settings.state_dir / FILE_NAME).exists():
        yield None
        return
    with kept_spool(settings) as spool:
        yield spool


def _chosen(spool: Spool, word: str, settings: Settings) -> LocalRun:
    if word == LATEST:
        run = spool.latest_local_run()
        if run is None and spool.count_local_runs():
            raise ConfigurationError("nothing is finished yet; see `rediver-agent status`")
        if run is None:
            raise ConfigurationError(_why_none(settings))
        return run
    found = spool.find_local_runs(word, 2)
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigurationError(f"several reports begin with {word}; write more of the id")
    raise ConfigurationError(f"no report that is kept begins with {word}; see `reports list`")


def _why_none(settings: Settings) -> str:
    if not (settings.state_dir / FILE_NAME).exists():
        return f"no reports: no agent has run on {settings.state_dir}; is --config the agent's?"
    if not (settings.targets or settings.enabled_collectors()):
        return "no reports: `targets` and `collectors` are empty, so this agent does nothing alone"
    kept = format_duration(settings.retry_queue.max_age)
    return f"no reports: nothing has been done alone in the last {kept} (retry_queue.max_age)"


# -- as a table ------------------------------------------------------------------------------------


def _table(runs: list[LocalRun], settings: Settings, now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("id", "finished (UTC)", "age"):
        table.add_column(column, no_wrap=True)
    for column in ("what", "outcome", "server"):
        table.add_column(column, overflow="fold")
    seen: set[LocalWork] = set()
    for run in runs:
        old = run.work not in seen and _is_old(run, settings, now)
        age = span(now - (run.finished_at or run.started_at)).split()[:2]  # the largest unit
        table.add_row(
            _short(run),
            f"{run.finished_at:%Y-%m-%d %H:%M}" if run.finished_at else "",
            Text(" ".join(age), style="yellow" if old else ""),
            printable(_what(run)),
            _said(run),
            Text(_delivery(run, settings), style=DELIVERY_STYLES.get(run.delivery, "")),
        )
        seen.add(run.work)
    return table


def _failures(runs: list[LocalRun]) -> Iterator[Text]:
    """What is wrong now, in its own words: of each piece of work the newest run, if it failed."""
    seen: set[LocalWork] = set()
    for run in runs:
        if run.result is None or run.work in seen:
            continue
        seen.add(run.work)
        if run.result.status is not ResultStatus.COMPLETED:
            error = " ".join((run.result.error or "it says nothing more").split())
            yield Text(printable(f"{_short(run)} {_what(run)}: {error}"), style="bold red")


def _is_old(run: LocalRun, settings: Settings, now: datetime) -> bool:
    """Whether it should have been done again by now."""
    agent = settings.agent
    interval = agent.scan_interval if run.work.kind == "scan" else agent.collect_interval
    if run.work.kind == "scan" and agent.scan_cron is not None:
        interval = next_after(agent.scan_cron, run.started_at) - run.started_at
    return (now - run.started_at) / OLD > interval


def _said(run: LocalRun) -> Text:
    result = run.result
    if result is None:
        return Text("not finished", style="dim")
    counts = summary(_counts(result))
    if result.status is not ResultStatus.COMPLETED:
        why = str(result.metadata.get("reason") or "on request")
        text = Text(f"{result.status.value}: {printable(why)}", style="bold red")
        return text.append("; ").append(counts) if result.findings_count else text
    if result.metadata.get("coverage") == "partial":
        return counts.append("; NOT everything was looked at", style="yellow")
    return counts


def _delivery(run: LocalRun, settings: Settings) -> str:
    if _is_only_kept(run, settings):
        return "kept here"
    return "" if run.result is None else DELIVERY.get(run.delivery, run.delivery)


def _is_only_kept(run: LocalRun, settings: Settings) -> bool:
    return run.delivery == "waiting" and settings.server.base_url is None


def _short(run: LocalRun) -> str:
    return run.id.partition("_")[2][:SHORT_ID]


def _what(run: LocalRun) -> str:
    kind, name, target = run.work
    if kind == "collect":
        return f"collected by {name or 'a collector'}"
    return f"{name or 'scan'} of {target}" if target else f"{name or 'scan'}"


def _age(run: LocalRun, now: datetime) -> str:
    return f"finished {_ago(run.finished_at or run.started_at, now)}"


def _ago(moment: datetime, now: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC, {span(now - moment)} ago"


# -- for machines, and for `scan`'s own output -----------------------------------------------------


def _document(run: LocalRun, settings: Settings, now: datetime) -> dict[str, Any]:
    result = run.result
    document: dict[str, Any] = {
        "id": run.id,
        "kind": run.work.kind,
        "name": run.work.name,
        "target": run.work.target,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "age_seconds": round((now - (run.finished_at or run.started_at)).total_seconds()),
        "status": result.status.value if result else "unfinished",
        "delivery": "kept" if _is_only_kept(run, settings) else run.delivery,
    }
    if result is not None:
        document |= {
            "reason": result.metadata.get("reason"),
            "error": result.error,
            "findings_count": result.findings_count,
            "findings_by_severity": result.metadata.get("findings_by_severity"),
            "coverage": result.metadata.get("coverage"),
        }
    return document


def _counts(result: CommandResult) -> Counter[Severity]:
    said = result.metadata.get("findings_by_severity")
    known = {severity.value for severity in Severity}
    if not isinstance(said, dict):
        return Counter({Severity.INFO: 0})
    return Counter(
        {
            Severity(name): count
            for name, count in said.items()
            if name in known and isinstance(count, int)
        }
    )


def _outcome(run: LocalRun, result: CommandResult, spool: Spool) -> Outcome:
    """What the run came to, as it was before it was written."""
    return Outcome(
        status=result.status,
        findings_count=result.findings_count,
        exit_code=result.exit_code,
        error=result.error,
        metadata={"scanner": run.work.name or "scan", **result.metadata},
        reports=tuple(spool.local_reports(run.id)),
    )
