"""`rediver-agent config`: is the configuration right, what does it come to, what could it say, and
what has a server changed of it.
"""

import json
from pathlib import Path
from typing import Any, cast

import click
import yaml

from rediver_agent.cli.aside import plugins_speak_aside
from rediver_agent.cli.options import config_option
from rediver_agent.configured_parsers import installed
from rediver_agent.contract.commands import CommandType
from rediver_agent.handlers.plugin_options import handler_problems
from rediver_agent.listed_plugins import listed_problems
from rediver_agent.masking import printable
from rediver_agent.overlay import Overlay, reset
from rediver_agent.settings import Settings
from rediver_agent.settings_file import load
from rediver_agent.settings_patch import masked


@click.group("config")
def command() -> None:
    """Check, show or describe the configuration."""


@command.command("check")
@config_option
def check(config_file: Path | None) -> None:
    """Say whether the configuration can be used; exit 2 and one sentence if not."""
    overlay = Overlay.open(config_file)
    settings = overlay.settings
    problems = _of_plugins(settings)
    mode = "takes commands" if settings.agent.enable_command_polling else "takes no commands"
    roots = ", ".join(settings.allowed_roots()) or "nothing (set security.allowed_targets)"
    if not problems:
        click.echo(f"{config_file or 'defaults and environment'}: ok")
    click.echo(f"{settings.agent.name} {mode}; a server may have scanned: {roots}")
    for sentence in (*overlay.sentences, *problems):
        click.echo(printable(sentence), err=True)
    if problems:
        raise SystemExit(2)


def _of_plugins(settings: Settings) -> list[str]:
    """What is said of plugins and cannot be; they are loaded only if something is said of them."""
    said = settings.parsers or settings.handlers or settings.enrichers or settings.observers
    theirs = set(settings.security.allowed_command_types) - set(CommandType)
    if not (said or theirs):
        return []
    with plugins_speak_aside():
        registry = installed(settings)  # each parser as a start would make it
    return [*handler_problems(settings, registry), *listed_problems(settings, registry)]


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@config_option
def show(as_json: bool, config_file: Path | None) -> None:
    """Print every setting as it stands after file, server and environment; keys are masked."""
    overlay = Overlay.open(config_file)
    secrets = tuple(overlay.settings.secrets())
    document = masked(overlay.settings.model_dump(mode="json"), secrets)
    text = json.dumps(document, indent=2) if as_json else yaml.safe_dump(document, sort_keys=False)
    click.echo(text.rstrip())
    if not as_json and overlay.version:
        click.echo(f"# Set by the server (version {overlay.version}):")
        for change in cast("list[dict[str, Any]]", overlay.differences()):
            new, old = json.dumps(change["new"]), json.dumps(change["old"])
            click.echo(printable(f"#   {change['name']}: {new} (without it: {old})"))
    for sentence in overlay.sentences:
        click.echo(printable(sentence), err=True)


@command.command("reset")
@config_option
def forget(config_file: Path | None) -> None:
    """Forget every setting that a server has changed, from the agent's next start on."""
    if reset(load(config_file).state_dir):
        click.echo("what the server has changed is forgotten; a running agent goes on with it")
        click.echo("until its next start")
    else:
        click.echo("no server has changed a setting of this agent")


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(Settings.model_json_schema(), indent=2))
