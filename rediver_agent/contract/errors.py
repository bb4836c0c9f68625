"""The body of every error reply, and its codes."""

from enum import StrEnum

from pydantic import Field

from rediver_agent.contract.base import JsonObject, WireModel


class ErrorCode(StrEnum):
    """What went wrong, for machines. The named conflicts are all 409."""

    INVALID_REQUEST = "INVALID_REQUEST"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    CONFLICT = "CONFLICT"
    ALREADY_CLAIMED = "ALREADY_CLAIMED"
    COMMAND_EXPIRED = "COMMAND_EXPIRED"
    COMMAND_CANCELLED = "COMMAND_CANCELLED"
    COMMAND_FINISHED = "COMMAND_FINISHED"
    STALE_ATTEMPT = "STALE_ATTEMPT"
    NOT_CLAIMED = "NOT_CLAIMED"
    IDEMPOTENCY_MISMATCH = "IDEMPOTENCY_MISMATCH"
    IDEMPOTENCY_IN_PROGRESS = "IDEMPOTENCY_IN_PROGRESS"
    IDEMPOTENCY_REPLAY = "IDEMPOTENCY_REPLAY"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    RATE_LIMITED = "RATE_LIMITED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    UNAVAILABLE = "UNAVAILABLE"


class ErrorDetail(WireModel):
    code: str
    message: str
    details: JsonObject = Field(default_factory=dict)


class ErrorBody(WireModel):
    error: ErrorDetail
