"""What an agent says of a command it holds: acknowledgement, progress, result, reason."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from rediver_agent.contract.base import (
    NUMBER,
    Attempt,
    Count,
    Flag,
    Id,
    JsonObject,
    UtcDatetime,
    WireModel,
)
from rediver_agent.contract.lifecycle import CommandStatus

InstanceId = Annotated[str, Field(min_length=1, max_length=64)]


class Reason(StrEnum):
    """`metadata.reason` of a failed result: a fixed list, so that machines can act on it."""

    TYPE_NOT_ALLOWED = "type_not_allowed"
    TARGET_NOT_ALLOWED = "target_not_allowed"
    EXPIRED = "expired"
    UNKNOWN_SCANNER = "unknown_scanner"
    UNKNOWN_COLLECTOR = "unknown_collector"
    INVALID_PAYLOAD = "invalid_payload"
    TOOL_MISSING = "tool_missing"
    TOOL_ERROR = "tool_error"
    TIMEOUT = "timeout"
    REPORT_UNREADABLE = "report_unreadable"
    PARTIAL_SCAN = "partial_scan"
    PLUGIN_ERROR = "plugin_error"
    AGENT_RESTARTED = "agent_restarted"
    AGENT_STOPPED = "agent_stopped"
    LEASE_LOST = "lease_lost"
    FINDINGS_REJECTED = "findings_rejected"
    CONFIG_REJECTED = "config_rejected"
    AGENT_ERROR = "agent_error"
    DISK_FULL = "disk_full"


class ResultStatus(StrEnum):
    """What an agent may report."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Acknowledge(WireModel):
    """Claims a command."""

    started_at: UtcDatetime | None = None
    instance_id: InstanceId | None = None


class Acknowledged(WireModel):
    """The claim, with the attempt that fences it. A server of the origin sends the first two."""

    acknowledged: bool
    command_id: Id
    attempt: Attempt | None = None
    lease_expires_at: UtcDatetime | None = None


class Progress(WireModel):
    """Renews the lease; the first one moves the command to `running`."""

    attempt: Count | None = None
    instance_id: InstanceId | None = None
    percent: Annotated[float, Field(ge=0, le=100), NUMBER] | None = None
    message: Annotated[str, Field(max_length=1000)] | None = None


class ProgressReply(WireModel):
    lease_expires_at: UtcDatetime | None = None
    cancel_requested: bool = False


class CommandResult(WireModel):
    """How a command ended. `error` is for people, `metadata.reason` for machines."""

    status: ResultStatus
    completed_at: UtcDatetime
    duration_ms: Count | None = None
    exit_code: Annotated[int, NUMBER] | None = None
    findings_count: Count | None = None
    error: Annotated[str, Field(max_length=10_000)] | None = None
    metadata: JsonObject = Field(default_factory=dict)
    attempt: Count | None = None
    instance_id: InstanceId | None = None
    retryable: Flag | None = None


class ResultReply(WireModel):
    """The result is kept. The origin document leaves the reply open, so that `{}` says yes too."""

    accepted: bool = True
    command_id: Id | None = None
    status: CommandStatus | None = None
