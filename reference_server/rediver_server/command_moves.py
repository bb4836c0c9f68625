"""The moves of a command: each legal by the contract and in the audit trail, and those of time.

Only the command queue uses this.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from rediver_agent.contract import TERMINAL, CommandStatus, CommandType, may_move
from rediver_agent.contract.base import JsonObject
from rediver_agent.contract.lifecycle import HELD
from rediver_server.command_ledger import ledger
from rediver_server.db import Transaction
from rediver_server.models import Command
from rediver_server.nudges import Kind, Nudge

CANCEL_GRACE: Final = timedelta(seconds=120)
SERVER: Final = "server"
_S = CommandStatus


def settle(tx: Transaction, command: Command) -> None:
    """Do what time has decided of one command. Of several things due, the earliest counts."""
    due = command.due_at
    if due is None or due > tx.now:
        return
    if command.status is _S.PENDING:
        _end(tx, command, _S.EXPIRED, "nobody took it in time")
    elif command.cancel_requested_at and due == command.cancel_requested_at + CANCEL_GRACE:
        _end(tx, command, _S.CANCELLED, "its agent did not answer the cancel request")
    elif due == command.deadline_at:
        _end(tx, command, _S.FAILED, "it ran far longer than its timeout_seconds")
    elif command.cancel_requested_at:
        _end(tx, command, _S.CANCELLED, "its agent fell silent after a cancel request")
    elif command.attempts_used >= command.max_attempts and not command.unconfirmed:
        _end(tx, command, _S.FAILED, "its agent fell silent on the last attempt")
    elif command.expires_at and command.expires_at <= tx.now:
        _end(tx, command, _S.EXPIRED, "its agent fell silent, and it has expired since")
    else:
        move(tx, command, _S.PENDING, SERVER, "its agent fell silent")


def _end(tx: Transaction, command: Command, to: CommandStatus, why: str) -> None:
    move(tx, command, to, SERVER, why, error_message=why)


def move(
    tx: Transaction,
    command: Command,
    to: CommandStatus,
    actor: str,
    reason: str,
    *,
    data: JsonObject | None = None,
    **changes: Any,
) -> None:
    """Move the command, and say in the trail who did it and why. A move to itself is a note."""
    before = command.status
    if to is not before and not may_move(before, to):
        raise AssertionError(f"{command.id}: {before} to {to} is no move of the contract")
    if to not in HELD:
        changes["lease_expires_at"] = None
    if to in TERMINAL:
        changes["completed_at"] = tx.now
    write(tx, command, status=to, **changes)
    note(tx, command, before, actor, reason, data)
    tx.info.setdefault("moves", []).append((before, to, actor, "attempt" in changes))  # metrics
    if to is _S.PENDING:
        announce_available(tx, command)


def announce_available(tx: Transaction, command: Command) -> None:
    """Nudge whoever can take the command, if it may be taken by now."""
    if command.scheduled_at is not None and command.scheduled_at > tx.now:
        return
    kinds: tuple[Kind, ...] = ("command_available",)
    if command.type == CommandType.CONFIG_UPDATE:
        kinds = ("config_update", *kinds)
    for kind in kinds:
        to = (command.tenant_id, command.source_id)
        tx.announce(Nudge(kind, *to, type=command.type, tool=command.tool))


def write(tx: Transaction, command: Command, **changes: Any) -> None:
    """Change columns of a command that nobody wrote since it was read; `due_at` follows."""
    ledger(tx).change(command, {**changes, "due_at": _due(command, changes)})


def _due(command: Command, changes: dict[str, Any]) -> datetime | None:
    """When the server has to look at the command by itself, once `changes` are made."""

    def after(column: str) -> Any:
        return changes.get(column, getattr(command, column))

    if after("status") in TERMINAL:
        return None
    if after("status") is _S.PENDING:
        return after("expires_at")
    asked = after("cancel_requested_at")
    moments = (after("lease_expires_at"), after("deadline_at"), asked and asked + CANCEL_GRACE)
    return min(moment for moment in moments if moment is not None)


def note(
    tx: Transaction,
    command: Command,
    before: CommandStatus | None,
    actor: str,
    reason: str,
    data: JsonObject | None = None,
) -> None:
    """Add a row to the audit trail."""
    row = {"at": tx.now, "actor": actor, "reason": reason, "data": data}
    moved = {"from_status": before, "to_status": command.status, "attempt": command.attempt}
    ledger(tx).events.append({"command_id": command.id, **row, **moved})
