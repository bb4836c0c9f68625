"""`rediver-agent collect`: fetch what others found, now, and print it. Needs no server of ours."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
import click

from rediver_agent.cli.aside import plugins_speak_aside
from rediver_agent.cli.delivery import kept_spool, passing_spool, push_reports
from rediver_agent.cli.interrupt import end_as_by_ctrl_c
from rediver_agent.cli.local_scan import LocalScan, run_scans
from rediver_agent.cli.options import config_option, report_options
from rediver_agent.cli.output import exit_code, write_reports
from rediver_agent.cli.progress import scan_display
from rediver_agent.configured_parsers import installed
from rediver_agent.contract.commands import CollectCommand, CollectPayload
from rediver_agent.durations import parse_duration
from rediver_agent.enrichment import enrichment_of
from rediver_agent.errors import ConfigurationError
from rediver_agent.executor import Job
from rediver_agent.log import set_up_logging
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.settings_file import load

# What a CI job has checked out is not what is collected: its environment says nothing here.
_NO_CI: Final[Mapping[str, str]] = {}


@click.command("collect")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--timeout", default="30m", show_default=True, help="For each collector.")
@report_options
@config_option
def command(  # noqa: PLR0913, PLR0917 - click hands in one argument an option
    names: tuple[str, ...],
    timeout: str,
    format_name: str,
    output: Path | None,
    fail_on: str | None,
    push: bool,
    config_file: Path | None,
) -> None:
    """Fetch what the collectors NAME (all that are configured) know now, and print it.

    Exit code 0: done. 1: findings at or over --fail-on. 2: a collector failed or could not fetch
    everything; what it found is printed all the same.
    """
    end_as_by_ctrl_c()
    settings = load(config_file)
    set_up_logging(secrets=settings.secrets, verbose=settings.agent.verbose)
    with plugins_speak_aside():
        registry = installed(settings)
    enrichment_of(settings, registry)  # before anything is begun
    collections = _planned(_chosen(settings, registry, names), _seconds(timeout))
    with kept_spool(settings) if push else passing_spool(settings.secrets()) as spool:
        with scan_display(collections) as finished, plugins_speak_aside():
            outcomes = anyio.run(
                run_scans, settings, registry, spool, collections, finished, _NO_CI
            )
        write_reports(spool, outcomes, format_name, output)
        code = exit_code(outcomes, fail_on)
        if push:
            code = max(code, anyio.run(push_reports, settings, spool))
    raise SystemExit(code)


def _chosen(settings: Settings, registry: Registry, wanted: Sequence[str]) -> list[str]:
    """Those that were named, else those that are configured.

    Raises `UnknownCollector`, or `ConfigurationError` where there is none to run.
    """
    if wanted:
        return [registry.collector(name).name for name in dict.fromkeys(wanted)]
    enabled = settings.enabled_collectors()
    if names := [name for name in enabled if registry.may_fetch(name)]:
        return names  # one that is not installed fails by itself, and costs no other
    if enabled:
        raise ConfigurationError(
            f"nothing is to be fetched: {', '.join(enabled)} is pushed to, and listens while "
            "`rediver-agent run` runs"
        )
    installed = ", ".join(sorted(registry.collectors)) or "none"
    raise ConfigurationError(
        f"no collector is configured (plugins: {installed}); list one in `collectors`, with its "
        "options"
    )


def _planned(names: Sequence[str], timeout_seconds: int) -> list[LocalScan]:
    return [
        LocalScan(
            name,
            Job(
                CollectCommand(
                    id=f"col_{uuid.uuid4().hex[:24]}",
                    type="collect",
                    payload=CollectPayload(collector=name, timeout_seconds=timeout_seconds),
                ),
                commanded=False,
            ),
        )
        for name in names
    ]


def _seconds(timeout: str) -> int:
    try:
        return max(1, round(parse_duration(timeout).total_seconds()))
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--timeout") from fault
