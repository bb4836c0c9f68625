"""`/healthz`: the process is up. `/readyz`: it can do its work."""

import functools
import time
from typing import Any, Final

from flask import Blueprint, Response, current_app
from sqlalchemy.exc import SQLAlchemyError

from rediver_agent.contract import ErrorCode, routes
from rediver_server.db import database
from rediver_server.errors import ApiError
from rediver_server.http_json import reply
from rediver_server.schema import current_revision, newest_revision

_SILENT: Final = 15  # seconds; a round of the background thread takes about one
_newest: Final = functools.cache(newest_revision)

blueprint = Blueprint("health", __name__)


@blueprint.get(routes.HEALTHZ)
def healthz() -> Response:
    return reply({"status": "ok"})


@blueprint.get(routes.READYZ)
def readyz() -> Response:
    try:
        current = current_revision(database())
    except SQLAlchemyError as fault:
        raise ApiError(ErrorCode.UNAVAILABLE, "the database cannot be reached") from fault
    if current != _newest():
        raise ApiError(ErrorCode.UNAVAILABLE, "the schema is old: run `rediver-server migrate`")
    background: Any = current_app.extensions.get("background")  # none unless `serve` runs it
    if background is not None and time.monotonic() - background.last_round > _SILENT:
        raise ApiError(ErrorCode.UNAVAILABLE, "the scheduler stands still: restart the server")
    return reply({"status": "ready", "schema": current})
