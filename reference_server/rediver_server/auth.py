"""Keys, and who may call what.

A key has 256 random bits, is shown once and kept as its SHA-256. Expiry, revocation and the end of
a source act on the next request. The tenant always comes from the key, never from URL or body.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

from flask import g, request
from sqlalchemy import select, update

from rediver_agent.contract import ErrorCode
from rediver_agent.contract.routes import AUTHORIZATION, SOURCE_ID_HEADER
from rediver_server.db import Database, Transaction, database
from rediver_server.errors import ApiError
from rediver_server.limits import rates, sender
from rediver_server.models import ApiKey, EnrollmentToken, Role, Source, new_id

P = ParamSpec("P")
R = TypeVar("R")

_SHOWN: Final = 14  # `rs_src_` and 7 of 43 characters: enough to tell keys apart
_USE_IS_NOTED_EVERY: Final = timedelta(minutes=1)  # a write for each request is a lock for each
ENROLLS: Final = "rs_enr_"
_NO_KEY: Final = "the key is unknown, expired or revoked"
_INCLUDED: Final = {
    Role.SOURCE: {Role.SOURCE},
    Role.ENROLLMENT: {Role.ENROLLMENT},
    Role.VIEWER: {Role.VIEWER, Role.OPERATOR, Role.ADMIN},
    Role.OPERATOR: {Role.OPERATOR, Role.ADMIN},
    Role.ADMIN: {Role.ADMIN},
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `source_id` is set for an agent, and for nobody else."""

    key_id: str
    tenant_id: str
    role: Role
    source_id: str | None

    @property
    def actor(self) -> str:
        """How the audit trail names the caller."""
        return f"source:{self.source_id}" if self.source_id else f"key:{self.key_id}"


def new_key(
    tenant_id: str,
    role: Role,
    now: datetime,
    *,
    source_id: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A key to be stored, and its text, which is not kept anywhere."""
    key, prefix, sha256 = new_secret("rs_src_" if role is Role.SOURCE else "rs_usr_")
    row = ApiKey(
        id=new_id("key"),
        tenant_id=tenant_id,
        source_id=source_id,
        role=role,
        api_key_prefix=prefix,
        sha256=sha256,
        created_at=now,
        expires_at=expires_at,
    )
    return row, key


def new_secret(kind: str) -> tuple[str, str, str]:
    """256 random bits as text, which is not kept; what is: how it begins, and its digest."""
    text = kind + secrets.token_urlsafe(32)
    return text, text[:_SHOWN], _digest(text)


def is_live(key: ApiKey | EnrollmentToken, now: datetime) -> bool:
    """Whether the key still opens anything."""
    spent = isinstance(key, EnrollmentToken) and key.uses >= key.max_uses
    expired = key.expires_at is not None and key.expires_at <= now
    return not spent and not expired and key.revoked_at is None


def requires(*roles: Role) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a view be called by these roles, and by those that include them."""
    admitted = frozenset[Role]().union(*(_INCLUDED[role] for role in roles))

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            g.caller = _admit(database(), admitted)
            return view(*args, **kwargs)

        vars(guarded)["admitted"] = admitted  # for the test that no route is without
        return guarded

    return decorate


def wrong_key() -> ApiError:
    """A 401, or a 429 for an address that sent too many keys that open nothing."""
    rates().failed_keys.take(sender())
    return ApiError(ErrorCode.UNAUTHORIZED, _NO_KEY)


def caller() -> Caller:
    """Who sent the request of a view that `requires` a role."""
    return cast("Caller", g.caller)


def calling_source(tx: Transaction, **options: Any) -> Source:
    """The source that sent the request, as it is now."""
    source = tx.get_one(Source, caller().source_id, **options)
    if source.deleted_at is not None:  # since its key was read
        raise ApiError(ErrorCode.UNAUTHORIZED, _NO_KEY)
    return source


def _admit(db: Database, admitted: frozenset[Role]) -> Caller:
    scheme, _, key = request.headers.get(AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise ApiError(ErrorCode.UNAUTHORIZED, f"send {AUTHORIZATION}: Bearer <key>")
    who = _authenticate(db, key.strip())
    named = request.headers.get(SOURCE_ID_HEADER)
    if who.role is Role.SOURCE and named is not None and named != who.source_id:
        raise ApiError(ErrorCode.FORBIDDEN, f"{SOURCE_ID_HEADER} is not the source of this key")
    if who.role not in admitted:
        wanted = " or ".join(sorted(admitted))
        raise ApiError(ErrorCode.FORBIDDEN, f"this needs a key of {wanted}, not of {who.role}")
    return who


def _authenticate(db: Database, key: str) -> Caller:
    digest = _digest(key)
    kind = EnrollmentToken if key.startswith(ENROLLS) else ApiKey
    with db.read() as tx:
        row = tx.scalar(select(kind).where(kind.sha256 == digest))
    if row is None or not hmac.compare_digest(row.sha256, digest) or not is_live(row, tx.now):
        raise wrong_key()
    if isinstance(row, EnrollmentToken):
        return Caller(row.id, row.tenant_id, Role.ENROLLMENT, None)
    if row.last_used_at is None or tx.now - row.last_used_at >= _USE_IS_NOTED_EVERY:
        with db.write() as tx:
            tx.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=tx.now))
    return Caller(row.id, row.tenant_id, row.role, row.source_id)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
