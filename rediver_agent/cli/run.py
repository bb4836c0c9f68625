"""`rediver-agent run`: an agent under a server, until a signal ends it."""

from pathlib import Path

import anyio
import click

from rediver_agent.agent import Agent
from rediver_agent.cli.options import config_option
from rediver_agent.log import set_up_logging
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry
from rediver_agent.settings_file import load


@click.command("run")
@config_option
def command(config_file: Path | None) -> None:
    """Run as an agent: take commands from the server.

    The first SIGTERM or Ctrl-C finishes what runs, the second cancels it, the third exits (3).
    """
    settings = load(config_file)
    set_up_logging(secrets=settings.secrets(), verbose=settings.agent.verbose)
    anyio.run(Agent(settings, build_registry(load_plugins())).run)
