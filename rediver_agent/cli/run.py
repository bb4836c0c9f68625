"""`rediver-agent run`: an agent, alone or under a server, until a signal ends it."""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import anyio
import click

from rediver_agent.agent import Agent
from rediver_agent.cli.aside import plugins_speak_aside
from rediver_agent.cli.options import config_option
from rediver_agent.configuration import Configuration
from rediver_agent.configured_parsers import installed
from rediver_agent.credentials import Secrets
from rediver_agent.errors import ConfigurationError
from rediver_agent.log import set_level, set_up_logging
from rediver_agent.overlay import Overlay
from rediver_agent.stopping import SECOND_SIGNAL_EXIT, SIGNALS, Ending


@click.command("run")
@config_option
def command(config_file: Path | None) -> None:
    """Run as an agent: scan the configured targets, take commands from the server, or both.

    The first SIGTERM or Ctrl-C finishes what runs, the second cancels it (exit code 3), the third
    exits at once.
    """
    overlay = Overlay.open(config_file)
    configuration = Configuration(overlay.settings)
    secrets = Secrets(overlay.settings.secrets())
    set_up_logging(
        secrets=secrets,
        verbose=overlay.settings.agent.verbose,
        log_format=overlay.settings.agent.log_format,
    )
    configuration.on_change(lambda changed: set_level(verbose=changed.agent.verbose))
    with plugins_speak_aside():
        registry = installed(overlay.settings)
        agent = Agent(overlay, configuration, registry, secrets)
        ending = anyio.run(agent.run)
    if ending is Ending.RESTART:
        start_anew()
    for number in SIGNALS:  # Python's own end takes handlers away; a late signal is no crash
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(SECOND_SIGNAL_EXIT if ending is Ending.CANCELLED else 0)


def start_anew() -> NoReturn:
    """The same program with the same arguments, environment and process id.

    Raises `ConfigurationError` where it is not there any more; whoever supervises the agent starts
    it then, and that start answers the command.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own arguments, no shell
    except OSError as fault:
        raise ConfigurationError(
            f"the agent has ended and cannot start anew: {sys.executable}: {fault.strerror}"
        ) from fault
