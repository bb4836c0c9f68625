"""The agent's directory: private to its user, and used by one running agent at a time.

The lock is an flock on a descriptor that no child inherits, so it ends with the agent, however it
ends.
"""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rediver_agent.errors import DiskFull, SpoolError


def private_directory(path: Path) -> Path:
    """Make a directory (and its parents) that only this user may enter.

    One that is there already is left as it is. Raises `SpoolError`, also for a directory that
    everybody may write to: whoever can may put a spool or a report of his there.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except OSError as fault:
        raise SpoolError(f"{path} cannot be used: {fault.strerror}; set state_dir") from fault
    if mode & stat.S_IWOTH:
        raise SpoolError(f"everybody may write to {path}; set state_dir to a directory of its own")
    return path


def remove_tree(path: Path) -> None:
    """Remove a directory and all in it, as far as this user may. Follows no link, never raises.

    Tools make directories read-only (Go its module cache) or nest them without end; neither may
    fill the disk with what `shutil.rmtree` leaves.
    """
    pending, directories = [] if path.is_symlink() else [path], list[Path]()
    while pending:
        directories.append(directory := pending.pop())
        entries: list[os.DirEntry[str]] = []
        with suppress(OSError):
            directory.chmod(stat.S_IRWXU)
            with os.scandir(directory) as found:
                entries += found
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                else:
                    Path(entry.path).unlink()
    for directory in reversed(directories):
        with suppress(OSError):
            directory.rmdir()


def replace_file(path: Path, text: str) -> None:
    """Put `text` into a file of this user's alone: whole and on the disk, or not at all.

    Raises `DiskFull`, or `SpoolError` where it cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)  # or the old file may be back after a power cut
        finally:
            os.close(directory)
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"{path} cannot be written: the disk is full; free space") from fault
        raise SpoolError(f"{path} cannot be written: {fault.strerror}; see state_dir") from fault


def free_bytes(path: Path) -> int:
    """What the file system of `path` still takes from an ordinary user."""
    return shutil.disk_usage(path).free


class StateLock:
    """Held while an agent runs. A second one on the same directory is refused, naming the first."""

    def __init__(self, directory: Path) -> None:
        self._path = private_directory(directory) / "lock"
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise SpoolError(
                f"{self._path} cannot be used: {fault.strerror}; set state_dir"
            ) from fault
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise SpoolError(
                f"another agent (process {holder}) runs on {self._path.parent}; stop it, or give "
                "this one its own state_dir"
            ) from None
        with suppress(OSError):  # a full disk: it is locked all the same, by an unknown process
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
