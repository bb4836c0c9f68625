"""One line for every request, and the request's id on every line: no query, no body, no key.

What looks like a key is taken out of the finished line, whoever wrote it: gunicorn quotes requests.
"""

import logging
import re
import time
from typing import Final, TextIO

from flask import Flask, Response, g, has_request_context, request
from pythonjsonlogger.json import JsonFormatter

from rediver_server.settings import Settings

log = logging.getLogger(__name__)
_KEY: Final = re.compile(r"(rs(?:_|%5F)(?:src|usr|enr)(?:_|%5F))[\w%-]+", re.IGNORECASE)
_FIELDS: Final = "%(levelname)s %(name)s %(message)s request_id=%(request_id)s"


class _Handler(logging.StreamHandler[TextIO]):
    def format(self, record: logging.LogRecord) -> str:
        record.request_id = g.get("request_id") if has_request_context() else None
        return _KEY.sub(r"\1...", super().format(record))


def configure(settings: Settings) -> None:
    """Log to stderr, in every worker: what we say from INFO, what libraries say from WARNING."""
    text = logging.Formatter(f"%(asctime)sZ {_FIELDS}", "%Y-%m-%dT%H:%M:%S")
    text.converter = time.gmtime
    handler = _Handler()
    handler.setFormatter(
        JsonFormatter(_FIELDS, timestamp=True) if settings.log_format == "json" else text
    )
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger("rediver_server").setLevel(logging.INFO)
    theirs = logging.getLogger("gunicorn.error")
    theirs.handlers, theirs.propagate = [], True


def install(app: Flask) -> None:
    """Log every request of `app`, and note in `g.started` when it began."""
    app.before_request(lambda: setattr(g, "started", time.perf_counter()))
    app.after_request(_write)


def _write(response: Response) -> Response:
    who, item = g.get("caller"), (request.view_args or {}).get("item", "")
    said = {
        "method": request.method,
        "route": request.url_rule.rule if request.url_rule else None,  # never the path as sent
        "status": response.status_code,
        "duration_ms": round((time.perf_counter() - g.started) * 1000, 1),
        "tenant_id": who and who.tenant_id,
        "source_id": who and who.source_id,
        "command_id": item if item.startswith("cmd_") else None,
        "remote": request.remote_addr,
    }
    shown = " ".join(f"{name}={value}" for name, value in said.items() if value is not None)
    log.info(shown, extra=said)
    return response
