"""`rediver-agent status`: whether an agent runs on this state directory, and what it is doing.

Asks neither the agent nor the server: the lock says who runs, and `status.json` what he did last.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, cast

import click

from rediver_agent.cli.options import config_option
from rediver_agent.cli.status_table import write_status
from rediver_agent.errors import SpoolError
from rediver_agent.loops.snapshot import on_disk
from rediver_agent.loops.status_file import FILE_NAME, MOST_SECONDS
from rediver_agent.settings import Settings
from rediver_agent.settings_file import load
from rediver_agent.state_holder import holder_of

NOT_RUNNING: Final = 1
MOST_BYTES: Final = 16 << 20  # of what an agent writes; 64 scans at once make some 100 KiB
SILENT_AFTER: Final = timedelta(seconds=4 * MOST_SECONDS)

State = Literal["running", "starting", "silent", "stopped"]


@dataclass(frozen=True, slots=True)
class Standing:
    """An agent, from outside. `facts` are what it wrote last, this one or its predecessor."""

    state: State
    pid: int | None
    state_dir: Path
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@config_option
def command(as_json: bool, config_file: Path | None) -> None:
    """Show what the agent of this configuration is doing; exit 1 if it does not run."""
    standing = standing_of(load(config_file), datetime.now(UTC))
    if as_json:
        document = {**asdict(standing), "state_dir": str(standing.state_dir)}
        click.echo(json.dumps(document, indent=2))
    else:
        write_status(standing, datetime.now(UTC), sys.stdout)
    if standing.state in ("stopped", "silent"):
        raise SystemExit(NOT_RUNNING)


def standing_of(settings: Settings, now: datetime) -> Standing:
    """Whether and how their agent runs. Raises `SpoolError` where this user may not look."""
    state_dir = settings.state_dir
    holder = holder_of(state_dir)
    facts = _read(state_dir / FILE_NAME)
    if holder is None:
        # What waits may have changed since it wrote: `scan --push` sends it too.
        now_there = {"server": settings.server.base_url, **on_disk(state_dir)}
        return Standing("stopped", None, state_dir, {**facts, **now_there})
    written = _moment(facts.get("written_at"))
    if written is None or written < holder.since or "stopped_at" in facts:  # by one before it
        now_there = {"server": settings.server.base_url, **on_disk(state_dir)}
        return Standing("starting", holder.pid, state_dir, now_there)
    silent = now - written > SILENT_AFTER
    return Standing("silent" if silent else "running", holder.pid, state_dir, facts)


def _moment(written: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(written) if isinstance(written, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _read(path: Path) -> dict[str, Any]:
    """What an agent wrote; nothing where none did, or where a crash left half a file."""
    try:
        # Neither a link nor a pipe, which would hold whoever looks, is an agent's.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(path, flags), "rb") as stream:  # noqa: PTH123 - an open descriptor
            document: object = json.loads(stream.read(MOST_BYTES))
    except FileNotFoundError:
        return {}
    except OSError as fault:
        raise SpoolError(
            f"{path} cannot be read: {fault.strerror}; ask as the user that the agent runs as"
        ) from fault
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}
