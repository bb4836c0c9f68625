"""Whether an agent runs on a state directory, asked from outside.

The lock is never taken for it, not for a moment: an agent that starts just then would be refused.
Linux says who holds it. Elsewhere the lock file's process has to be alive and older than the file.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from rediver_agent.errors import SpoolError

_LOCKS: Final = Path("/proc/locks")
_ROUNDING: Final = 2.0  # seconds, between a process's birth and a file's time


class Holder(NamedTuple):
    """The process of an agent, as it is called here: within a container it has another number."""

    pid: int
    since: datetime


def holder_of(directory: Path) -> Holder | None:
    """Who runs an agent on this state directory; None if nobody does.

    Raises `SpoolError` where this user may not look.
    """
    path = directory / "lock"
    try:
        file = path.stat()
        written = path.read_text(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise SpoolError(
            f"{path} cannot be read: {fault.strerror}; ask as the user that the agent runs as"
        ) from fault
    since = datetime.fromtimestamp(file.st_mtime, UTC)
    noted = int(written) if written.isascii() and written.isdigit() else None
    try:
        locks = _LOCKS.read_text()
    except OSError:
        return Holder(noted, since) if noted and _is_older(noted, file.st_mtime) else None
    pid = _holder_in(locks, file, noted)
    return None if pid is None else Holder(pid, since)


def _holder_in(locks: str, file: os.stat_result, noted: int | None) -> int | None:
    """Whom the kernel's list names: `1: FLOCK  ADVISORY  WRITE 4711 fd:01:262146 0 EOF`."""
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    for line in locks.splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[1] != "FLOCK" or fields[3] != "WRITE":
            continue
        place, _, inode = fields[5].rpartition(":")
        pid = int(fields[4])
        # Some file systems (btrfs, overlay) have another device here than for `stat`.
        if inode == str(file.st_ino) and (place == device or pid == noted):
            return pid
    return None


def _is_older(pid: int, moment: float) -> bool:
    """Whether the process that wrote this file lives: its number may be another's by now."""
    try:
        return psutil.Process(pid).create_time() <= moment + _ROUNDING
    except psutil.Error:
        return False
