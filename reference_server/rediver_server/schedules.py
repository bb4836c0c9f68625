"""What schedules make: one command for each fire time that counts, however many servers run.

Whoever locks a due schedule decides for it. The command and the next fire time commit together:
when a server dies the schedule stays due, for any other. The unique index over (schedule, fire
time) has the last word.
"""

import hashlib
import logging
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.exc import IntegrityError

from rediver_agent.contract import CommandCreate, CommandStatus, MissedRun, Overlap
from rediver_server import orders, schedule_times
from rediver_server.db import Database, Transaction
from rediver_server.errors import ApiError
from rediver_server.models import Command, ScanSchedule

log = logging.getLogger(__name__)

ON_TIME: Final = timedelta(seconds=60)
_AT_ONCE: Final = 500
_DAY: Final = timedelta(days=1)
_TRY_AGAIN: Final = timedelta(hours=1)
_PAYLOAD: Final = ("scanner", "target", "config", "timeout_seconds")


def fire_due(db: Database) -> int:
    """Deal with the schedules that are due, and return how many: several hundred at most.

    Call it about every second. Of several callers at once each deals with different ones.
    """
    with db.read() as tx:
        due = select(ScanSchedule.id).where(_is_due(tx)).order_by(ScanSchedule.next_run_at)
        found = tx.scalars(due.limit(_AT_ONCE)).all()
    return sum(_deal_with(db, schedule_id) for schedule_id in found)


def order(schedule: ScanSchedule, **times: datetime) -> CommandCreate:
    """What the schedule wants done."""
    payload = {name: getattr(schedule, name) for name in _PAYLOAD}
    return CommandCreate(
        type="scan",
        payload={name: value for name, value in payload.items() if value is not None},
        priority=schedule.priority,
        source_id=schedule.source_id,
        ttl_seconds=schedule.ttl_seconds,
        **times,
    )


def _is_due(tx: Transaction) -> ColumnElement[bool]:
    return ScanSchedule.enabled & (ScanSchedule.next_run_at <= tx.now)


def _deal_with(db: Database, schedule_id: str) -> bool:
    with db.write() as tx:
        due = select(ScanSchedule).where(ScanSchedule.id == schedule_id, _is_due(tx))
        schedule = tx.scalar(due.with_for_update(skip_locked=True))
        if schedule is None:
            return False  # another server has it, or had it
        try:
            _fire(tx, schedule)
        except ApiError as fault:  # for good: its source was deleted
            schedule.enabled, schedule.next_run_at = False, None
            log.warning("schedule %s is disabled: %s", schedule_id, fault)
        except (ArithmeticError, LookupError, TypeError, ValueError):  # say, an unknown zone
            schedule.next_run_at = tx.now + _TRY_AGAIN
            log.exception("schedule %s has no fire times here", schedule_id)
        return True


def _fire(tx: Transaction, schedule: ScanSchedule) -> None:
    zone = ZoneInfo(schedule.timezone or "UTC")
    fire, following = schedule_times.around(schedule.cron_expression, zone, tx.now)
    schedule.next_run_at = following
    missed = schedule.missed_run is MissedRun.SKIP and tx.now - fire > ON_TIME
    if missed or (schedule.overlap is Overlap.SKIP and _is_busy(tx, schedule)):
        why = "it was missed" if missed else "an earlier command is not over"
        log.info("schedule %s makes no command for %s: %s", schedule.id, fire, why)
        return
    jitter = _jitter(schedule, fire)
    times = {"scheduled_at": fire + jitter}
    if schedule.ttl_seconds is None:
        times["expires_at"] = min(following + jitter, max(fire + jitter, tx.now) + _DAY)
    with suppress(IntegrityError), tx.begin_nested():  # if this fire time has its command already
        actor, wanted = f"schedule:{schedule.id}", order(schedule, **times)
        orders.place(tx, schedule.tenant_id, actor, wanted, schedule_id=schedule.id, fire_at=fire)
        schedule.last_run_at = tx.now


def _is_busy(tx: Transaction, schedule: ScanSchedule) -> bool:
    """Whether a command of it is not over; one that has expired is, swept or not."""
    open_ones = (Command.schedule_id == schedule.id, Command.due_at.is_not(None))
    waits = or_(Command.status != CommandStatus.PENDING, Command.due_at > tx.now)
    return tx.scalar(select(Command.id).where(*open_ones, waits).limit(1)) is not None


def _jitter(schedule: ScanSchedule, fire: datetime) -> timedelta:
    """The same in every server."""
    digest = hashlib.sha256(f"{schedule.id} {fire.timestamp()}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8]) % (schedule.jitter_seconds + 1))
