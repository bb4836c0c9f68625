"""`/healthz`: the process is up. `/readyz`: it can do its work."""

from flask import Blueprint, Response
from sqlalchemy.exc import SQLAlchemyError

from rediver_agent.contract import ErrorCode, routes
from rediver_server.db import database
from rediver_server.errors import ApiError
from rediver_server.http_json import reply
from rediver_server.schema import current_revision, newest_revision

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
    if current != newest_revision():
        raise ApiError(ErrorCode.UNAVAILABLE, "the schema is old: run `rediver-server migrate`")
    return reply({"status": "ready", "schema": current})
