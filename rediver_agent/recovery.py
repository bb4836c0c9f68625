"""Answers for a predecessor: ends its tools, reports what it had begun, and nothing of it is run
again by itself.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import anyio.to_thread

from rediver_agent import __version__, process
from rediver_agent.contract.results import CommandResult, Reason, ResultStatus
from rediver_agent.errors import DiskFull, SpoolError
from rediver_agent.spool import HeldCommand, Spool
from rediver_agent.state_dir import remove_tree

log = logging.getLogger(__name__)

LEFT_BEHIND: Final = timedelta(days=7)  # no scan that somebody typed takes that long


async def recover(spool: Spool, state_dir: Path, now: Callable[[], datetime]) -> None:
    """Bring a spool and its state directory into order. Call it before anything is begun."""
    runs = [process.RecordedRun(run.run_id, run.pid, run.create_time) for run in spool.runs()]
    if ended := await process.end_leftovers(runs):
        log.warning("ended %d processes that the last agent left behind", ended)
    await anyio.to_thread.run_sync(_answer, spool, state_dir / "work", now)
    await anyio.to_thread.run_sync(_clear, state_dir / "work", now())


def _answer(spool: Spool, work: Path, now: Callable[[], datetime]) -> None:
    for command in spool.held():
        remove_tree(work / command.id)
        if command.state != "finished":
            try:
                spool.finish(command.id, _outcome(command, now()), ())
            except (DiskFull, SpoolError) as fault:  # sending what is there makes room
                log.error("%s: %s", command.id, fault)
    for run_id in spool.fail_unfinished_local():
        log.warning("%s was begun and not finished; it is kept as failed", run_id)
        remove_tree(work / run_id)
    try:
        spool.hurry()  # whatever made it wait may have been mended before the restart
    except (DiskFull, SpoolError) as fault:
        log.error("what waits is sent in its time: %s", fault)


def _clear(work: Path, now: datetime) -> None:
    """Remove what killed probes and typed scans left. What is young may be in use right now."""
    with suppress(OSError):
        for entry in list(work.iterdir()):
            if entry.lstat().st_mtime < (now - LEFT_BEHIND).timestamp():
                remove_tree(entry)


def _outcome(command: HeldCommand, now: datetime) -> CommandResult:
    if command.state == "restarting":
        log.info("%s: restarted", command.id)
        return CommandResult(
            status=ResultStatus.COMPLETED,
            completed_at=now,
            metadata={"restarted": True, "agent_version": __version__},
            attempt=command.attempt,
        )
    log.warning("%s was begun and not finished; it is reported so", command.id)
    return CommandResult(
        status=ResultStatus.FAILED,
        completed_at=now,
        error="the agent was killed during the work; another attempt may fare better",
        metadata={"reason": Reason.AGENT_RESTARTED.value},
        attempt=command.attempt,
        retryable=True,
    )
