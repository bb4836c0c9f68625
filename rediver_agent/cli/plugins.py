"""`rediver-agent plugins`: what is installed, what it provides, and whether its tool is there."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from rediver_agent.cli.console import console_for
from rediver_agent.cli.options import config_option
from rediver_agent.configured_parsers import with_parsers
from rediver_agent.handlers.plugin_options import collector_problem
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import Registry, build_registry
from rediver_agent.settings import Settings
from rediver_agent.settings_file import load


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@config_option
def command(as_json: bool, config_file: Path | None) -> None:
    """Show what is installed, what is usable, and why not."""
    settings = load(config_file)
    registry = with_parsers(build_registry(load_plugins()), settings.parsers)
    rows = [
        *_scanners(registry, settings),
        *_collectors(registry, settings),
        *_parsers(registry, settings),
        *_broken(registry),
    ]
    if as_json:
        click.echo(json.dumps({"plugins": rows}, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("provides", "name", "plugin", "usable"):
        table.add_column(column, overflow="fold")
    for row in rows:
        plugin = f"{row['distribution']} {row['version']}" if row["distribution"] else "none"
        usable = f"yes, {row['tool']}" if row.get("tool") else "yes"
        table.add_row(row["kind"], row["name"], plugin, usable if row["usable"] else row["problem"])
    console_for(sys.stdout).print(
        table if rows else "no plugin is installed; try: pip install 'rediver-agent[all]'"
    )


def _scanners(registry: Registry, settings: Settings) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, scanner in sorted(registry.scanners.items()):
        program = settings.scanner(name).binary or scanner.program
        found = shutil.which(program)
        row = _row("scanner", name, registry)
        if not settings.is_enabled(name):
            row |= {"usable": False, "problem": "not enabled in the configuration's scanners"}
        elif found is None:
            row |= {"usable": False, "problem": f"{program} is not on PATH; install it"}
        rows.append({**row, "tool": found})
    return rows


def _collectors(registry: Registry, settings: Settings) -> list[dict[str, Any]]:
    """Those that are installed, and those that are configured and are not."""
    listed = {section.name for section in settings.collectors}
    rows: list[dict[str, Any]] = []
    for name in sorted(listed | set(registry.collectors)):
        row = _row("collector", name, registry)
        if problem := collector_problem(name, settings, registry):
            row |= {"usable": False, "problem": problem}
        rows.append({**row, "enabled": name in settings.enabled_collectors()})
    return rows


def _parsers(registry: Registry, settings: Settings) -> list[dict[str, Any]]:
    """Those that are installed, and those that the configuration makes of them."""
    return [
        *(_row("parser", name, registry) for name in sorted(registry.parsers)),
        *(
            {**_row("parser", section.format, registry), "name": section.name}
            for section in settings.parsers
        ),
    ]


def _broken(registry: Registry) -> list[dict[str, Any]]:
    return [
        {
            "kind": "broken",
            "name": broken.origin.name,
            "distribution": broken.origin.distribution,
            "version": broken.origin.version,
            "usable": False,
            "problem": broken.problem,
        }
        for broken in registry.broken
    ]


def _row(kind: str, name: str, registry: Registry) -> dict[str, Any]:
    origin = registry.origins.get(f"{kind}:{name}")
    return {
        "kind": kind,
        "name": name,
        "distribution": origin.distribution if origin else None,
        "version": origin.version if origin else None,
        "usable": True,
        "problem": None,
    }
