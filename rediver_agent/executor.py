"""The one consumer: whatever brings a command, it runs here, and whatever happens, its outcome is
written to the spool.

A command runs in a cancel scope of its own, kept under its id. Cancelled, lost and stopped are
different causes and are reported as such. Foreign code runs below `_attempt`: nothing that it
raises ends the agent.
"""

import logging
import math
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Final, Protocol

import anyio
import anyio.to_thread
from pydantic import JsonValue

from rediver_agent.contract.commands import AnyCommand, CommandType
from rediver_agent.contract.findings import Report
from rediver_agent.contract.results import CommandResult, Reason, ResultStatus
from rediver_agent.errors import (
    CommandError,
    DiskFull,
    RediverError,
    SpoolError,
    TypeNotAllowed,
)
from rediver_agent.leftover_tasks import end_tasks, remember_tasks
from rediver_agent.log import current_command
from rediver_agent.policy import Policy
from rediver_agent.process import Ended
from rediver_agent.spool import Spool

log = logging.getLogger(__name__)

WRITE_SECONDS: Final = 60.0  # how long the last write may take before a stuck disk is given up
MAX_ERROR: Final = 4000  # characters of a sentence; the tail of a tool's stderr is in it
CONTROL_TYPES: Final = frozenset(CommandType) - {CommandType.SCAN, CommandType.COLLECT}


class Cause(Enum):
    """Why a running command was ended from outside."""

    CANCELLED = auto()
    LEASE_LOST = auto()
    STOPPING = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, before it is a result on the wire. `reports` carry no findings.

    A `deferred` one is not written: the command stays in the ledger, for the next start to answer.
    """

    status: ResultStatus = ResultStatus.COMPLETED
    findings_count: int | None = None
    exit_code: int | None = None
    error: str | None = None
    retryable: bool = False
    metadata: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    reports: tuple[Report, ...] = ()
    deferred: bool = False


@dataclass(slots=True)
class Job:
    """A command in this agent's hands. `commanded` is false for what its operator asked for."""

    command: AnyCommand
    attempt: int | None = None
    commanded: bool = True
    percent: float | None = None
    message: str = ""
    ended: list[Ended] = field(default_factory=list[Ended])
    scope: anyio.CancelScope | None = None
    cause: Cause | None = None
    started_at: datetime | None = None
    watcher: Callable[["Job"], None] | None = None

    @property
    def id(self) -> str:
        return self.command.id

    def say(self, percent: float | None, message: str) -> None:
        """Keep how far the work is, and tell whoever watches."""
        self.percent, self.message = percent, message
        if self.watcher is not None:
            self.watcher(self)

    def tools(self) -> dict[str, JsonValue]:
        """What became of the tools that were started: nobody may be left."""
        if not self.ended:
            return {}
        told: dict[str, JsonValue] = {
            "survivors": sum(run.survivors for run in self.ended),
            "processes_killed": sum(run.killed for run in self.ended),
        }
        if not all(run.guaranteed for run in self.ended):
            told["survivors_guaranteed"] = False  # on macOS a process may have left the group
        return told


class Handler(Protocol):
    """Does the work of one command type. Raises `CommandError` for what cannot go on."""

    async def handle(self, job: Job) -> Outcome: ...


