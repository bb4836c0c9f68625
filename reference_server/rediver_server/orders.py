"""Orders become commands: what an operator asks for, checked and with its times worked out."""

from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from rediver_agent import contract
from rediver_agent.contract.commands import DEFAULT_TTL_SECONDS
from rediver_server import command_queue
from rediver_server.db import KEPT, Transaction
from rediver_server.errors import from_validation, invalid, not_found
from rediver_server.models import Command, Source, new_id

_QUEUE_RANK: Final = {rank: n for n, rank in enumerate(reversed(contract.Priority))}


def check_payload(order: contract.CommandCreate) -> None:
    """Raises 400 with the field's path where the payload is not that of its type."""
    if (model := contract.payload_model(order.type)) is not None:
        try:
            contract.parse_strict(model, order.payload)
        except ValidationError as fault:
            raise from_validation(fault, "payload") from fault


def place(
    tx: Transaction,
    tenant_id: str,
    actor: str,
    order: contract.CommandCreate,
    *,
    schedule_id: str | None = None,
    fire_at: datetime | None = None,
) -> Command:
    """Put a new command into the queue. Raises 400 and 404."""
    if order.source_id is not None:
        check_source(tx, tenant_id, order.source_id)
    tool: Any = order.payload.get({"scan": "scanner", "collect": "collector"}.get(order.type, ""))
    command = Command(
        id=new_id("cmd"),
        tenant_id=tenant_id,
        source_id=order.source_id,
        type=order.type,
        priority=order.priority,
        queue_rank=_QUEUE_RANK[order.priority],
        payload=order.payload,
        tool=tool,
        created_at=tx.now,
        scheduled_at=order.scheduled_at,
        expires_at=_expiry(order, tx.now),
        schedule_id=schedule_id,
        fire_at=fire_at,
    )
    command_queue.add(tx, actor, command)
    return command


def check_source(tx: Transaction, tenant_id: str, source_id: str) -> None:
    """Raises 404 unless it is a live source of the tenant, which it then is until `tx` ends."""
    known: set[str] = tx.info.setdefault("live sources", set())  # a batch asks for few, often
    if source_id in known:
        return
    source = tx.get(Source, source_id, with_for_update=KEPT, populate_existing=True)
    if source is None or source.tenant_id != tenant_id or source.deleted_at is not None:
        raise not_found("source")
    known.add(source_id)


def _expiry(order: contract.CommandCreate, now: datetime) -> datetime:
    start = max(now, order.scheduled_at or now)
    if order.expires_at is None:
        try:
            return start + timedelta(seconds=order.ttl_seconds or DEFAULT_TTL_SECONDS)
        except OverflowError as fault:
            raise invalid("scheduled_at", "is too far away") from fault
    if order.ttl_seconds is not None:
        raise invalid("ttl_seconds", "give expires_at or ttl_seconds, not both")
    if order.expires_at <= now:
        raise invalid("expires_at", "is in the past")
    if order.expires_at < start:
        raise invalid("expires_at", "is before scheduled_at")
    return order.expires_at
