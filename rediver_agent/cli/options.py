"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = click.Choice(["table", "json", "sarif"])
SEVERITIES = click.Choice(["critical", "high", "medium", "low", "info"])


def config_option(command: Command) -> Command:
    """`--config FILE`, or REDIVER_CONFIG."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        envvar="REDIVER_CONFIG",
        help="The configuration file (agent.yaml). Without it: defaults and environment.",
    )(command)


def baseline_option(command: Command) -> Command:
    """`--baseline FILE`."""
    return click.option(
        "--baseline",
        "baseline_file",
        type=click.Path(path_type=Path),
        help="An earlier report (json or sarif): only what is new against it counts for --fail-on.",
    )(command)


def report_options(command: Command) -> Command:
    """What `scan` and `import` do with what they found."""
    for option in (
        click.option("--push", is_flag=True, help="Send the reports to the configured server."),
        click.option(
            "--fail-on", type=SEVERITIES, help="Exit 1 if a finding is this severe or worse."
        ),
        click.option(
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write to a file instead of stdout.",
        ),
        click.option("--format", "format_name", type=FORMATS, default="table", show_default=True),
    ):
        command = option(command)
    return command