class Executor:
    """Runs jobs: `max_concurrent` at once, control types beside them."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        policy: Policy,
        spool: Spool,
        max_concurrent: int,
        now: Callable[[], datetime],
        clock_skew: Callable[[], timedelta] = timedelta,
    ) -> None:
        self._handlers = dict(handlers)
        self._policy = policy
        self._spool = spool
        self._slots = anyio.CapacityLimiter(max_concurrent)
        self._now = now
        self._clock_skew = clock_skew
        self.kept_for_server = 0
        """Slots that local work leaves free, where there are several."""
        self._jobs: dict[str, Job] = {}
        self._unwritten: dict[str, Callable[[], Awaitable[None]]] = {}
        self._writing_late = anyio.Lock()
        self._idle = anyio.Event()
        self.finished = 0
        self.failed = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """How many of each type ended how."""
        self.on_begin: Callable[[Job], None] = lambda _job: None
        """Called when a job has begun."""
        self.on_result: Callable[[Job, CommandResult], None] = lambda _job, _result: None
        """Called when a job's result is on disk."""
        self.on_end: Callable[[], None] = lambda: None
        """Called when a job is over and its slot is free."""

    def add_handler(self, type_name: str, handler: Handler) -> None:
        """Take commands of this type, too."""
        self._handlers[type_name] = handler

    @property
    def command_types(self) -> list[str]:
        """The types that have a handler and are allowed here."""
        return sorted(set(self._handlers) & set(self._policy.command_types))

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What is in hand now, oldest first."""
        return tuple(self._jobs.values())

    @property
    def slots(self) -> int:
        """How many scans and collections may run at once."""
        return math.floor(self._slots.total_tokens)

    @property
    def free_slots(self) -> int:
        """How many more of them could begin at once."""
        return max(0, self.slots - len(self._in_slots()))

    def resize(self, slots: int) -> None:
        """Allow so many at once from now on. What runs goes on."""
        self._slots.total_tokens = slots

    def room_for_local(self) -> bool:
        """Whether local work may begin: it leaves to the server what is kept for it."""
        local = sum(not job.commanded for job in self._in_slots())
        return self.free_slots > 0 and local < max(1, self.slots - self.kept_for_server)

    def _in_slots(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.command.type not in CONTROL_TYPES]

    def cancel(
        self, command_id: str, cause: Cause, attempts: Container[int | None] | None = None
    ) -> bool:
        """End a job from outside, or only one of these attempts at it.

        False if it is not in hand, or is being ended already.
        """
        job = self._jobs.get(command_id)
        if job is None or job.scope is None or job.cause is not None:
            return False
        if attempts is not None and job.attempt not in attempts:
            return False
        if cause is not Cause.STOPPING and not job.commanded:  # its operator's, and no server's
            return False
        job.cause = cause
        job.scope.cancel()
        return True

    def cancel_all(self, cause: Cause) -> None:
        """End everything that is in hand."""
        for command_id in list(self._jobs):
            self.cancel(command_id, cause)

    async def wait_idle(self) -> None:
        """Return when nothing is in hand and every outcome is written."""
        while self._jobs:
            self._idle = anyio.Event()
            await self._idle.wait()

    async def execute(self, job: Job) -> Outcome:
        """Run a job to its outcome and write it. Returns the outcome; raises only cancellation."""
        self._jobs[job.id] = job
        job.scope = anyio.CancelScope()
        job.started_at = started = self._now()
        named = current_command.set(job.id)
        tasks = remember_tasks()
        self.on_begin(job)
        outcome = _never_ran()
        try:
            with job.scope:
                outcome = await self._attempt(job)
            if job.scope.cancelled_caught:
                outcome = _ended_from_outside(job)
        except anyio.get_cancelled_exc_class():
            job.cause = job.cause or Cause.STOPPING
            outcome = _ended_from_outside(job)
            raise
        finally:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + WRITE_SECONDS):
                outcome = _without(await end_tasks(tasks), job, outcome)
                outcome = await self._write(job, outcome, started)
            self._count(job, outcome)
            current_command.reset(named)
            if self._jobs.get(job.id) is job:  # else a newer attempt is in hand
                del self._jobs[job.id]
            if not self._jobs:
                self._idle.set()
            self.on_end()
        return outcome

    def _count(self, job: Job, outcome: Outcome) -> None:
        self.finished += 1
        self.failed += outcome.status is ResultStatus.FAILED
        # What a server calls its commands is not ours to remember without end.
        known = job.command.type if job.command.type in self._handlers else "unknown"
        self.outcomes[known, outcome.status.value] += 1

    async def _attempt(self, job: Job) -> Outcome:
        try:
            handler = self._allowed(job)
            if job.command.type in CONTROL_TYPES:
                return await handler.handle(job)
            async with self._slots:
                return await handler.handle(job)
        except CommandError as fault:
            return _refused(fault)
        except RediverError as fault:
            return failure(Reason.AGENT_ERROR, str(fault), retryable=True)
        except BaseException as fault:  # a plugin's own fault ends its command only: sys.exit() too
            if isinstance(fault, anyio.get_cancelled_exc_class()) and _is_cancelled():
                raise
            log.exception("%s: the plugin failed", job.id)
            return failure(Reason.PLUGIN_ERROR, described(fault))

    def _allowed(self, job: Job) -> Handler:
        if job.commanded:
            self._policy.check_type(job.command)
            self._policy.check_age(job.command, self._now() + self._clock_skew())
        handler = self._handlers.get(job.command.type)
        if handler is None:
            raise TypeNotAllowed(_no_handler(job.command.type))
        return handler

    async def _write(self, job: Job, outcome: Outcome, started: datetime) -> Outcome:
        """Write it, or a failure in its place. Returns which: what is not on disk is no success."""
        try:
            if job.cause is Cause.LEASE_LOST:
                await anyio.to_thread.run_sync(self._spool.forget, job.id)
            elif not outcome.deferred:
                await self._finish(job, self._result(job, outcome, started), outcome.reports)
        except DiskFull:
            # The findings do not fit; the bare outcome may.
            bare = failure(Reason.DISK_FULL, "the agent's disk is full; free space", retryable=True)
        except SpoolError as fault:
            bare = failure(Reason.AGENT_ERROR, str(fault), retryable=True)
        except (ValueError, TypeError, RecursionError) as fault:
            # A plugin said what is no JSON of the contract: its result is a failure, and goes out.
            log.exception("%s: the plugin's outcome cannot be written", job.id)
            bare = failure(Reason.PLUGIN_ERROR, described(fault))
        else:
            return outcome
        late = partial(self._finish, job, self._result(job, bare, started), ())
        try:
            await late()
        except (DiskFull, SpoolError) as fault:
            log.error("%s: the outcome cannot be written yet: %s", job.id, fault)
            self._unwritten[job.id] = late
        return bare

    async def write_late(self) -> int:
        """Write the outcomes that the disk had no room for, and say how many those were.

        Raises `DiskFull` or `SpoolError` as long as it has none.
        """
        async with self._writing_late:  # whoever asks meanwhile must not write it twice
            late = list(self._unwritten.items())
            for command_id, write in late:
                await write()
                del self._unwritten[command_id]
                log.info("%s: the outcome is written now", command_id)
            return len(late)

    async def _finish(self, job: Job, result: CommandResult, reports: Sequence[Report]) -> None:
        write = self._spool.finish if job.commanded else self._spool.finish_local
        await anyio.to_thread.run_sync(write, job.id, result, reports)
        self.on_result(job, result)

    def _result(self, job: Job, outcome: Outcome, started: datetime) -> CommandResult:
        now = self._now()
        return CommandResult(
            status=outcome.status,
            completed_at=now,
            duration_ms=max(0, round((now - started).total_seconds() * 1000)),
            exit_code=outcome.exit_code,
            findings_count=outcome.findings_count,
            error=_sentence(outcome.error) if outcome.error else None,
            metadata={**outcome.metadata, **job.tools()},
            attempt=job.attempt,
            retryable=outcome.retryable or None,
        )


def _without(tasks: Sequence[str], job: Job, outcome: Outcome) -> Outcome:
    """The outcome, saying which tasks the plugin has left: they are ended, its work is over."""
    if not tasks:
        return outcome
    log.warning("%s: the plugin left tasks behind, which are ended: %s", job.id, ", ".join(tasks))
    return replace(outcome, metadata={**outcome.metadata, "leftover_tasks": list(tasks)})


def failure(reason: Reason, error: str, *, retryable: bool = False) -> Outcome:
    """A failed outcome with its reason and a sentence."""
    return Outcome(
        status=ResultStatus.FAILED,
        error=error,
        retryable=retryable,
        metadata={"reason": reason.value},
    )


def _refused(fault: CommandError) -> Outcome:
    """A plugin may have made an error of its own, whose reason is none, or that has no words."""
    try:
        return failure(Reason(fault.reason), str(fault), retryable=fault.retryable)
    except Exception:
        log.exception("the plugin's error is none that a result can carry")
        return failure(Reason.PLUGIN_ERROR, described(fault))


def _no_handler(command_type: str) -> str:
    if command_type in set(CommandType):
        return f"this agent has no handler for {command_type!r} commands"
    return (
        f"no plugin of this agent handles {command_type!r} commands; install the one that does, "
        f"such as rediver-{command_type.replace('_', '-')}, and see `rediver-agent plugins`"
    )


def _sentence(error: str) -> str:
    """What a tool or a plugin said, as text that the contract takes."""
    return error[:MAX_ERROR].encode(errors="replace").decode()


def described(fault: BaseException) -> str:
    """A foreign exception in a line, even one that cannot say what it is."""
    return traceback.format_exception_only(fault)[-1].strip()


def _is_cancelled() -> bool:
    """Whether it is we who cancel: foreign code may raise a cancellation of its own."""
    return anyio.current_effective_deadline() == -math.inf


def _never_ran() -> Outcome:
    return failure(Reason.AGENT_STOPPED, "the agent stopped before the work began", retryable=True)


def _ended_from_outside(job: Job) -> Outcome:
    if job.cause is Cause.CANCELLED:
        return Outcome(status=ResultStatus.CANCELLED, error="cancelled on request")
    if job.cause is Cause.LEASE_LOST:
        return failure(Reason.LEASE_LOST, "the server gave the command to another agent")
    return failure(Reason.AGENT_STOPPED, "the agent was stopped during the work", retryable=True)
