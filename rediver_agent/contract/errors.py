"""The body of every error reply, and its codes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

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

    @property
    def status(self) -> int:
        """The HTTP status that it comes with."""
        return _STATUS.get(self, 409)


_STATUS: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.INTERNAL_ERROR: 500,
    ErrorCode.UNAVAILABLE: 503,
}
CODES: Final = {status: code for code, status in _STATUS.items()}


class ErrorDetail(WireModel):
    code: str
    message: str
    details: JsonObject = Field(default_factory=dict)


class ErrorBody(WireModel):
    error: ErrorDetail
