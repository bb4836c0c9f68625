"""What an agent does by itself: scans its targets and asks its collectors, again and again.

Each piece of work (a scanner on a target, or a collector) is due an interval after it was last
begun, or when the cron expression next fires; when that was is on disk, so that a restart neither
does it at once again nor waits anew. What was missed counts once. What is new, and what the clock
says lies in the future, is due now. Work that cannot be begun is a failed run that is kept: never
silence. Where a server commands too, it is asked first, and keeps a slot.
"""

import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from pydantic import ValidationError

from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import (
    CollectCommand,
    CollectPayload,
    ScanCommand,
    ScanPayload,
)
from rediver_agent.contract.results import CommandResult, Reason, ResultStatus
from rediver_agent.cron import next_after
from rediver_agent.errors import (
    DiskFull,
    InvalidPayload,
    SpoolDamaged,
    SpoolError,
    ToolMissing,
)
from rediver_agent.executor import Executor, Job, Outcome
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import LocalWork, Spool
from rediver_agent.state_dir import free_bytes
from rediver_agent.status import Status

log = logging.getLogger(__name__)

# So much later at most, so that a fleet that is started or timed alike does not fetch its rules
# and send its reports in one moment. Never earlier than was asked for.
SPREAD: Final = 0.1  # of the time until then
MOST_SPREAD: Final = timedelta(minutes=5)
LOOK_SECONDS: Final = 60.0  # a clock that was set, or a machine that slept, is noticed so soon
FAULT_SECONDS: Final = 30.0  # before the spool is tried again
CLOCK_SLACK: Final = timedelta(minutes=1)  # that a clock may be corrected by, and nothing follows
NO_SCANNER: Final = ""  # stands for the scanner where there is none at all


@dataclass(slots=True)
class LocalSchedule:
    """One producer of jobs. `bell` is rung when a slot is free or settings have changed."""

    configuration: Configuration
    registry: Registry
    executor: Executor
    spool: Spool
    tasks: TaskGroup
    """Where jobs run: they outlive `run`."""
    now: Callable[[], datetime]
    status: Status
    bell: Doorbell
    outbox_bell: Doorbell
    """Rung when there may be something to send."""
    ask_server_first: Callable[[], Awaitable[None]]
    scanners: Callable[[], list[str]]
    """Those that are usable, where the operator has listed none."""
    on_damage: Callable[[], None]
    _in_hand: set[LocalWork] = field(default_factory=set[LocalWork])

    async def run(self) -> None:
        """Begin what is due until cancelled. What was begun goes on."""
        while True:
            try:
                await self.executor.write_late()
                wait = await self._begin_what_is_due()
            except SpoolDamaged as fault:
                log.error("local work: %s", fault)
                self.on_damage()
                wait = FAULT_SECONDS
            except (SpoolError, DiskFull, OSError) as fault:
                log.error("local work: %s; trying again in %.0f s", fault, FAULT_SECONDS)
                wait = FAULT_SECONDS
            await self.bell.wait(wait)

    async def _begin_what_is_due(self) -> float:
        """Begin as much as there is room for. Returns how many seconds to wait before the next."""
        if not self.spool.for_server:  # else this is done where reports are sent
            max_age = self.configuration.settings.retry_queue.max_age
            await anyio.to_thread.run_sync(self.spool.prune, max_age)
        while (due := await self._due()) and due[0][0] <= self.now():
            if not (self.executor.room_for_local() and await self._room_on_disk()):
                return LOOK_SECONDS
            await self.ask_server_first()
            if self.executor.room_for_local():
                await self._begin(due[0][1])
        until = (due[0][0] - self.now()).total_seconds() if due else LOOK_SECONDS
        return min(max(until, 0.0), LOOK_SECONDS)

    async def _due(self) -> list[tuple[datetime, LocalWork]]:
        """All work that is not in hand and when it is due, the most overdue first."""
        settings, now = self.configuration.settings, self.now()
        starts = await anyio.to_thread.run_sync(self.spool.local_starts)
        due = {
            work: _due_at(settings, work, starts.get(work), now) for work in self._work(settings)
        }
        self.status.next_scan_at = _first(due, "scan", now)
        self.status.next_collect_at = _first(due, "collect", now)
        waiting = [(at, work) for work, at in due.items() if work not in self._in_hand]
        return sorted(waiting, key=lambda each: each[0])  # alike ones as they are configured

    def _work(self, settings: Settings) -> list[LocalWork]:
        names = [NO_SCANNER]
        if settings.targets:
            listed = settings.scanners
            names = (
                self.scanners()
                if listed is None
                else [section.name for section in listed if section.enabled]
            ) or names
        scans = [LocalWork("scan", name, target) for target in settings.targets for name in names]
        collections = [
            LocalWork("collect", name, "")
            for name in settings.enabled_collectors()
            if self.registry.may_fetch(name)
        ]
        return list(dict.fromkeys([*scans, *collections]))

    async def _room_on_disk(self) -> bool:
        settings = self.configuration.settings
        left = await anyio.to_thread.run_sync(free_bytes, settings.state_dir)
        if left < settings.retry_queue.min_free_bytes:
            log.error("the disk is nearly full: no local work is begun; free space")
            return False
        return True

    async def _begin(self, work: LocalWork) -> None:
        run_id = f"local_{uuid.uuid4().hex[:24]}"
        await anyio.to_thread.run_sync(self.spool.begin_local, run_id, *work)
        try:
            job = self._job(run_id, work)
        except (ToolMissing, InvalidPayload) as fault:
            log.error("%s: %s: %s", run_id, _named(work), fault)
            result = _failed(fault.reason, str(fault), self.now())
            await anyio.to_thread.run_sync(self.spool.finish_local, run_id, result, ())
            return
        log.info("%s: %s begins", run_id, _named(work))
        self._in_hand.add(work)
        self.tasks.start_soon(self._run, job, work)
        await anyio.lowlevel.checkpoint()  # by now the executor counts it

    def _job(self, run_id: str, work: LocalWork) -> Job:
        """Raises `ToolMissing` where there is no scanner at all, `InvalidPayload` for odd names."""
        if work.kind == "scan" and work.name == NO_SCANNER:
            installed = ", ".join(sorted(self.registry.scanners)) or "none"
            raise ToolMissing(
                f"no scanner is usable (plugins: {installed}); install a tool such as semgrep, or "
                "enable one in `scanners`, and see `rediver-agent plugins`"
            )
        try:
            if work.kind == "scan":
                scan = ScanPayload(scanner=work.name, target=work.target)
                return Job(ScanCommand(id=run_id, type="scan", payload=scan), commanded=False)
            collect = CollectPayload(collector=work.name)
            return Job(CollectCommand(id=run_id, type="collect", payload=collect), commanded=False)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise InvalidPayload(f"{place} cannot be used: {fault['msg']}; shorten it") from error

    async def _run(self, job: Job, work: LocalWork) -> None:
        try:
            _say(job.id, work, await self.executor.execute(job))
        finally:
            self._in_hand.discard(work)
            self.outbox_bell.ring()
            self.bell.ring()


