"""`rediver-agent scan`: scan now and print what was found. Needs no server."""

import os
from pathlib import Path

import anyio
import click

from rediver_agent.cli.aside import plugins_speak_aside
from rediver_agent.cli.baseline import Comparison, read_baseline
from rediver_agent.cli.delivery import kept_spool, passing_spool, push_reports
from rediver_agent.cli.interrupt import end_as_by_ctrl_c
from rediver_agent.cli.local_scan import chosen_scanners, plan, run_scans
from rediver_agent.cli.options import baseline_option, config_option, report_options
from rediver_agent.cli.output import exit_code, write_reports
from rediver_agent.cli.progress import scan_display
from rediver_agent.configured_parsers import installed
from rediver_agent.durations import parse_duration
from rediver_agent.enrichment import enrichment_of
from rediver_agent.log import set_up_logging
from rediver_agent.policy import open_typed
from rediver_agent.settings_file import load
from rediver_agent.suppressions_file import read_suppressions


@click.command("scan")
@click.argument("target", type=click.Path(path_type=Path), default=".", metavar="[PATH]")
@click.option("--scanner", "scanners", multiple=True, help="Only this scanner (repeatable).")
@click.option("--timeout", default="30m", show_default=True, help="For each scanner.")
@report_options
@baseline_option
@config_option
def command(  # noqa: PLR0913, PLR0917 - click hands in one argument an option
    target: Path,
    scanners: tuple[str, ...],
    timeout: str,
    format_name: str,
    output: Path | None,
    fail_on: str | None,
    push: bool,
    baseline_file: Path | None,
    config_file: Path | None,
) -> None:
    """Scan PATH (the current directory) now, with every usable scanner, and print what was found.

    Exit code 0: done. 1: findings at or over --fail-on; with --baseline only new ones count. 2: a
    scanner failed or could not look at everything; what it found is printed all the same.

    What .rediver.yaml in PATH suppresses is kept, and neither counts nor fails.
    """
    end_as_by_ctrl_c()
    settings = load(config_file)
    set_up_logging(secrets=settings.secrets, verbose=settings.agent.verbose)
    _check(target)
    baseline = read_baseline(baseline_file) if baseline_file else None
    with plugins_speak_aside():
        registry = installed(settings)
    names = chosen_scanners(settings, registry, scanners)
    scans = plan(target.absolute(), names, _seconds(timeout))
    enrichment_of(settings, registry)  # before anything is begun
    with kept_spool(settings) if push else passing_spool(settings.secrets()) as spool:
        with scan_display(scans) as finished, plugins_speak_aside():
            outcomes = anyio.run(run_scans, settings, registry, spool, scans, finished, os.environ)
        comparison = Comparison(baseline, outcomes, spool.findings) if baseline else None
        write_reports(spool, outcomes, format_name, output, comparison)
        code = exit_code(outcomes, fail_on, comparison)
        if push:
            code = max(code, anyio.run(push_reports, settings, spool))
    raise SystemExit(code)


def _check(target: Path) -> None:
    """What is wrong with the target itself is one sentence, not one for each scanner."""
    opened = open_typed(str(target))
    try:
        read_suppressions(opened.descriptor, opened.path)
    finally:
        opened.close()


def _seconds(timeout: str) -> int:
    try:
        return max(1, round(parse_duration(timeout).total_seconds()))
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--timeout") from fault
