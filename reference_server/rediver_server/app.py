"""The application factory. Importing this does nothing; every application has its own database."""

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Final

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter

from rediver_agent.contract import CONTRACT_VERSION
from rediver_agent.contract.routes import CONTRACT_HEADER, REQUEST_ID_HEADER
from rediver_server import (
    commands_api,
    docs_api,
    enrollment_api,
    errors,
    findings_api,
    gateway,
    health_api,
    heartbeat_api,
    limits,
    metrics,
    request_log,
    schedules_api,
    sources_api,
)
from rediver_server.db import Database
from rediver_server.settings import Settings

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS: Final = {  # a view may set its own
    "Cache-Control": "no-store",  # replies carry keys, commands and findings
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class IdConverter(BaseConverter):
    """What can be an id at all; a path with anything else is not found."""

    regex = r"[A-Za-z0-9_-]{1,100}"


def create_app(settings: Settings, clock: Callable[[], datetime] | None = None) -> Flask:
    """An application over the database of `settings`, which must have the newest schema."""
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["POLL_INTERVAL_SECONDS"] = settings.poll_interval_seconds
    app.url_map.converters["id"] = IdConverter
    app.url_map.merge_slashes = False  # its redirect is HTML, and turns some clients' POST to GET
    db = Database(
        settings.database_url,
        clock=clock,
        pool_size=settings.database_connections,
        prepares=settings.listen_url is None,
    )
    db.attach(app.extensions)
    app.extensions["gateway"] = sockets = gateway.Gateway(
        db, settings.max_sockets, settings.ping_seconds
    )
    db.deliver = sockets.deliver
    app.extensions[limits.EXTENSION] = limits.Rates(settings, clock)
    if hops := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)
    request_log.install(app)
    metrics.Metrics(app, settings.metrics_token)
    errors.install(app)
    app.before_request(_name_request)
    app.after_request(_mark_response)
    work = (commands_api, findings_api, gateway, heartbeat_api, schedules_api)
    for api in (*work, docs_api, enrollment_api, health_api, sources_api):
        app.register_blueprint(api.blueprint)
    return app


def _name_request() -> None:
    named = request.headers.get(REQUEST_ID_HEADER, "")
    g.request_id = named if _REQUEST_ID.fullmatch(named) else secrets.token_hex(8)


def _mark_response(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = g.request_id
    response.headers[CONTRACT_HEADER] = CONTRACT_VERSION
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    return response
