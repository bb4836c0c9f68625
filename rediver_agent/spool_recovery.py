"""A spool that SQLite cannot use is set aside, whole, and a new one takes over what can be proven.

Nothing of a damaged file is deleted or written to: it is renamed, with its write-ahead log. Killed
at any point, the next start goes on with it. Only a starting agent does this, behind the state
lock; whoever else meets a damaged spool says so and leaves it.
"""

import fcntl
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from rediver_agent.errors import SpoolError
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.spool_database import FILE_NAME, HOLLOW, foreign_table, is_damage, is_hollow
from rediver_agent.spool_salvage import read_only, salvage, senseless_row
from rediver_agent.state_dir import free_bytes

log = logging.getLogger(__name__)

_LOCK_BYTES: Final = (512, 0x40000000)  # length and start of what SQLite locks in its file
_LEAST_ROOM: Final = 1 << 20
_SUCCESSOR: Final = "spool.successor-"
_PART: Final = ".part"  # of a successor that is being written


def open_or_set_aside(
    settings: Settings, open_spool: Callable[[], Spool], now: Callable[[], datetime]
) -> tuple[Spool, list[str]]:
    """The spool of the state directory; a damaged one is set aside and followed by a new one.

    Returns it with the names of all that stands aside, from earlier starts too. Hold the state
    lock. Raises `SpoolError` where the fault is not the file's: rights, a directory, the disk.
    """
    path = settings.state_dir / FILE_NAME
    try:
        _finish_interrupted(path)
        if why := damage(path):
            _set_aside(path, why, now(), _room(settings))
    except OSError as fault:
        raise SpoolError(f"{path} cannot be used: {fault.strerror}; mend that") from fault
    return open_spool(), set_aside(settings.state_dir)


def set_aside(state_dir: Path) -> list[str]:
    """The damaged spools that stand in a state directory, by name. They are the operator's."""
    return sorted(path.name for path in state_dir.glob("spool.corrupt-*.sqlite3"))


def damage(path: Path) -> str | None:
    """What makes a spool's file unusable, in words. None for a whole one, and where there is none.

    Changes nothing. Not `quick_check`, which believes an index that hides a row: that result would
    never be sent. A full spool of 1 GiB takes 0.7 s, 2 s if its rows are small or the disk is cold.
    """
    if is_hollow(path):
        return HOLLOW
    if not path.is_file():
        return None
    try:
        with path.open("rb+"), closing(read_only(path)) as db:
            if foreign := foreign_table(db):
                return foreign
            said = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
            return senseless_row(db) if said == "ok" else " ".join(said.split())
    except UnicodeDecodeError:  # SQLite quotes a broken schema in its words
        return "its schema is no text"
    except sqlite3.Error as fault:
        if is_damage(fault):
            return str(fault)
        raise SpoolError(
            f"{path} cannot be read: {fault}; mend that, or free disk space"
        ) from fault


def _set_aside(path: Path, why: str, now: datetime, room: int) -> None:
    stamp = _unused_stamp(path.parent, now)
    successor = path.with_name(f"{_SUCCESSOR}{stamp}")
    building = successor.with_name(successor.name + _PART)
    building.mkdir(mode=0o700)
    told = salvage(path, building / FILE_NAME, room)
    _sync(building / FILE_NAME)
    building.rename(successor)  # from here on the next start would finish it
    _replace(path, successor)
    log.error(
        "%s is damaged (%s) and is set aside as %s: %s; the server gives out again what nobody "
        "answers for; delete the file when you are done with it",
        path, why, _aside(path, successor).name, told,
    )  # fmt: skip


def _room(settings: Settings) -> int:
    """For the successor, in bytes: the commands fit always, outcomes while the disk has room."""
    queue = settings.retry_queue
    spare = free_bytes(settings.state_dir) - queue.min_free_bytes
    return max(_LEAST_ROOM, min(queue.max_bytes, spare))


def _finish_interrupted(path: Path) -> None:
    """Do the rest of what a predecessor was killed in."""
    for successor in sorted(path.parent.glob(f"{_SUCCESSOR}*")):
        if successor.name.endswith(_PART):
            shutil.rmtree(successor)
        else:
            log.error("the damaged spool is set aside as %s", _aside(path, successor).name)
            _replace(path, successor)


def _replace(path: Path, successor: Path) -> None:
    """Put the successor in the spool's place. Each step is done once, however often this runs."""
    new, aside = successor / FILE_NAME, _aside(path, successor)
    if new.exists():
        with _used_by_nobody_else(path):
            for suffix in ("-wal", "-shm"):
                if (beside := path.with_name(path.name + suffix)).exists():
                    beside.rename(aside.with_name(aside.name + suffix))
            if path.exists() and not aside.exists():
                aside.hardlink_to(path)
            new.rename(path)
    successor.rmdir()
    _sync(path.parent)


@contextmanager
def _used_by_nobody_else(path: Path) -> Generator[None]:
    """Whoever has the file open would delete the new one's log by its name when he lets go."""
    if not path.exists():
        yield
        return
    with path.open("rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *_LOCK_BYTES)
        except BlockingIOError as fault:
            raise SpoolError(
                f"{path} is damaged and in use by another command; wait for its end, or end it"
            ) from fault
        yield


def _aside(path: Path, successor: Path) -> Path:
    return path.with_name(f"spool.corrupt-{successor.name.removeprefix(_SUCCESSOR)}.sqlite3")


def _unused_stamp(directory: Path, now: datetime) -> str:
    stamp = first = f"{now:%Y%m%dT%H%M%SZ}"
    number = 1
    while next(directory.glob(f"spool.*-{stamp}*"), None):
        number += 1
        stamp = f"{first}-{number}"
    return stamp


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
