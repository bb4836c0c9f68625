"""Whose turn it is: work on one thing is done by one at a time, in the order of asking.

Whoever waits holds his slot and his lease, and his time-out has not begun.
"""

import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio

from rediver_agent.errors import SpoolError

LOOK_SECONDS: Final = 0.1  # an flock cannot be waited for and be cancelled too


@dataclass(slots=True)
class _Queue:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    members: int = 0


class Turns:
    """Turns within this process, by any key."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, _Queue] = {}

    @asynccontextmanager
    async def take(self, key: Hashable, waiting: Callable[[], None]) -> AsyncGenerator[None]:
        """Hold the turn of `key`. `waiting` is called if it has to be waited for."""
        queue = self._queues.setdefault(key, _Queue())
        queue.members += 1
        try:
            if queue.lock.locked():
                waiting()
            async with queue.lock:
                yield
        finally:
            queue.members -= 1
            if not queue.members:
                del self._queues[key]


@asynccontextmanager
async def alone_in(directory: Path, waiting: Callable[[], None]) -> AsyncGenerator[None]:
    """Hold a directory against other processes too: an agent, and a scan that somebody typed.

    The lock is an flock on a descriptor that no child inherits. Raises `SpoolError`.
    """
    path = directory / ".lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as fault:
        raise SpoolError(f"{path} cannot be used: {fault.strerror}; set state_dir") from fault
    try:
        if not _locked(descriptor):
            waiting()
            while not _locked(descriptor):  # noqa: ASYNC110 - another process lets go of it, in silence
                await anyio.sleep(LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
