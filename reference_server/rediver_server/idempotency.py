"""Creating once: a POST that names an Idempotency-Key makes one thing, however often it comes.

What was made and what is remembered of it commit together, so that no crash lies between them.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from flask import Response, g, request
from pydantic_core import from_json, to_json
from sqlalchemy import func, select

from rediver_agent.contract import ErrorCode
from rediver_agent.contract.routes import IDEMPOTENCY_KEY, RETRY_AFTER
from rediver_server.auth import caller
from rediver_server.db import Transaction, database
from rediver_server.errors import ApiError, invalid
from rediver_server.http_json import reply
from rediver_server.models import IdempotentRequest

REMEMBERED: Final = timedelta(hours=24)
_LONGEST: Final = 255


@dataclass(frozen=True, slots=True)
class Made:
    """What was created: one thing at its location, or a batch.

    A `secret` reply carried a key: it is not kept, and never said again.
    """

    document: Mapping[str, Any]
    location: str = ""
    secret: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def creating(create: Callable[[Transaction], Made]) -> Response:
    """Answer a creating POST with what `create` made, once for each Idempotency-Key."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    with database().write() as tx:
        made = create(tx) if key is None else once(tx, key, request.path, g.document, create)
    if not made.location:
        return reply(made.document, 200, **made.headers)
    return reply(made.document, 201, Location=made.location, **made.headers)


def once(
    tx: Transaction, key: str, route: str, body: object, create: Callable[[Transaction], Made]
) -> Made:
    """What `create` made the first time. Raises 400 and the three conflicts of the contract."""
    if not (0 < len(key) <= _LONGEST and key.isprintable()):
        raise invalid(IDEMPOTENCY_KEY, f"1 to {_LONGEST} printable characters")
    name = (caller().tenant_id, route, key)
    if not _alone(tx, ":".join(name)):
        raise ApiError(
            ErrorCode.IDEMPOTENCY_IN_PROGRESS,
            "the first request with this key is still running, try again",
            headers={RETRY_AFTER: "1"},
        )
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    known = tx.get(IdempotentRequest, name)
    if known is not None and known.created_at > tx.now - REMEMBERED:
        return _again(known, digest)
    made = create(tx)
    answer = None if made.secret else from_json(to_json(made.document))
    said: dict[str, Any] = {"location": made.location, "item": made.document.get("id")}
    remember(tx, name, body_sha256=digest, answer=answer, **said)
    return made


def remember(tx: Transaction, name: tuple[str, str, str], **said: Any) -> None:
    """Keep what a request by this tenant, route and key came to, for 24 hours."""
    tenant_id, route, key = name
    row = IdempotentRequest(tenant_id=tenant_id, route=route, key=key, created_at=tx.now, **said)
    tx.merge(row)


def _again(known: IdempotentRequest, digest: str) -> Made:
    if known.body_sha256 != digest:
        raise ApiError(ErrorCode.IDEMPOTENCY_MISMATCH, "this key came with another body before")
    if known.answer is None:
        raise ApiError(
            ErrorCode.IDEMPOTENCY_REPLAY,
            f"{known.item} was made by this key, and its secret is shown once only",
            {"id": known.item},
        )
    return Made(known.answer, known.location or "")


def _alone(tx: Transaction, name: str) -> bool:
    """Whether no twin runs; the transaction's end, or its death, lets the next one in."""
    if database().is_sqlite:
        return True  # one writer at a time: a twin waits for it
    return tx.scalars(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 1)))).one()
