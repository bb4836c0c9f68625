"""`rediver-agent config`: is the configuration right, what does it come to, what could it say."""

import json
from pathlib import Path

import click
import yaml

from rediver_agent.cli.options import config_option
from rediver_agent.settings import Settings
from rediver_agent.settings_file import load


@click.group("config")
def command() -> None:
    """Check, show or describe the configuration."""


@command.command("check")
@config_option
def check(config_file: Path | None) -> None:
    """Say whether the configuration can be used; exit 2 and one sentence if not."""
    settings = load(config_file)
    mode = "takes commands" if settings.agent.enable_command_polling else "takes no commands"
    roots = ", ".join(settings.allowed_roots()) or "nothing (set security.allowed_targets)"
    click.echo(f"{config_file or 'defaults and environment'}: ok")
    click.echo(f"{settings.agent.name} {mode}; a server may have scanned: {roots}")


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@config_option
def show(as_json: bool, config_file: Path | None) -> None:
    """Print every setting as it stands after file and environment; keys are masked."""
    document = load(config_file).model_dump(mode="json")
    text = json.dumps(document, indent=2) if as_json else yaml.safe_dump(document, sort_keys=False)
    click.echo(text.rstrip())


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(Settings.model_json_schema(), indent=2))
