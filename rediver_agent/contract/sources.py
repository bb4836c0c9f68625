"""Sources (agents, scanners, collectors as the server knows them), their keys, and enrollment."""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from rediver_agent.contract.base import NUMBER, Flag, Id, JsonObject, Name, UtcDatetime, WireModel

SourceKind = Literal["scanner", "collector", "agent"]
SourceStatus = Literal["pending", "online", "stale", "offline"]
STALE_AFTER: Final = timedelta(seconds=90)
OFFLINE_AFTER: Final = timedelta(seconds=180)


def status_at(last_seen_at: datetime | None, now: datetime) -> SourceStatus:
    """`pending` until its first heartbeat."""
    if last_seen_at is None:
        return "pending"
    silence = now - last_seen_at
    if silence >= OFFLINE_AFTER:
        return "offline"
    return "stale" if silence >= STALE_AFTER else "online"


class SourceCreate(WireModel):
    """`capabilities` is a label; what a source can do is what its heartbeat says."""

    name: Name
    type: SourceKind
    description: Annotated[str, Field(max_length=10_000)] | None = None
    capabilities: list[str] = Field(default_factory=list)
    metadata: JsonObject = Field(default_factory=dict)


class SourceCreated(WireModel):
    """The only time that the key is shown."""

    id: Id
    api_key: str
    api_key_prefix: str
    name: str
    type: SourceKind
    status: SourceStatus
    created_at: UtcDatetime


class SourcePatch(WireModel):
    paused: Flag


class KeyCreate(WireModel):
    expires_at: UtcDatetime | None = None


class KeyCreated(WireModel):
    """The only time that the key is shown."""

    id: Id
    api_key: str
    api_key_prefix: str
    created_at: UtcDatetime
    expires_at: UtcDatetime | None = None


class Key(WireModel):
    """What is known of a key that was made earlier."""

    id: Id
    api_key_prefix: str
    created_at: UtcDatetime
    expires_at: UtcDatetime | None = None
    revoked_at: UtcDatetime | None = None
    last_used_at: UtcDatetime | None = None


class Source(WireModel):
    """`status` is `pending` until the first heartbeat; `conflict`: two live agents use its keys."""

    id: Id
    name: str
    type: SourceKind
    description: str | None = None
    capabilities: list[str]
    metadata: JsonObject
    paused: bool
    status: SourceStatus
    conflict: bool
    created_at: UtcDatetime
    last_seen_at: UtcDatetime | None = None
    heartbeat: JsonObject | None = None
    keys: list[Key]


class SourceList(WireModel):
    sources: list[Source]
    next_cursor: str | None = None


class EnrollmentTokenCreate(WireModel):
    max_uses: Annotated[int, Field(ge=1, le=100_000), NUMBER] = 1
    ttl_seconds: Annotated[int, Field(ge=1, le=31_536_000), NUMBER] = 86_400


class EnrollmentToken(WireModel):
    """A token that was made earlier."""

    id: Id
    token_prefix: str
    max_uses: int
    uses: int
    created_at: UtcDatetime
    expires_at: UtcDatetime


class EnrollmentTokenCreated(WireModel):
    """The only time that the token is shown."""

    id: Id
    token: str
    expires_at: UtcDatetime
    max_uses: int


class EnrollmentTokenList(WireModel):
    enrollment_tokens: list[EnrollmentToken]
    next_cursor: str | None = None


class Enroll(WireModel):
    """Makes a source of type `agent`; answers like `POST /sources`."""

    name: Name
    hostname: Annotated[str, Field(max_length=255)] | None = None
