"""What a source may take now, and the claim that takes it: poll and acknowledge in one.

The same claim_id never claims anew: it gives back what is still held of its first answer, so that
a reply that was lost on the way costs nothing.
"""

import heapq
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from typing import Final

from sqlalchemy import Select, or_, select

from rediver_agent.contract import Claim, CommandStatus
from rediver_agent.contract.base import JsonObject
from rediver_agent.contract.lifecycle import HELD
from rediver_server.capabilities import in_pool_of
from rediver_server.command_moves import settle
from rediver_server.command_queue import hand_out
from rediver_server.db import Transaction
from rediver_server.idempotency import REMEMBERED, remember
from rediver_server.models import Command, IdempotentRequest, Source

_FIRST: Final = (Command.queue_rank, Command.created_at, Command.id)
_first: Final = attrgetter(*(column.key for column in _FIRST))


def offered(
    tx: Transaction, source: Source, limit: int, types: Sequence[str] | None
) -> list[Command]:
    """What the source may take now, the highest priority first, then the oldest. Reads only."""
    return _merged(
        [tx.scalars(wanted).all() for wanted in _wanted(tx, source, limit, types)], limit
    )


def claim(tx: Transaction, source: Source, wanted: Claim) -> list[Command]:
    """Hand out up to `limit` commands, or what is still held of this claim's first answer."""
    tx.one_at_a_time(f"claim:{source.id}:{wanted.claim_id}")
    name = (source.tenant_id, f"claim by {source.id}", wanted.claim_id)
    known = tx.get(IdempotentRequest, name)
    if known is not None and known.created_at > tx.now - REMEMBERED:
        return _still_held(tx, source, known.answer or {})
    free = [
        tx.scalars(each.with_for_update(skip_locked=True)).all()
        for each in _wanted(tx, source, wanted.limit, wanted.types)
    ]
    commands = _merged(free, wanted.limit)
    for command in commands:
        hand_out(tx, source, command, wanted.instance_id)
    if commands:
        attempts: JsonObject = {command.id: command.attempt for command in commands}
        remember(tx, name, answer=attempts)
    return commands


def _wanted(
    tx: Transaction, source: Source, limit: int, types: Sequence[str] | None
) -> list[Select[Command]]:
    """What is addressed to the source, and what of the pool it can do: an index serves each."""
    if source.paused:
        return []
    free = (
        Command.status == CommandStatus.PENDING,
        or_(Command.expires_at.is_(None), Command.expires_at > tx.now),
        or_(Command.scheduled_at.is_(None), Command.scheduled_at <= tx.now),
        *([Command.type.in_(types)] if types is not None else []),
    )
    return [
        select(Command).where(whose, *free).order_by(*_FIRST).limit(limit)
        for whose in (Command.source_id == source.id, in_pool_of(source))
    ]


def _merged(lists: Sequence[Sequence[Command]], limit: int) -> list[Command]:
    return list(islice(heapq.merge(*lists, key=_first), limit))


def _still_held(tx: Transaction, source: Source, attempts: JsonObject) -> list[Command]:
    mine = select(Command).where(Command.id.in_(attempts), Command.holder_source_id == source.id)
    held = sorted(tx.scalars(mine.order_by(Command.id).with_for_update()), key=_first)
    for command in held:
        settle(tx, command)
    return [
        command
        for command in held
        if command.status in HELD and command.attempt == attempts[command.id]
    ]
