"""The command line. A command's module is imported only when that command is run, so that `--help`
and one-shot commands start fast; this module imports nothing but click.

Exit codes: 0 done or drained, 1 findings at or over `--fail-on`, or `status` or `doctor` not well,
2 usage, configuration, a missing tool, a failed or partial scan, 3 second or third signal. Errors
are one sentence on stderr.
"""

import errno
import io
import os
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import click
from typing_extensions import override

from rediver_agent import __version__

FAILED: Final = 2

# name: (module, what it does). The module has a click command of the same name.
COMMANDS: Final = {
    "scan": ("scan", "Scan a directory now, with or without a server."),
    "import": ("import_report", "Read reports that other tools wrote."),
    "collect": ("collect", "Fetch what the configured collectors know, now."),
    "enroll": ("enroll", "Make this machine an agent of a server, by a token."),
    "run": ("run", "Run as an agent: scan by itself, under a server, or both."),
    "plugins": ("plugins", "Show what is installed, what is usable, and why not."),
    "plugin": ("plugin", "Begin a plugin of your own."),
    "reports": ("reports", "See what the agent here found by itself."),
    "status": ("status", "Show what the agent here is doing."),
    "doctor": ("doctor", "Look whether all is well, and say what to do where it is not."),
    "config": ("config", "Check, show or describe the configuration."),
    "spool": ("spool", "See and mend what waits for the server."),
    "demo": ("demo", "Three real scans of a vulnerable app, through a real server."),
}


class _LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is asked for."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"rediver_agent.cli.{COMMANDS[cmd_name][0]}")
        return module.command

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as fault:  # not click's own 1, which would say there are findings
            # What stdout still holds has to go somewhere when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.Abort from fault

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rediver-agent")
def cli() -> None:
    """Runs security scanners where the code is: alone, or under a Rediver server."""


def main() -> None:
    """The program `rediver-agent`."""
    # Python has no stdout where it was closed; a locale may lack a finding's letters.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - until the program ends
    cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    code = _exit_code()
    if threading.active_count() > 1:  # a plugin's thread that never ends keeps nobody waiting
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _exit_code() -> int:
    try:
        cli.main(standalone_mode=False)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    except click.ClickException as fault:
        fault.show()
        return fault.exit_code
    except click.Abort:
        # Not click's own 1, which would say that there are findings.
        click.echo("rediver-agent: interrupted: there is no result", err=True)
        return FAILED
    except Exception as fault:
        if os.environ.get("REDIVER_DEBUG"):
            raise
        click.echo(f"rediver-agent: {_sentence(fault)}", err=True)
        return FAILED
    return 0


def _sentence(fault: Exception) -> str:
    if isinstance(fault, ExceptionGroup):  # of a task group: its first error says it
        return _sentence(cast("ExceptionGroup[Exception]", fault).exceptions[0])
    # The errors' module costs as much as all of --help: whoever raised one has imported it.
    errors = sys.modules.get("rediver_agent.errors")
    if errors is not None and isinstance(fault, errors.RediverError):
        return str(fault)
    if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"it could not be written to its end: {fault.strerror}; free space"
    return (
        f"this is a fault of its own ({type(fault).__name__}: {fault}); please report it, with "
        "the traceback that REDIVER_DEBUG=1 shows"
    )
