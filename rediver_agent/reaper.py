"""Ends every process of a run, whatever it did to get away.

Who ends a run adopts its orphans (a child subreaper, on Linux), so no descendant leaves the tree
below it: neither a session of its own, nor a double fork, nor a cleared environment helps. The tree
is read from the kernel's own lists of children, which cost the same on a host with thousands of
other processes; a scan of the whole process table does not catch what forks and exits in a loop.
The run id, which every child inherits, finds what was started by others on the run's behalf (at,
a service manager), and what a predecessor left.

The end is proven, not assumed: two looks in a row find nobody. Both the supervisor of a run and the
agent use this. Standard library and psutil only, as a supervisor must start fast.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import psutil

RUN_ID: Final = "REDIVER_RUN_ID"
KILL_SECONDS: Final = 5.0  # for SIGKILL to work; who is there after that cannot be killed
_KILL_STEP: Final = 0.002  # short: what forks and exits in a loop must be met while it is there
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37
_KERNEL_LISTS: Final = Path("/proc/thread-self/children")
_DEAD: Final = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})

Roots = Callable[[], list[int] | None]
"""Where a run's tree begins now: process ids, or None if there is nobody, not even a dead child.

An empty list says that somebody was there a moment ago, so that the next look decides."""


class Tally(NamedTuple):
    """How many processes had to be ended, and how many are there still."""

    killed: int
    survivors: int


def become_subreaper() -> bool:
    """Adopt the orphans of all descendants from now on. False where the system cannot (macOS)."""
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0) == 0


def is_subreaper() -> bool:
    """Whether this process adopts the orphans among its descendants."""
    if sys.platform != "linux":
        return False
    answer = ctypes.c_int(0)
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return answer.value == 1


def children(pid: int) -> list[int]:
    """The direct children of a process, the dead that nobody collected yet among them."""
    return listed_children(pid) if _KERNEL_LISTS.exists() else scanned_children(pid)


def listed_children(pid: int) -> list[int]:
    """As the kernel lists them, whatever else runs on the host."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # that thread has ended
            found += map(int, listed.read_text().split())
    return found


def scanned_children(pid: int) -> list[int]:
    """By a look at every process: on macOS, or with a kernel without CONFIG_PROC_CHILDREN."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def create_time(pid: int) -> float:
    """When a process was created, in epoch seconds. `psutil.NoSuchProcess` if it is gone."""
    return psutil.Process(pid).create_time()


def is_alive(pid: int) -> bool:
    """Whether a process runs. One whose first thread alone has ended looks dead, and is not."""
    try:
        process = psutil.Process(pid)
        return process.status() not in _DEAD or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def carriers(run_ids: Collection[str]) -> list[int]:
    """The live processes that carry one of these run ids in their environment."""
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            carried = process.environ().get(RUN_ID)
            if carried in run_ids and process.pid != os.getpid() and is_alive(process.pid):
                found.append(process.pid)
    return found


class Hunt:
    """The ending of one tree: what is below `roots`, and what carries one of the run ids."""

    def __init__(self, roots: Roots, run_ids: Collection[str]) -> None:
        self._roots = roots
        self._run_ids = run_ids
        self._met: set[int] = set()
        self._asked: set[int] = set()
        self._gone = False

    def ask(self, seconds: float, waited: Callable[[], bool]) -> None:
        """SIGTERM, once to each process group, and up to `seconds` to heed it.

        `waited` is called between looks: it waits a moment, and says whether to go on waiting.
        """
        self._gone = self._until_nobody(self._ask, seconds, waited)

    def kill(self) -> Tally:
        """SIGKILL until nobody is left, for 5 s at most. Says what the whole hunt came to."""
        if self._gone or self._until_nobody(self._kill, KILL_SECONDS, _a_breath):
            return Tally(len(self._met), 0)
        survivors = sum(is_alive(pid) for pid in _walk(self._look() or []))
        return Tally(len(self._met), max(survivors, 1))  # unseen, yet not proven to be gone

    def _until_nobody(
        self, strike: Callable[[list[int]], None], seconds: float, waited: Callable[[], bool]
    ) -> bool:
        deadline = time.monotonic() + seconds
        quiet_looks = 0
        while quiet_looks < 2:
            found = self._look()
            if found is None:
                quiet_looks += 1
                continue
            quiet_looks = 0
            strike(found)
            if not waited() or time.monotonic() > deadline:
                return False
        return True

    def _look(self) -> list[int] | None:
        found = self._roots()
        return carriers(self._run_ids) or None if found is None else found

    def _ask(self, found: list[int]) -> None:
        tree = list(_walk(found))
        for pid in tree:
            self._count(pid)
        groups = {_group(pid) for pid in tree} - self._asked
        self._asked |= groups  # many tools take a second SIGTERM for "at once"
        for group in groups:
            _send(group, signal.SIGTERM)
            _send(group, signal.SIGCONT)  # a stopped process cannot heed it

    def _kill(self, found: list[int]) -> None:
        tree: list[int] = []
        for pid in _walk(found):
            _send(pid, signal.SIGSTOP)  # what stands still does not fork, and its children are few
            self._count(pid)
            tree.append(pid)
        for pid in tree:
            _send(_group(pid), signal.SIGKILL)

    def _count(self, pid: int) -> None:
        if pid not in self._met and is_alive(pid):
            self._met.add(pid)


def _walk(found: list[int]) -> Iterator[int]:
    """These and everything below them, each before its children are looked up."""
    queue = list(found)
    seen = set(queue)
    for pid in queue:
        yield pid
        queue += (below := [child for child in children(pid) if child not in seen])
        seen.update(below)


def _group(pid: int) -> int:
    """Whom to signal for a process, as kill(2) takes it: its whole group, unless that is ours.

    A group is signalled at one moment, so that nothing in it can fork away. All of a group that a
    run's process belongs to is the run's: groups do not reach across sessions. Never 0 or -1.
    """
    try:
        group = os.getpgid(pid)
    except ProcessLookupError:
        return pid
    return -group if group > 1 and group != os.getpgrp() else pid


def _send(whom: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # survivors are counted
        os.kill(whom, number)


def _a_breath() -> bool:
    time.sleep(_KILL_STEP)
    return True
