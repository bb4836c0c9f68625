"""`rediver-agent import`: reports that other tools wrote, read, printed and, if asked, sent."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import click
from rich.console import Console
from rich.text import Text

from rediver_agent.cli.aside import plugins_speak_aside
from rediver_agent.cli.baseline import Comparison, read_baseline
from rediver_agent.cli.delivery import kept_spool, passing_spool, push_reports
from rediver_agent.cli.import_file import FileReader
from rediver_agent.cli.interrupt import end_as_by_ctrl_c
from rediver_agent.cli.options import baseline_option, config_option, report_options
from rediver_agent.cli.output import exit_code, write_reports
from rediver_agent.configured_parsers import by_file, installed
from rediver_agent.enrichment import enrichment_of
from rediver_agent.executor import Outcome
from rediver_agent.handlers.scan_outcome import notices_of
from rediver_agent.log import set_up_logging
from rediver_agent.masking import printable
from rediver_agent.settings_file import load

MAPPED: Final = "json"  # the parser that a mapping is for, unless --parser names another


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option("--parser", "format_of_file", help="The files' format; without it, by their content.")
@click.option(
    "--mapping",
    "mapping_file",
    type=click.Path(path_type=Path),
    help="How the JSON of a tool without a plugin is read, as YAML: which value is which.",
)
@report_options
@baseline_option
@config_option
def command(  # noqa: PLR0913, PLR0917 - click hands in one argument an option
    files: tuple[Path, ...],
    format_of_file: str | None,
    mapping_file: Path | None,
    format_name: str,
    output: Path | None,
    fail_on: str | None,
    push: bool,
    baseline_file: Path | None,
    config_file: Path | None,
) -> None:
    """Read reports that other tools wrote: SARIF, an installed plugin's format, or any JSON by a
    mapping; .gz too.

    Exit codes as of `scan`: 2 if a report cannot be read or says that its scan was not whole.
    """
    end_as_by_ctrl_c()
    settings = load(config_file)
    set_up_logging(secrets=settings.secrets, verbose=settings.agent.verbose)
    baseline = read_baseline(baseline_file) if baseline_file else None
    with plugins_speak_aside():
        registry = installed(settings)
    parser = by_file(registry, format_of_file or MAPPED, mapping_file) if mapping_file else None
    enrichment = enrichment_of(settings, registry)
    with kept_spool(settings) if push else passing_spool(settings.secrets()) as spool:
        reader = FileReader(
            settings.agent.name, registry, spool, format_of_file, parser, enrichment
        )
        with plugins_speak_aside():
            outcomes = anyio.run(_read_all, reader, files)
        comparison = Comparison(baseline, outcomes, spool.findings) if baseline else None
        write_reports(spool, outcomes, format_name, output, comparison)
        _say(outcomes)
        code = exit_code(outcomes, fail_on, comparison)
        if push:
            code = max(code, anyio.run(push_reports, settings, spool))
    raise SystemExit(code)


def _say(outcomes: Sequence[Outcome]) -> None:
    """What is worth knowing of the reports, and takes nothing from them."""
    for outcome in outcomes:
        for level, said in notices_of(outcome):
            if level == "info":
                click.echo(printable(f"{outcome.metadata.get('scanner')}: {said}"), err=True)


async def _read_all(reader: FileReader, files: Sequence[Path]) -> list[Outcome]:
    console = Console(stderr=True, highlight=False)
    outcomes: list[Outcome] = []
    for path in files:
        with console.status(Text(f"reading {printable(path.name)}")):  # on a terminal alone
            outcomes.append(await anyio.to_thread.run_sync(reader.read, path))
    return outcomes
