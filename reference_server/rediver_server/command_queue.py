"""The life of a command, and the ONLY writer of its status.

The first terminal state wins and never changes; the legal moves are `contract.lifecycle`. A lapsed
lease is lost only when somebody else acknowledges: until then the last holder's word restores it.
The time is the transaction's, and `actor` is who the audit trail names.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast

from sqlalchemy import or_, select

from rediver_agent.contract import (
    TERMINAL,
    CommandResult,
    CommandStatus,
    ErrorCode,
    Progress,
    ResultStatus,
    RunningCommand,
)
from rediver_agent.contract.base import JsonObject
from rediver_agent.contract.commands import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_TIMEOUT_SECONDS,
    Cancelling,
)
from rediver_agent.contract.lifecycle import HELD
from rediver_server.command_moves import SERVER, announce_available, move, note, settle, write
from rediver_server.db import Transaction
from rediver_server.errors import ApiError, Refused, not_found
from rediver_server.models import Command, CommandEvent, Source
from rediver_server.nudges import Nudge

LEASE: Final = timedelta(seconds=60)
ACKNOWLEDGE_GRACE: Final = timedelta(seconds=120)
OVERLONG_GRACE: Final = timedelta(seconds=300)
_SETTLED_AT_ONCE: Final = 500
_S = CommandStatus
_OPEN: Final = (_S.PENDING, *HELD)
_ENDED: Final = {
    _S.COMPLETED: ErrorCode.COMMAND_FINISHED,
    _S.FAILED: ErrorCode.COMMAND_FINISHED,
    _S.CANCELLED: ErrorCode.COMMAND_CANCELLED,
    _S.EXPIRED: ErrorCode.COMMAND_EXPIRED,
}
_NEW: Final = {
    "status": _S.PENDING,
    "attempt": 0,
    "attempts_used": 0,
    "max_attempts": DEFAULT_MAX_ATTEMPTS,
    "unconfirmed": False,
    "revision": 0,
}
_HOLD_ENDED: Final = {
    "holder_source_id": None,
    "holder_instance_id": None,
    "unconfirmed": False,
    "acknowledged_at": None,
    "started_at": None,
    "progress": None,
}


# What an agent says


def acknowledge(
    tx: Transaction, source: Source, command_id: str, instance_id: str | None
) -> Command:
    """Give the command to the source, with a new attempt; to its holder, give it the same again.

    Raises `Refused` with the reason why it cannot be had, and 404.
    """
    command = _reachable(tx, source, command_id)
    settle(tx, command)
    if command.status in HELD:
        if (command.holder_source_id, command.holder_instance_id) == (source.id, instance_id):
            return command
        raise Refused(ErrorCode.ALREADY_CLAIMED, f"somebody else holds {command.id}")
    if command.status in TERMINAL:
        raise Refused(_ENDED[command.status], f"{command.id} is {command.status}")
    if source.paused:
        raise Refused(ErrorCode.CONFLICT, "this source is paused and gets nothing new")
    if command.scheduled_at is not None and command.scheduled_at > tx.now:
        raise Refused(ErrorCode.CONFLICT, f"{command.id} is not to start before its scheduled_at")
    counted: dict[str, Any] = {
        "attempts_used": command.attempts_used + 1,
        "unconfirmed": False,
        "lease_expires_at": tx.now + _timeout(command) + ACKNOWLEDGE_GRACE,
    }
    hold: dict[str, Any] = {**_hold(tx, command, source, instance_id), **counted}
    move(tx, command, _S.ACKNOWLEDGED, _actor(source), "acknowledged", **hold)
    return command


def hand_out(tx: Transaction, source: Source, command: Command, instance_id: str | None) -> None:
    """Give a pending command to a source that claims; it counts once the source names it."""
    unnamed: dict[str, Any] = {"unconfirmed": True, "lease_expires_at": tx.now + LEASE}
    hold: dict[str, Any] = {**_hold(tx, command, source, instance_id), **unnamed}
    move(tx, command, _S.ACKNOWLEDGED, _actor(source), "claimed", **hold)


def _hold(
    tx: Transaction, command: Command, source: Source, instance_id: str | None
) -> dict[str, Any]:
    """What a new attempt changes, but for its lease."""
    return {
        "attempt": command.attempt + 1,
        "holder_source_id": source.id,
        "holder_instance_id": instance_id,
        "deadline_at": tx.now + _timeout(command) + OVERLONG_GRACE,
        "acknowledged_at": tx.now,
        "started_at": None,
        "progress": None,
    }


def _named(command: Command) -> dict[str, Any]:
    """What changes when the holder of a claim names it for the first time."""
    counted = {"unconfirmed": False, "attempts_used": command.attempts_used + 1}
    return counted if command.unconfirmed else {}


def record_progress(tx: Transaction, source: Source, command_id: str, said: Progress) -> Command:
    """Renew the lease and keep what was said; the first one moves the command to `running`."""
    command = _reachable(tx, source, command_id)
    if not _holds(command, source, said.attempt):
        raise _not_held(tx, command, source)
    if command.status in TERMINAL:
        raise _finished(command)
    changes: dict[str, Any] = {"lease_expires_at": tx.now + LEASE, **_named(command)}
    if news := said.model_dump(include={"percent", "message"}, exclude_none=True):
        changes["progress"] = {**(command.progress or {}), **news}
    if command.started_at is None:
        changes |= {
            "started_at": tx.now,
            "deadline_at": tx.now + _timeout(command) + OVERLONG_GRACE,
        }
    if command.status is _S.RUNNING:
        write(tx, command, **changes)
    else:
        move(tx, command, _S.RUNNING, _actor(source), "progress", **changes)
    settle(tx, command)  # a fresh lease does not outlast a deadline
    if command.status in TERMINAL:
        raise _finished(command)
    return command


def record_result(
    tx: Transaction, source: Source, command: Command | None, result: CommandResult
) -> Command:
    """Settle a command that was `reachable` as its holder says. Said again, it changes nothing.

    Raises `Refused` for what comes too late, after keeping it in the audit trail, and 404.
    """
    if command is None:
        raise not_found("command")
    answer = result.model_dump(mode="json", exclude={"attempt", "instance_id"}, exclude_none=True)
    first = command.status in HELD and result.attempt == command.attempt  # so it was not said yet
    if not first and _was_said(tx, command, source, answer, result.attempt):
        return command
    if not _holds(command, source, result.attempt):
        refusal = _not_held(tx, command, source)
    elif command.status in TERMINAL:
        refusal = _finished(command)
    else:
        _settle_as_told(tx, command, source, result, answer)
        return command
    if isinstance(refusal, Refused):
        _keep_late(tx, command, source, {**answer, "attempt": result.attempt})
    raise refusal


def renew(
    tx: Transaction, source: Source, running: Sequence[RunningCommand]
) -> tuple[list[str], list[str]]:
    """Renew the leases of what a heartbeat lists, then settle what is overdue.

    Returns what the source should cancel, of all it holds, and what of the list it has lost.
    """
    mine = select(Command).where(Command.holder_source_id == source.id, Command.status.in_(_OPEN))
    locked = mine.order_by(Command.id).with_for_update()  # as all do, so that none deadlock
    holdings = {command.id: command for command in tx.scalars(locked)}
    kept: set[str] = set()
    for named in running:
        command = holdings.get(named.command_id)
        if command is None or not _holds(command, source, named.attempt):
            continue
        kept.add(command.id)
        lease: dict[str, Any] = {"lease_expires_at": tx.now + LEASE, **_named(command)}
        if command.status is _S.PENDING:
            back = _S.ACKNOWLEDGED if command.started_at is None else _S.RUNNING
            move(tx, command, back, _actor(source), "heartbeat", **lease)
        else:
            write(tx, command, **lease)
    settle_overdue(tx)
    held = {key for key, command in holdings.items() if command.status in HELD}
    cancel = [key for key in held if holdings[key].cancel_requested_at is not None]
    listed = dict.fromkeys(named.command_id for named in running)
    return sorted(cancel), [key for key in listed if key not in kept & held]


# What an operator says


def add(tx: Transaction, actor: str, command: Command) -> None:
    """Put a new command into the queue. A `cancel` does its work here and is never handed out."""
    for name, value in _NEW.items():
        setattr(command, name, value)
    command.due_at = command.expires_at
    tx.add(command)
    note(tx, command, None, actor, "created")
    if command.type != "cancel":
        announce_available(tx, command)
        return
    tx.flush()
    theirs = (Command.id == command.payload["command_id"], Command.tenant_id == command.tenant_id)
    target = tx.scalar(select(Command).where(*theirs).with_for_update())
    outcome = cancel(tx, actor, target) if target else Cancelling.NOT_FOUND
    result: JsonObject = {"outcome": outcome.value}
    move(tx, command, _S.COMPLETED, SERVER, "done at once", data=result, result=result)


def cancel(tx: Transaction, actor: str, command: Command) -> Cancelling:
    """Cancel what is pending; ask the holder to cancel what is held; leave what is finished."""
    settle(tx, command)
    if command.status in TERMINAL:
        return Cancelling.ALREADY_FINISHED
    if command.status is _S.PENDING:
        move(tx, command, _S.CANCELLED, actor, "cancelled while pending")
        return Cancelling.CANCELLED
    if command.cancel_requested_at is None:
        write(tx, command, cancel_requested_at=tx.now)
        note(tx, command, command.status, actor, "cancel requested")
        to = (command.tenant_id, command.holder_source_id)
        tx.announce(Nudge("command_cancelled", *to, command_id=command.id))
    return Cancelling.REQUESTED


def cancel_some(
    tx: Transaction, actor: str, tenant_id: str, chosen: Mapping[str, Any]
) -> list[Cancelling]:
    """Cancel some hundreds of the tenant's open commands whose columns are as `chosen`.

    Call it until it returns nothing: then all of them are cancelled or asked for.
    """
    matching = select(Command).where(
        Command.tenant_id == tenant_id,
        Command.status.in_(_OPEN),
        Command.cancel_requested_at.is_(None),
        *(getattr(Command, name) == value for name, value in chosen.items()),
    )
    batch = matching.order_by(Command.id).limit(_SETTLED_AT_ONCE).with_for_update()
    return [cancel(tx, actor, command) for command in tx.scalars(batch).all()]


def release_source(tx: Transaction, actor: str, source: Source) -> None:
    """A source is gone: cancel what was addressed to it, take back what it held of the pool."""
    theirs = select(Command).where(
        or_(Command.source_id == source.id, Command.holder_source_id == source.id),
        Command.status.in_(_OPEN),
    )
    for command in tx.scalars(theirs.order_by(Command.id).with_for_update()).all():
        settle(tx, command)
        if command.status in TERMINAL:
            continue
        if command.source_id == source.id or command.cancel_requested_at is not None:
            move(tx, command, _S.CANCELLED, actor, "its source was deleted")
        elif command.status in HELD:  # no fault of the command: this attempt is not counted
            uncounted = command.attempts_used - (not command.unconfirmed)
            back: dict[str, Any] = {**_HOLD_ENDED, "attempts_used": uncounted}
            move(tx, command, _S.PENDING, actor, "its holder was deleted", **back)


# What time says


def anything_overdue(tx: Transaction) -> bool:
    """Whether `settle_overdue` has something to do. Reads only."""
    return tx.scalar(select(Command.id).where(Command.due_at <= tx.now).limit(1)) is not None


def settle_overdue(tx: Transaction) -> int:
    """Settle what is past its time: expiry, lost leases, silent cancels, overlong work.

    Returns how many commands were settled: several hundred at most, so call it until it is 0 to
    settle all. On PostgreSQL two callers at once take different rows.
    """
    overdue = select(Command).where(Command.due_at <= tx.now).order_by(Command.due_at)
    batch = overdue.limit(_SETTLED_AT_ONCE).with_for_update(skip_locked=True)
    commands = tx.scalars(batch).all()
    for command in commands:
        settle(tx, command)
    return len(commands)


def _settle_as_told(
    tx: Transaction,
    command: Command,
    source: Source,
    result: CommandResult,
    answer: JsonObject,
) -> None:
    counted = _named(command)
    used = counted.get("attempts_used", command.attempts_used)
    wanted = command.cancel_requested_at is None and used < command.max_attempts
    said = "result: " + (result.error or result.status)
    if result.status is ResultStatus.FAILED and result.retryable and wanted:
        ended = {**counted, **_HOLD_ENDED}
        move(tx, command, _S.PENDING, _actor(source), said, data=answer, **ended)
        return
    kept: dict[str, Any] = {**counted, "result": answer, "error_message": result.error}
    to = _S(result.status.value)
    move(tx, command, to, _actor(source), said, data=answer, **kept)


# What a source may see and hold


def _actor(source: Source) -> str:
    return f"source:{source.id}"


def _timeout(command: Command) -> timedelta:
    seconds = command.payload.get("timeout_seconds")
    known = type(seconds) is int and 1 <= seconds <= 86400
    return timedelta(seconds=cast("int", seconds) if known else DEFAULT_TIMEOUT_SECONDS)


def reachable(tx: Transaction, source: Source, ids: Collection[str]) -> dict[str, Command]:
    """Those of the commands that the source may speak of, locked."""
    named = select(Command).where(
        Command.id.in_(ids),
        Command.tenant_id == source.tenant_id,
        or_(Command.source_id == source.id, Command.source_id.is_(None)),
    )
    return {row.id: row for row in tx.scalars(named.order_by(Command.id).with_for_update())}


def _reachable(tx: Transaction, source: Source, command_id: str) -> Command:
    if (command := reachable(tx, source, [command_id]).get(command_id)) is None:
        raise not_found("command")
    return command


def _holds(command: Command, source: Source, attempt: int | None) -> bool:
    """Whether the source is the last holder, lapsed or not, and names no other attempt."""
    return command.holder_source_id == source.id and attempt in (None, command.attempt)


def _not_held(tx: Transaction, command: Command, source: Source) -> ApiError:
    if command.attempt == 0:
        return ApiError(ErrorCode.NOT_CLAIMED, f"acknowledge {command.id} before you report on it")
    held_once = select(CommandEvent.id).where(
        CommandEvent.command_id == command.id,
        CommandEvent.actor == _actor(source),
        CommandEvent.to_status == _S.ACKNOWLEDGED,
    )
    if tx.scalar(held_once.limit(1)) is None:
        return not_found("command")
    return Refused(ErrorCode.STALE_ATTEMPT, f"{command.id} is no longer yours in that attempt")


def _finished(command: Command) -> Refused:
    return Refused(ErrorCode.COMMAND_FINISHED, f"{command.id} is {command.status}")


def _said(tx: Transaction, command: Command, source: Source) -> Sequence[CommandEvent]:
    spoken = select(CommandEvent).where(
        CommandEvent.command_id == command.id, CommandEvent.actor == _actor(source)
    )
    return tx.scalars(spoken).all()


def _was_said(
    tx: Transaction, command: Command, source: Source, answer: JsonObject, attempt: int | None
) -> bool:
    """Whether this is a result that was accepted before, and not a new attempt's equal one."""
    return any(
        event.data == answer and (event.attempt == command.attempt or attempt != command.attempt)
        for event in _said(tx, command, source)
    )


def _keep_late(tx: Transaction, command: Command, source: Source, answer: JsonObject) -> None:
    if all(event.data != answer for event in _said(tx, command, source)):
        note(tx, command, command.status, _actor(source), "late result", answer)