def _due_at(settings: Settings, work: LocalWork, last: datetime | None, now: datetime) -> datetime:
    """When it is to be begun, give or take nothing: the same whenever it is asked."""
    if last is None or last > now + CLOCK_SLACK:
        return datetime.min.replace(tzinfo=UTC)
    agent = settings.agent
    if work.kind == "scan" and agent.scan_cron is not None:
        nominal = next_after(agent.scan_cron, last)
    else:
        interval = agent.scan_interval if work.kind == "scan" else agent.collect_interval
        nominal = last + interval
    share = random.Random(f"{agent.name} {work} {last}").random()  # noqa: S311 - spreads load, guards nothing
    return nominal + min((nominal - last) * SPREAD, MOST_SPREAD) * share


def _first(due: dict[LocalWork, datetime], kind: str, now: datetime) -> datetime | None:
    """When the first work of a kind is due; what is overdue is due now."""
    times = [at for work, at in due.items() if work.kind == kind]
    return max(min(times), now) if times else None


def _say(run_id: str, work: LocalWork, outcome: Outcome) -> None:
    if outcome.status is ResultStatus.COMPLETED:
        found = outcome.findings_count or 0
        plural = "" if found == 1 else "s"
        log.info("%s: %s: done, %d finding%s", run_id, _named(work), found, plural)
    else:
        reason = outcome.metadata.get("reason", outcome.status.value)
        what = f"{_named(work)}: {reason}, NOT a clean result"
        log.error("%s: %s: %s", run_id, what, outcome.error)


def _named(work: LocalWork) -> str:
    if work.kind == "collect":
        return f"collecting by {work.name}"
    return f"scan of {work.target}" + (f" by {work.name}" if work.name else "")


def _failed(reason: Reason, error: str, now: datetime) -> CommandResult:
    return CommandResult(
        status=ResultStatus.FAILED,
        completed_at=now,
        duration_ms=0,
        error=error,
        metadata={"reason": reason.value},
    )
