"""`rediver-agent plugins`: what is installed, what it provides, and whether it can be used.

Every plugin is in it: what is blocked, broken, outdated or there twice is listed with the reason.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import anyio
import click
from rich.table import Table

from rediver_agent.assembly import utc_now
from rediver_agent.cli.aside import plugins_speak_aside
from rediver_agent.cli.console import console_for
from rediver_agent.cli.options import config_option
from rediver_agent.configured_parsers import installed
from rediver_agent.contract.commands import HealthCheckCommand
from rediver_agent.errors import ConfigurationError
from rediver_agent.executor import Job
from rediver_agent.handlers.health_check import probe
from rediver_agent.handlers.plugin_options import collector_problem, handler_problem
from rediver_agent.listed_plugins import enricher, observer
from rediver_agent.masking import printable
from rediver_agent.registry import KINDS, Registry
from rediver_agent.settings import Settings
from rediver_agent.settings_file import load
from rediver_agent.spool import Spool

Row = dict[str, Any]

PROBE_SECONDS: Final = 20.0  # semgrep takes 4 s to tell its version


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--no-versions", is_flag=True, help="Do not ask the tools for their versions.")
@config_option
def command(as_json: bool, no_versions: bool, config_file: Path | None) -> None:
    """Show what is installed, what is usable, and why not."""
    settings = load(config_file)
    with plugins_speak_aside():
        registry = installed(settings)
        versions = {} if no_versions else _versions(settings, registry)
        rows = list(_rows(settings, registry, versions))
    if as_json:
        click.echo(json.dumps({"plugins": rows}, indent=2))
        return
    console = console_for(sys.stdout)
    if not rows:
        console.print("no plugin is installed; try: pip install 'rediver-agent[all]'")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("provides", "name", "plugin", "usable"):
        table.add_column(column, overflow="fold")
    for row in rows:
        plugin = f"{row['distribution']} {row['version']}" if row["distribution"] else "none"
        usable = "yes" + (f", {row['tool_version'] or row['tool']}" if row.get("tool") else "")
        told = usable if row["usable"] else row["problem"]
        told = "\n".join([told, *(f"soon gone: {said}" for said in row["deprecated"])])
        table.add_row(row["kind"], *map(printable, (row["name"], plugin, told)))
    console.print(table)


def _rows(settings: Settings, registry: Registry, versions: dict[str, Row]) -> Iterator[Row]:
    for name, scanner in sorted(registry.scanners.items()):
        program = settings.scanner(name).binary or scanner.program
        row = _row("scanner", name, registry)
        found = shutil.which(program)
        if not settings.is_enabled(name):
            row |= _not("not enabled in the configuration's scanners")
        elif found is None:
            row |= _not(f"{program} is not on PATH; install it")
        elif said := versions.get(name):
            row |= {} if said["usable"] else _not(said["problem"])
        yield {**row, "tool": found, "tool_version": versions.get(name, {}).get("version")}
    listed = {section.name for section in settings.collectors}
    for name in sorted(listed | set(registry.collectors)):
        problem = collector_problem(name, settings, registry)
        row = _row("collector", name, registry) | _not(problem)
        yield {**row, "enabled": name in settings.enabled_collectors()}
    for name in sorted(registry.parsers):
        yield _row("parser", name, registry)
    for section in settings.parsers:
        yield {**_row("parser", section.format, registry), "name": section.name}
    for name in sorted({section.name for section in settings.handlers} | set(registry.handlers)):
        yield _row("handler", name, registry) | _not(handler_problem(name, settings, registry))
    yield from _listed(settings, registry)
    yield from _not_used(registry)


def _listed(settings: Settings, registry: Registry) -> Iterator[Row]:
    """Enrichers and observers are used where they are listed."""
    kinds = (
        ("enricher", registry.enrichers, settings.enrichers, enricher),
        ("observer", registry.observers, settings.observers, observer),
    )
    for kind, provided, sections, usable in kinds:
        by_name = {section.name: section for section in sections if section.enabled}
        for name in sorted(set(by_name) | set(provided)):
            row = _row(kind, name, registry)
            if name not in by_name:
                row |= _not(f"not listed in the configuration's {kind}s")
            else:
                try:
                    usable(registry, by_name[name])
                except ConfigurationError as fault:
                    row |= _not(str(fault))
            yield {**row, "enabled": name in by_name}


def _not_used(registry: Registry) -> Iterator[Row]:
    """Plugins of which nothing is used, and those that provide nothing."""
    for broken in registry.broken:
        origin = broken.origin
        yield {
            "kind": broken.state,
            "name": origin.name,
            "plugin": origin.name,
            "distribution": origin.distribution,
            "version": origin.version,
            "state": broken.state,
            "deprecated": [],
            **_not(broken.problem),
        }
    provides = {origin.name for origin in registry.origins.values()}
    for name, origin in sorted(registry.loaded.items()):
        if name not in provides:
            hooks = ", ".join(f"rediver_{kind.word}s" for kind in KINDS)
            yield {
                "kind": "nothing",
                "name": name,
                "plugin": name,
                "distribution": origin.distribution,
                "version": origin.version,
                "state": "ok",
                "deprecated": list(registry.deprecated.get(name, ())),
                **_not(f"it provides nothing: none of its functions is a hook ({hooks})"),
            }


def _row(kind: str, name: str, registry: Registry) -> Row:
    origin = registry.origins.get(f"{kind}:{name}")
    return {
        "kind": kind,
        "name": name,
        "plugin": origin.name if origin else None,
        "distribution": origin.distribution if origin else None,
        "version": origin.version if origin else None,
        "state": "ok" if origin else "missing",
        "deprecated": list(registry.deprecated.get(origin.name, ())) if origin else [],
        **_not(None),
    }


def _not(problem: str | None) -> Row:
    return {"usable": problem is None, "problem": problem}


def _versions(settings: Settings, registry: Registry) -> dict[str, Row]:
    """What every usable tool says of itself. Their probes run in a directory that is not kept."""
    found: dict[str, Row] = {}
    names = [
        name
        for name, scanner in registry.scanners.items()
        if settings.is_enabled(name)
        and shutil.which(settings.scanner(name).binary or scanner.program)
    ]

    async def ask_all(apart: Settings, spool: Spool) -> None:
        async def ask(name: str) -> None:
            job = Job(HealthCheckCommand(id=f"cmd_{name}", type="health_check"), commanded=False)
            found[name] = await probe(registry.scanners[name], job, apart, spool, PROBE_SECONDS)

        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(ask, name)

    progress = console_for(sys.stderr)
    waiting = progress.status("asking the tools") if progress.is_terminal else nullcontext()
    with tempfile.TemporaryDirectory(prefix="rediver-") as directory, waiting:
        apart = settings.model_copy(update={"state_dir": Path(directory)})
        spool = Spool(apart.state_dir, now=utc_now)
        try:
            anyio.run(ask_all, apart, spool)
        finally:
            spool.close()
    return found
