"""Opens files below a directory that is held open, component by component, following no link: what
a hostile tree points to elsewhere is never read.
"""

import errno
import os
import stat
from pathlib import PurePosixPath
from typing import Final

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DIRECTORY: Final = _FILE | os.O_DIRECTORY


def open_directory(directory: int, path: str) -> int:
    """A descriptor of a directory below `directory`. `OSError` if a link is on the way to it."""
    return _descend(directory, _parts(path))


def open_file(directory: int, path: str) -> int:
    """A descriptor of a regular file. `OSError` if it is none, or a link is on the way to it."""
    *parents, name = _parts(path)
    below = _descend(directory, parents)
    try:
        descriptor = os.open(name, _FILE, dir_fd=below)
    finally:
        os.close(below)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(kind, "it is no regular file")
    return descriptor


def read_file(directory: int, path: str, most: int) -> bytes:
    """A regular file's content, at most `most` bytes. `OSError` where it is more, or no file."""
    with os.fdopen(open_file(directory, path), "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most >> 10} KiB")
    return content


def is_below(directory: int, path: str) -> bool:
    """Whether there is something of that name, and no link on the way to it."""
    try:
        *parents, name = _parts(path)
        below = _descend(directory, parents)
        try:
            os.stat(name, dir_fd=below, follow_symlinks=False)
        finally:
            os.close(below)
    except OSError:
        return False
    return True


def why(fault: OSError) -> str:
    """Why a file or a directory could not be opened, in words."""
    if fault.errno == errno.ELOOP:
        return "a symbolic link leads there"
    if fault.errno == errno.ENOTDIR:
        return "a part of it is no directory, or a symbolic link"
    return (fault.strerror or str(fault)).lower()


def _parts(path: str) -> list[str]:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise OSError(errno.EINVAL, "it is no path below the directory")
    return list(parts)


def _descend(directory: int, parts: list[str]) -> int:
    here = os.dup(directory)
    try:
        for part in parts:
            below = os.open(part, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
    except OSError:
        os.close(here)
        raise
    return here
