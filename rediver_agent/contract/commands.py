"""Commands: one class a type, told apart by the envelope's `type`, and what creates them.

The server accepts any well-formed type, since an agent's plugin may add more; such a command is an
`UnknownCommand` here, with its payload as it came.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, TypeAdapter

from rediver_agent.contract.base import (
    NUMBER,
    Attempt,
    Flag,
    Id,
    JsonObject,
    UtcDatetime,
    WireModel,
    parse,
)
from rediver_agent.contract.lifecycle import CommandStatus

DEFAULT_TIMEOUT_SECONDS: Final = 1800
DEFAULT_TTL_SECONDS: Final = 3600
DEFAULT_MAX_ATTEMPTS: Final = 3

TypeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
Seconds = Annotated[int, Field(ge=1, le=86400), NUMBER]


class CommandType(StrEnum):
    """The seven types of the origin document."""

    SCAN = "scan"
    COLLECT = "collect"
    CONFIG_UPDATE = "config_update"
    RESTART = "restart"
    UPGRADE = "upgrade"
    HEALTH_CHECK = "health_check"
    CANCEL = "cancel"


class Priority(StrEnum):
    """Higher ones are handed out first; among equals the oldest."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class ScanPayload(WireModel):
    """Run a scanner on a target. `config` is validated by the scanner's own options."""

    scanner: Annotated[str, Field(min_length=1, max_length=100)]
    target: Annotated[str, Field(min_length=1, max_length=500)]
    config: JsonObject = Field(default_factory=dict)
    timeout_seconds: Seconds = DEFAULT_TIMEOUT_SECONDS
    report_progress: Flag = False


class CollectPayload(WireModel):
    """Run a collector."""

    collector: Annotated[str, Field(min_length=1, max_length=100)]
    source_config: JsonObject = Field(default_factory=dict)
    timeout_seconds: Seconds = DEFAULT_TIMEOUT_SECONDS


class ConfigUpdatePayload(WireModel):
    """Change those settings that the agent's own configuration allows."""

    config_data: JsonObject


class RestartPayload(WireModel):
    """Drain for the grace period, then start anew."""

    grace_period_seconds: Annotated[int, Field(ge=0, le=86400), NUMBER] = 30


class UpgradePayload(WireModel):
    """Install another version of the agent."""

    target_version: Annotated[str, Field(min_length=1, max_length=100)]
    download_url: str | None = None
    sha256: str | None = None
    signature: str | None = None


class CancelPayload(WireModel):
    """Cancel a command. An unknown id is no error."""

    command_id: Annotated[str, Field(min_length=1, max_length=100)]


class EmptyPayload(WireModel):
    """health_check takes nothing."""


class Cancelling(StrEnum):
    """What a `cancel` command came to."""

    CANCELLED = "cancelled"
    REQUESTED = "requested"
    ALREADY_FINISHED = "already_finished"
    NOT_FOUND = "not_found"


class WaitingReason(StrEnum):
    """Why a pending command has not been taken."""

    NO_CAPABLE_SOURCE = "no_capable_source"
    SOURCE_OFFLINE = "source_offline"
    PAUSED = "paused"
    SCHEDULED = "scheduled"


class CommandProgress(WireModel):
    """How far a command is."""

    percent: Annotated[float, Field(ge=0, le=100)] | None = None
    message: Annotated[str, Field(max_length=1000)] | None = None


class Envelope(WireModel):
    """What every command has. An agent's poll leaves out what an agent has no use for."""

    id: Id
    priority: Priority = Priority.NORMAL
    created_at: UtcDatetime | None = None
    expires_at: UtcDatetime | None = None
    tenant_id: Id | None = None
    source_id: Id | None = None
    status: CommandStatus | None = None
    acknowledged_at: UtcDatetime | None = None
    started_at: UtcDatetime | None = None
    completed_at: UtcDatetime | None = None
    result: JsonObject | None = None
    error_message: str | None = None
    scheduled_at: UtcDatetime | None = None
    schedule_id: Id | None = None
    attempt: Attempt | None = None
    max_attempts: Annotated[int, Field(ge=1)] | None = None
    lease_expires_at: UtcDatetime | None = None
    cancel_requested: bool | None = None
    progress: CommandProgress | None = None
    waiting_reason: WaitingReason | None = None


class Command(Envelope):
    """A command of any type, its payload as it was given: what operators read."""

    type: TypeName
    payload: JsonObject = Field(default_factory=dict)


class ScanCommand(Envelope):
    type: Literal["scan"]
    payload: ScanPayload


class CollectCommand(Envelope):
    type: Literal["collect"]
    payload: CollectPayload


class ConfigUpdateCommand(Envelope):
    type: Literal["config_update"]
    payload: ConfigUpdatePayload


class RestartCommand(Envelope):
    type: Literal["restart"]
    payload: RestartPayload = RestartPayload()


class UpgradeCommand(Envelope):
    type: Literal["upgrade"]
    payload: UpgradePayload


class HealthCheckCommand(Envelope):
    type: Literal["health_check"]
    payload: EmptyPayload = EmptyPayload()


class CancelCommand(Envelope):
    type: Literal["cancel"]
    payload: CancelPayload


class UnknownCommand(Command):
    """Of a type that this contract does not name: a plugin's, or a newer server's."""


_Known = Annotated[
    ScanCommand
    | CollectCommand
    | ConfigUpdateCommand
    | RestartCommand
    | UpgradeCommand
    | HealthCheckCommand
    | CancelCommand,
    Field(discriminator="type"),
]
AnyCommand = (
    ScanCommand
    | CollectCommand
    | ConfigUpdateCommand
    | RestartCommand
    | UpgradeCommand
    | HealthCheckCommand
    | CancelCommand
    | UnknownCommand
)
_KNOWN: Final[TypeAdapter[Any]] = TypeAdapter(_Known)
_TYPES: Final = frozenset(CommandType)
_PAYLOADS: Final[dict[str, type[WireModel]]] = {
    CommandType.SCAN: ScanPayload,
    CommandType.COLLECT: CollectPayload,
    CommandType.CONFIG_UPDATE: ConfigUpdatePayload,
    CommandType.RESTART: RestartPayload,
    CommandType.UPGRADE: UpgradePayload,
    CommandType.HEALTH_CHECK: EmptyPayload,
    CommandType.CANCEL: CancelPayload,
}


def parse_command(data: Mapping[str, JsonValue]) -> AnyCommand:
    """One command of a poll. Raises `pydantic.ValidationError` for a known type's bad payload.

    A null payload counts as `{}`, as the origin's client tolerates it.
    """
    raw = {**data, "payload": data.get("payload") or {}}
    unknown = parse(UnknownCommand, raw)
    return unknown if unknown.type not in _TYPES else _KNOWN.validate_python(raw, extra="ignore")


def payload_model(type_name: str) -> type[WireModel] | None:
    """The payload's model for one of the seven types, None for any other."""
    return _PAYLOADS.get(type_name)


class CommandCreate(WireModel):
    """What an operator posts. The payload of the seven types is validated on its own."""

    type: TypeName
    payload: JsonObject
    priority: Priority = Priority.NORMAL
    source_id: Id | None = None
    expires_at: UtcDatetime | None = None
    ttl_seconds: Annotated[int, Field(ge=1, le=31_536_000), NUMBER] | None = None
    scheduled_at: UtcDatetime | None = None


class CommandList(WireModel):
    """The reply to a poll. Each command is parsed by itself, so one odd one costs only itself."""

    commands: list[JsonObject]
    poll_interval_seconds: Annotated[float, Field(gt=0)] | None = None
    next_cursor: str | None = None
