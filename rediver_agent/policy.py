"""What a command may do here: its type, its age, its target. No server can widen it.

A target is checked by opening it: the root as the operator wrote it, links followed, and the rest
below that descriptor, component by component, without following any link. The tool then starts in
that descriptor, so what was checked is what is scanned.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from rediver_agent.below import why
from rediver_agent.contract.commands import AnyCommand
from rediver_agent.errors import CommandExpired, TargetNotAllowed, TypeNotAllowed

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(slots=True)
class OpenTarget:
    """A directory that may be scanned, held open. `path` is for messages and reports."""

    descriptor: int
    path: PurePosixPath

    def close(self) -> None:
        """Let go of the directory; closing twice does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass(frozen=True, slots=True)
class Policy:
    """An agent's allow-lists, as its operator configured them."""

    command_types: Collection[str]
    roots: Sequence[str]

    def check_type(self, command: AnyCommand) -> None:
        """Raise `TypeNotAllowed` unless the operator allows this type."""
        if command.type not in self.command_types:
            raise TypeNotAllowed(
                f"this agent does not allow {command.type!r} commands; its operator can add the "
                "type to security.allowed_command_types"
            )

    def check_age(self, command: AnyCommand, server_now: datetime) -> None:
        """Raise `CommandExpired` if its time is over by the server's clock."""
        if command.expires_at is not None and command.expires_at <= server_now:
            raise CommandExpired(f"the command expired at {command.expires_at.isoformat()}")

    def open_commanded(self, target: str) -> OpenTarget:
        """Open a target that a server named. `TargetNotAllowed` unless a root contains it."""
        path = _plain_absolute(target)
        for root in self.roots:
            for spelling in _spellings(root):
                if path.is_relative_to(spelling):
                    return OpenTarget(_descend(spelling, path.relative_to(spelling).parts), path)
        allowed = ", ".join(self.roots) or "none are configured"
        raise TargetNotAllowed(f"{target!r} is not below an allowed root ({allowed})")


def open_typed(target: str) -> OpenTarget:
    """Open a target that the operator typed, links followed: typing it allows it.

    Raises `TargetNotAllowed` if it is no directory that can be read, or that a report can name.
    """
    try:
        path = Path(target).expanduser().resolve(strict=True)
        str(path).encode()
        return OpenTarget(os.open(path, _DIRECTORY), PurePosixPath(path))
    except UnicodeEncodeError as fault:
        raise TargetNotAllowed(f"{target!r} cannot be scanned: its name is not UTF-8") from fault
    except OSError as fault:
        why = (fault.strerror or str(fault)).lower()
        raise TargetNotAllowed(f"{target!r} cannot be scanned: {why}") from fault


def _plain_absolute(target: str) -> PurePosixPath:
    path = PurePosixPath(target)
    if target.startswith("-") or "\0" in target:
        raise TargetNotAllowed(f"{target!r} is no path")
    if ".." in path.parts:
        raise TargetNotAllowed(f"{target!r} has a `..` in it; name the directory itself")
    if not path.is_absolute():
        raise TargetNotAllowed(f"{target!r} is not an absolute path")
    return PurePosixPath("/" + str(path).lstrip("/"))  # POSIX lets `//x` mean something else


def _spellings(root: str) -> list[PurePosixPath]:
    """A root as the operator wrote it, and where it leads."""
    written = Path(root).expanduser().absolute()
    return [PurePosixPath(written), PurePosixPath(os.path.realpath(written))]


def _descend(root: PurePosixPath, parts: Sequence[str]) -> int:
    descriptor = -1
    try:
        descriptor = os.open(root, _DIRECTORY)
        for part in parts:
            below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    except OSError as fault:
        if descriptor >= 0:
            os.close(descriptor)
        path = root.joinpath(*parts)
        raise TargetNotAllowed(f"'{path}' cannot be scanned: {why(fault)}") from fault
    return descriptor
