"""Finds the repository of a directory, and what is checked out there, by reading its files."""

import os
import stat
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Final

from rediver_agent.below import open_directory, read_file
from rediver_agent.contract.findings import Branch
from rediver_agent.git_context._head import branch_of, read_config, worktree_of

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_POINTER: Final = 8192  # bytes of a file that only names a directory
_POINTER: Final = "gitdir: "


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository's root. `branch` is None where nothing certain is known of what is in it."""

    root: PurePosixPath
    branch: Branch | None


def repository_at(descriptor: int, path: PurePosixPath) -> Repository | None:
    """The repository whose root is this open directory; nothing outside of it is read."""
    try:
        git = open_directory(descriptor, ".git")
    except FileNotFoundError:
        return None
    except OSError:  # a worktree's or a submodule's file leads out of the directory
        return Repository(path, None)
    try:
        return Repository(path, branch_of(git, git))
    finally:
        os.close(git)


def repository_around(descriptor: int, path: PurePosixPath) -> Repository | None:
    """The repository that this open directory is in: its own, or the nearest above it.

    Like git, it looks no further than the file system, and trusts no repository of a stranger:
    its owner is the directory's, this process's user, or root. `path` has no links in it.
    """
    here = os.fstat(descriptor)
    trusted = {here.st_uid, os.geteuid(), 0}
    for directory in (path, *path.parents):
        try:
            if os.lstat(directory).st_dev != here.st_dev:
                return None
            found = os.lstat(directory / ".git")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
        known = found.st_uid in trusted
        return Repository(directory, _branch(directory, found, trusted) if known else None)
    return None


def _branch(root: PurePosixPath, found: os.stat_result, trusted: Collection[int]) -> Branch | None:
    with ExitStack() as opened, suppress(OSError, ValueError):

        def hold(directory: str | PurePath) -> int:
            descriptor = os.open(directory, _DIRECTORY)
            opened.callback(os.close, descriptor)
            return descriptor

        if stat.S_ISDIR(found.st_mode):
            git = hold(root / ".git")
            return branch_of(git, git)
        directory = _named_directory(hold(root), root)
        git = hold(directory)
        if os.fstat(git).st_uid in trusted:
            common = _repository_of(git, directory, root)
            return branch_of(git, hold(common))
    return None


def _named_directory(descriptor: int, root: PurePosixPath) -> Path:
    """Where the file `.git` of a worktree or a submodule says that its repository is."""
    pointer = _line(descriptor, ".git")
    if not pointer.startswith(_POINTER):
        raise ValueError("the file .git names no directory")
    return Path(root, pointer.removeprefix(_POINTER)).resolve(strict=True)


def _repository_of(git: int, directory: Path, root: PurePosixPath) -> Path:
    """Where the branches of a worktree or a submodule are, if it names this root, too.

    Any tree can hold a file that points to somebody's repository: `ValueError` where that does not
    point back.
    """
    if directory.parent.name == "worktrees":
        common = directory.parent.parent
        back = Path(directory, _line(git, "gitdir")).parent
        if Path(directory, _line(git, "commondir")).resolve() != common:
            raise ValueError("a worktree is kept in its own repository")
    else:
        common, back = directory, Path(directory, worktree_of(read_config(git)))
    if PurePosixPath(back.resolve()) != root:
        raise ValueError("the repository does not know of this directory")
    return common


def _line(directory: int, name: str) -> str:
    return read_file(directory, name, _MAX_POINTER).decode().rstrip("\r\n")
