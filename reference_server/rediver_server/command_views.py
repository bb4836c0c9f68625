"""How commands look: to agents, to operators, and why one still waits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import or_, select

from rediver_agent.contract import Command as WireCommand
from rediver_agent.contract import CommandStatus
from rediver_agent.contract.commands import WaitingReason
from rediver_agent.contract.sources import status_at
from rediver_server.capabilities import can_do
from rediver_server.db import Transaction
from rediver_server.models import Command, CommandEvent, Source

_FOR_AGENTS: Final = ("id", "type", "priority", "payload", "created_at", "expires_at")
_FOR_OPERATORS: Final = WireCommand.model_fields.keys() - {"waiting_reason"}
_OF_AN_EVENT: Final = ("at", "actor", "from_status", "to_status", "attempt", "reason", "data")
_OF_A_HOLD: Final = ("acknowledged_at", "started_at", "progress")


def for_agent(command: Command) -> dict[str, Any]:
    """What an agent has use for."""
    return {name: getattr(command, name) for name in _FOR_AGENTS}


def for_holder(command: Command) -> dict[str, Any]:
    """What an agent gets with a claim: its attempt and its lease as well."""
    hold = {"attempt": command.attempt, "lease_expires_at": command.lease_expires_at}
    return {**for_agent(command), **hold}


def event(row: CommandEvent) -> dict[str, Any]:
    """A line of the audit trail."""
    return {name: getattr(row, name) for name in _OF_AN_EVENT}


def for_operators(tx: Transaction, commands: Sequence[Command]) -> list[dict[str, Any]]:
    """Whole commands, with the reason why those that are pending wait."""
    fleet = _fleet(tx, [row for row in commands if row.status is CommandStatus.PENDING])
    return [_whole(command, _waiting_reason(command, fleet, tx.now)) for command in commands]


def _fleet(tx: Transaction, pending: Sequence[Command]) -> list[Source]:
    """The live sources that could take one of them: read once in a transaction."""
    fleets: dict[tuple[str, str | None], list[Source]] = tx.info.setdefault("fleets", {})
    wanted = {(row.tenant_id, row.source_id) for row in pending}
    if new := wanted - fleets.keys():
        addressed = {source for _, source in new if source is not None}
        pools = {tenant for tenant, source in new if source is None}
        whose = or_(Source.id.in_(addressed), Source.tenant_id.in_(pools))
        live = tx.scalars(select(Source).where(whose, Source.deleted_at.is_(None))).all()
        for tenant, source in new:
            fleets[tenant, source] = [
                row for row in live if row.tenant_id == tenant and source in (None, row.id)
            ]
    return list({row.id: row for key in wanted for row in fleets[key]}.values())


def _whole(command: Command, waiting_reason: WaitingReason | None) -> dict[str, Any]:
    whole = {name: getattr(command, name) for name in _FOR_OPERATORS}
    whole["waiting_reason"] = waiting_reason
    if command.status is CommandStatus.PENDING:  # what its last holder did is no news of it
        whole |= dict.fromkeys(_OF_A_HOLD)
    return whole


def _waiting_reason(
    command: Command, fleet: Sequence[Source], now: datetime
) -> WaitingReason | None:
    if command.status is not CommandStatus.PENDING:
        return None
    if command.scheduled_at is not None and command.scheduled_at > now:
        return WaitingReason.SCHEDULED
    if command.source_id is not None:
        able = [source for source in fleet if source.id == command.source_id]
    else:
        able = [source for source in fleet if can_do(source, command)]
    if not able:
        return WaitingReason.NO_CAPABLE_SOURCE
    active = [source for source in able if not source.paused]
    if not active:
        return WaitingReason.PAUSED
    awake = any(status_at(source.last_seen_at, now) in ("online", "stale") for source in active)
    return None if awake else WaitingReason.SOURCE_OFFLINE
