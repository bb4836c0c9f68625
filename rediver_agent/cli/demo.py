"""`rediver-agent demo`: what Rediver is for, in a minute, on real input."""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from rediver_agent.cli.interrupt import end_as_by_ctrl_c
from rediver_agent.cli.table import Row, console_for, findings_table, ranked, summary, tally
from rediver_agent.contract.commands import Command
from rediver_agent.contract.lifecycle import TERMINAL, CommandStatus
from rediver_agent.demo.operator import Operator
from rediver_agent.demo.stage import Stage, staged
from rediver_agent.demo.vulnerable_app import write_vulnerable_app
from rediver_agent.errors import ConfigurationError

SCANNERS: Final = ("semgrep", "trivy", "gitleaks")
LOOK_SECONDS: Final = 0.25
MOST_SECONDS: Final = 300.0


@click.command("demo")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Work in this new directory, and leave it."
)
def command(keep: Path | None) -> None:
    """Start a server and an agent, command three scans of a vulnerable app, show what was found.

    Nothing leaves this machine, and nothing is left on it.
    """
    missing = [name for name in SCANNERS if shutil.which(name) is None]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} not on PATH; in a checkout `make demo` sets everything up"
        )
    end_as_by_ctrl_c()  # the server and the agent must end too
    if keep is not None:
        keep.mkdir(parents=True)
        complete = anyio.run(_demo, keep.absolute())
    else:
        with tempfile.TemporaryDirectory(prefix="rediver-demo-") as directory:
            complete = anyio.run(_demo, Path(directory))
    raise SystemExit(0 if complete else 2)


async def _demo(directory: Path) -> bool:
    console = console_for(sys.stdout)
    app = write_vulnerable_app(directory / "notes-app")
    console.print("starting a server (SQLite) and an agent", style="dim")
    async with staged(directory, app) as stage:
        console.print(f"server at {stage.base_url}, agent enrolled", style="dim")
        commands, rows = await _run(stage, app)
    console.print()
    if rows:
        console.print(findings_table(ranked(rows)))
        console.print()
    console.print(summary(tally(rows)))
    for item in commands:
        console.print(_line(item), style="green" if _is_complete(item) else "bold red")
    return all(_is_complete(item) for item in commands)


async def _run(stage: Stage, app: Path) -> tuple[list[Command], list[Row]]:
    async with Operator(stage) as operator:
        commands = [await operator.command_scan(name, str(app)) for name in SCANNERS]
        with anyio.fail_after(MOST_SECONDS):
            commands = await _watch(operator, commands)
        found = [row async for row in operator.findings()]
    return commands, [(tool, finding) for tool, finding in found if finding.suppression is None]


async def _watch(operator: Operator, commands: Sequence[Command]) -> list[Command]:
    """Show the commands, as the server tells them, until all are over."""
    console = Console(stderr=True, highlight=False)
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("[bold]{task.fields[name]:<10}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        lines = {
            item.id: progress.add_task("pending", name=name, total=1)
            for item, name in zip(commands, SCANNERS, strict=True)
        }
        while True:
            commands = [await operator.command(item.id) for item in commands]
            _show(progress, lines, commands)
            if all(item.status in TERMINAL for item in commands):
                return list(commands)
            await anyio.sleep(LOOK_SECONDS)


def _show(progress: Progress, lines: Mapping[str, TaskID], commands: Sequence[Command]) -> None:
    for item in commands:
        said = item.status or CommandStatus.PENDING
        detail = item.progress.message if item.progress and item.status not in TERMINAL else None
        progress.update(
            lines[item.id],
            description=f"{said.value}: {detail}" if detail else said.value,
            completed=1 if item.status in TERMINAL else 0,
        )


def _is_complete(item: Command) -> bool:
    return item.status is CommandStatus.COMPLETED


def _line(item: Command) -> str:
    scanner = item.payload.get("scanner")
    if not _is_complete(item) or item.result is None:
        return f"  {scanner}: {item.status}: {item.error_message}"
    line = f"  {scanner}: completed, {item.result.get('findings_count')} found"
    metadata = item.result.get("metadata")
    suppressed = metadata.get("suppressed") if isinstance(metadata, dict) else None
    return f"{line}, {suppressed} suppressed in the source" if suppressed else line
