"""Processes that no supervisor looks after: what the agent has to end by itself.

They are what a predecessor left, when it and its supervisors were killed, and the orphans of a
supervisor that was killed under this agent, which inherits them if it is a subreaper.
"""

import contextlib
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import anyio.to_thread
import psutil

from rediver_agent.reaper import Hunt, Tally, children, create_time, is_alive, is_subreaper

_CLOCK_STEP: Final = 2.0  # seconds: the kernel's idea of when it booted moves with the wall clock

# Whose child is whose is a fact of the whole process, hence two globals. The lock makes starting a
# supervisor and knowing it one step, for who looks for orphans in another thread.
SUPERVISORS: Final[set[int]] = set()
BIRTH: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What must be written down of a run, so that a successor of the agent can end it."""

    run_id: str
    pid: int
    create_time: float


async def end_leftovers(runs: Iterable[RecordedRun]) -> int:
    """Kill what a predecessor left of these runs, and say how many processes that were.

    That is the recorded program with its group and all below it, if it is the same process still
    (not another one with its number), and whatever carries one of the run ids.
    """
    recorded = list(runs)
    hunt = Hunt(lambda: _still_there(recorded) or None, {run.run_id for run in recorded})
    return (await anyio.to_thread.run_sync(hunt.kill)).killed


async def end_unsupervised(run_id: str, recorded: RecordedRun | None) -> Tally:
    """Kill a run whose supervisor is lost: its orphans, its program, and what carries its id."""

    def roots() -> list[int] | None:
        leader = _still_there([recorded] if recorded else [])
        orphans = _orphans()
        return None if orphans is None and not leader else [*leader, *(orphans or [])]

    return await anyio.to_thread.run_sync(Hunt(roots, {run_id}).kill)


def _still_there(recorded: Iterable[RecordedRun]) -> list[int]:
    return [run.pid for run in recorded if _is_same(run)]


def _is_same(run: RecordedRun) -> bool:
    try:
        return abs(create_time(run.pid) - run.create_time) < _CLOCK_STEP and is_alive(run.pid)
    except psutil.NoSuchProcess:
        return False


def _orphans() -> list[int] | None:
    """Children that the agent did not start: it inherited them from a supervisor that was lost.

    Programs run in sessions of their own, whatever they do; children that other parts of the agent
    may have are in the agent's session, and are left alone.
    """
    if not is_subreaper():
        return None
    with BIRTH:
        inherited = [pid for pid in children(os.getpid()) if pid not in SUPERVISORS]
    orphans = [pid for pid in inherited if _has_left_our_session(pid)]
    return [pid for pid in orphans if not _collected(pid)] if orphans else None


def _has_left_our_session(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid) != os.getsid(0)
    return False


def _collected(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    return True
