"""The spool behind a one-shot command: a passing one, or the agent's own when reports are sent."""

import tempfile
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from rediver_agent.agent import open_spool, utc_now
from rediver_agent.client import Client
from rediver_agent.configuration import Configuration
from rediver_agent.loops.deliver import DeliverLoop
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.masking import mask
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool

UNDELIVERED: Final = 2


@contextmanager
def passing_spool(secrets: Collection[str] = ()) -> Generator[Spool]:
    """A spool that is gone when the command ends. What goes through it loses these secrets."""
    with tempfile.TemporaryDirectory(prefix="rediver-") as directory:
        spool = Spool(Path(directory), now=utc_now, mask=lambda text: mask(text, *secrets))
        try:
            yield spool
        finally:
            spool.close()


@contextmanager
def kept_spool(settings: Settings) -> Generator[Spool]:
    """The agent's own spool: what cannot be sent now is sent by the next run."""
    spool = open_spool(settings)
    try:
        yield spool
    finally:
        spool.close()


async def push_reports(settings: Settings, spool: Spool) -> int:
    """Send what waits, once. Returns the exit code: 2 if something still waits or was refused."""
    async with Client(settings.server, now=utc_now) as client:
        configuration = Configuration(settings)
        await DeliverLoop(client, spool, configuration, Doorbell(), utc_now).drain()
    waiting = spool.entries()
    if not waiting:
        click.echo(f"sent to {settings.server.base_url}", err=True)
        return 0
    problem = waiting[0].last_error or "not due yet"
    click.echo(
        f"rediver-agent: {len(waiting)} reports wait in the spool ({problem}); they are sent by "
        "the running agent or the next --push, see `rediver-agent spool list`",
        err=True,
    )
    return UNDELIVERED
