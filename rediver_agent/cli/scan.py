"""`rediver-agent scan`: scan now and print what was found. Needs no server."""

from pathlib import Path

import anyio
import click

from rediver_agent.cli.delivery import kept_spool, passing_spool, push_reports
from rediver_agent.cli.interrupt import end_as_by_ctrl_c
from rediver_agent.cli.local_scan import chosen_scanners, plan, run_scans
from rediver_agent.cli.options import config_option, report_options
from rediver_agent.cli.output import exit_code, write_reports
from rediver_agent.cli.progress import scan_display
from rediver_agent.durations import parse_duration
from rediver_agent.log import set_up_logging
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.policy import open_typed
from rediver_agent.registry import build_registry
from rediver_agent.settings_file import load


@click.command("scan")
@click.argument("target", type=click.Path(path_type=Path), default=".", metavar="[PATH]")
@click.option("--scanner", "scanners", multiple=True, help="Only this scanner (repeatable).")
@click.option("--timeout", default="30m", show_default=True, help="For each scanner.")
@report_options
@config_option
def command(  # noqa: PLR0913, PLR0917 - click hands in one argument an option
    target: Path,
    scanners: tuple[str, ...],
    timeout: str,
    format_name: str,
    output: Path | None,
    fail_on: str | None,
    push: bool,
    config_file: Path | None,
) -> None:
    """Scan PATH (the current directory) now, with every usable scanner, and print what was found.

    Exit code 0: done. 1: findings at or over --fail-on. 2: a scanner failed or could not look at
    everything; what it found is printed all the same.
    """
    end_as_by_ctrl_c()
    settings = load(config_file)
    set_up_logging(secrets=settings.secrets, verbose=settings.agent.verbose)
    open_typed(str(target)).close()  # a target that is not there is one sentence, not one a scanner
    registry = build_registry(load_plugins())
    names = chosen_scanners(settings, registry, scanners)
    scans = plan(target.absolute(), names, _seconds(timeout))
    with kept_spool(settings) if push else passing_spool() as spool:
        with scan_display(scans) as finished:
            outcomes = anyio.run(run_scans, settings, registry, spool, scans, finished)
        write_reports(spool, outcomes, format_name, output)
        code = exit_code(outcomes, fail_on)
        if push:
            code = max(code, anyio.run(push_reports, settings, spool))
    raise SystemExit(code)


def _seconds(timeout: str) -> int:
    try:
        return max(1, round(parse_duration(timeout).total_seconds()))
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--timeout") from fault
