"""Every error is the contract's JSON: `{"error": {"code", "message", "details"}}`.

Nothing else ever leaves: no HTML, no traceback. What went wrong inside is logged under the
response's `X-Request-ID` and answered as INTERNAL_ERROR.
"""

import logging
from collections.abc import Mapping
from typing import Final

from flask import Flask, Response, g
from pydantic import JsonValue, ValidationError
from pydantic_core import to_json
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.exceptions import HTTPException

from rediver_agent.contract.errors import CODES, ErrorBody, ErrorCode, ErrorDetail
from rediver_agent.contract.routes import RETRY_AFTER

log = logging.getLogger(__name__)

_REASONS: Final = {"missing": "required", "extra_forbidden": "unknown field"}


class ApiError(Exception):
    """An answer that is not a success. Raised inside a transaction it undoes what was written."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        details: Mapping[str, JsonValue] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = code.status
        self.details = dict(details or {})
        self.headers = dict(headers or {})


class Refused(ApiError):
    """The answer is no, and what the transaction wrote on the way to it stands."""


def invalid(field: str, reason: str) -> ApiError:
    """A 400 that names the field by its path."""
    message = f"{field}: {reason}" if field else reason
    return ApiError(ErrorCode.INVALID_REQUEST, message, {"field": field, "reason": reason})


def not_found(what: str) -> ApiError:
    """A 404, the same for what belongs to somebody else and for what never was."""
    return ApiError(ErrorCode.NOT_FOUND, f"there is no such {what}")


def from_validation(fault: ValidationError, prefix: str = "") -> ApiError:
    """The first fault of a document that is not of its model's shape, as a 400."""
    first = fault.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(step) for step in (*([prefix] if prefix else []), *first["loc"]))
    reason = first["msg"].removeprefix("Value error, ")
    return invalid(field, _REASONS.get(first["type"], reason))


def detail_of(error: ApiError) -> ErrorDetail:
    """An error as an item of a batch has it."""
    return ErrorDetail(code=error.code, message=str(error), details=error.details)


def error_json(
    code: ErrorCode, message: str, details: Mapping[str, JsonValue] | None = None
) -> bytes:
    """The body of an error reply."""
    detail = ErrorDetail(code=code, message=message, details=dict(details or {}))
    return to_json(ErrorBody(error=detail))


def _reply(error: ApiError, status: int | None = None) -> Response:
    body = error_json(error.code, str(error), error.details)
    response = Response(body, status or error.status, mimetype="application/json")
    response.headers.update(error.headers)
    if error.code is ErrorCode.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.code is ErrorCode.UNAVAILABLE:
        response.headers[RETRY_AFTER] = "1"
    return response


def _http_exception(fault: HTTPException) -> Response:
    status = fault.code or 500
    fallback = ErrorCode.INTERNAL_ERROR if status >= 500 else ErrorCode.INVALID_REQUEST
    error = ApiError(CODES.get(status, fallback), fault.description or fault.name)
    response = _reply(error, status)
    if allow := dict(fault.get_headers()).get("Allow"):
        response.headers["Allow"] = allow
    return response


def _database_away(fault: Exception) -> Response:
    log.error("request %s: the database said: %s", g.get("request_id"), fault)
    return _reply(ApiError(ErrorCode.UNAVAILABLE, "the database is busy or away, try again"))


def _unforeseen(fault: Exception) -> Response:
    log.error("request %s failed", g.get("request_id"), exc_info=fault)
    return _reply(ApiError(ErrorCode.INTERNAL_ERROR, "something went wrong here; see the log"))


def install(app: Flask) -> None:
    """Answer every error of `app` with the contract's JSON."""
    app.register_error_handler(ApiError, _reply)
    app.register_error_handler(ValidationError, lambda fault: _reply(from_validation(fault)))
    app.register_error_handler(HTTPException, _http_exception)
    for fault in (OperationalError, IntegrityError, StaleDataError, PoolTimeout):
        app.register_error_handler(fault, _database_away)
    app.register_error_handler(Exception, _unforeseen)
