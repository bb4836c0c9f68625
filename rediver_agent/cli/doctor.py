"""`rediver-agent doctor`: is all well, and what is to be done where it is not. Changes nothing.

Looks that take a while go on side by side. Whatever happens, each is a line and none a traceback.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import click
from rich.console import Console
from rich.text import Text

from rediver_agent.agent import usable_scanners, utc_now
from rediver_agent.cli import doctor_host, doctor_server, doctor_tools
from rediver_agent.cli.aside import plugins_speak_aside
from rediver_agent.cli.console import console_for
from rediver_agent.cli.doctor_checks import Check, Examination, Look, not_ok
from rediver_agent.cli.interrupt import end_as_by_ctrl_c
from rediver_agent.cli.options import config_option
from rediver_agent.configured_parsers import installed
from rediver_agent.errors import ConfigurationError
from rediver_agent.masking import mask, printable
from rediver_agent.overlay import Overlay
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool

NOT_ALL_IS_WELL = 1


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@config_option
def command(as_json: bool, config_file: Path | None) -> None:
    """Look whether all is well, and say what to do where it is not; exit 1 then."""
    end_as_by_ctrl_c()
    tell = _no_line if as_json else _line
    try:
        overlay = Overlay.open(config_file)
    except ConfigurationError as fault:
        checks = [not_ok("configuration", str(fault))]
        tell(checks[0])
    else:
        checks = anyio.run(_examine, overlay, config_file, tell)
    well = all(check.ok for check in checks)
    if as_json:
        said = [check._asdict() for check in checks]
        click.echo(json.dumps({"ok": well, "checks": said}, indent=2))
    raise SystemExit(0 if well else NOT_ALL_IS_WELL)


async def _examine(
    overlay: Overlay, config_file: Path | None, tell: Callable[[Check], None]
) -> list[Check]:
    secrets = overlay.settings.secrets()
    progress = Console(stderr=True, highlight=False, markup=False)
    waiting = progress.status("looking") if progress.is_terminal else nullcontext()
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="rediver-") as directory, waiting as shown:
        examination = Examination(_looks(overlay, config_file, Path(directory)))

        def hear(found: Check) -> None:
            check = Check(found.ok, _safe(found.what, secrets), _safe(found.to_do, secrets))
            checks.append(check)
            if shown is None:
                tell(check)
                return
            shown.stop()  # its line may be where this one goes
            tell(check)
            if examination.busy:
                shown.update(f"looking at: {', '.join(examination.busy)}")
                shown.start()

        await examination.tell(hear)
    return checks


def _looks(overlay: Overlay, config_file: Path | None, apart: Path) -> list[tuple[str, Look]]:
    """Probes work in a directory apart: the agent's may be what is wrong."""
    settings = overlay.settings
    with plugins_speak_aside():
        registry = installed(settings)
    usable = usable_scanners(settings, registry)
    probed = settings.model_copy(update={"state_dir": apart})
    return [
        ("configuration", _blocking(partial(doctor_host.configuration, overlay, config_file))),
        ("processes", _on(settings, doctor_host.processes)),
        ("state directory", _on(settings, doctor_host.state_directory)),
        ("spool", _on(settings, doctor_host.spool)),
        ("running agent", _on(settings, doctor_host.running_agent)),
        ("targets", _on(settings, doctor_host.targets)),
        ("plugins", partial(doctor_tools.plugins, settings, registry)),
        *doctor_tools.scanners(probed, registry, usable, Spool(apart, now=utc_now)),
        ("collectors", partial(doctor_tools.collectors, settings, registry)),
        ("server", partial(doctor_server.server, settings, utc_now)),
    ]


def _on(settings: Settings, look: Callable[[Settings], Iterator[Check]]) -> Look:
    return _blocking(partial(look, settings))


def _blocking(look: Callable[[], Iterator[Check]]) -> Look:
    async def in_a_thread() -> list[Check]:
        return await anyio.to_thread.run_sync(lambda: list(look()))

    return in_a_thread


def _safe(text: str, secrets: list[str]) -> str:
    return printable(mask(text, *secrets))


def _line(check: Check) -> None:
    text = Text("ok      " if check.ok else "not ok  ", style="green" if check.ok else "bold red")
    text.append(check.what, style="default")
    if check.to_do:
        text.append(f": {check.to_do}", style="default")
    console_for(sys.stdout).print(text, soft_wrap=True)


def _no_line(_check: Check) -> None:
    """The document says it at the end."""
