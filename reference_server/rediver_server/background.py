"""What a worker process does beside answering requests. Only gunicorn's workers import this.

The threads start once gevent has patched what it patches: psycopg imported before that would block
the whole process at each query. The database decides which process does what is due.
"""

import gc
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gunicorn.util
from sqlalchemy.exc import OperationalError

from rediver_agent.contract import CONTRACT_VERSION, ErrorCode
from rediver_agent.contract.routes import CONTRACT_HEADER, REQUEST_ID_HEADER
from rediver_server import commands_api, notifier, request_log, retention, schedules
from rediver_server.app import create_app
from rediver_server.db import Database
from rediver_server.errors import error_json
from rediver_server.gateway import Gateway
from rediver_server.settings import Settings

log = logging.getLogger(__name__)


class Background:
    """Jobs that are due every so many seconds. One that fails is logged, and due again."""

    def __init__(self, jobs: dict[Callable[[], object], float]) -> None:
        self._jobs = jobs
        self._due = dict.fromkeys(jobs, 0.0)
        self.last_round = time.monotonic()

    def run(self) -> None:
        """Do what is due, for as long as the process lives."""
        while True:
            for job, seconds in self._jobs.items():
                if time.monotonic() >= self._due[job]:
                    self._due[job] = time.monotonic() + seconds
                    try:
                        job()
                    except Exception as fault:
                        known = isinstance(fault, OperationalError)  # for as long as it is away
                        again = "a background job failed and is tried again: %s"
                        log.error(again, fault, exc_info=not known)
            self.last_round = time.monotonic()
            time.sleep(1)


class Service:
    """The WSGI application of a worker, and the threads beside it."""

    def __init__(self) -> None:
        gunicorn.util.write_error = _write_error  # what no application ever sees is JSON too
        self._settings = Settings()
        request_log.configure(self._settings)
        self._app = create_app(self._settings)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self._app(environ, start_response)

    def start(self, worker: Any) -> None:
        """Start the threads, and say where the server is: only the first worker ever does."""
        settings, gateway = self._settings, self._app.extensions["gateway"]
        db: Database = self._app.extensions["rediver"]
        settle, fire = partial(commands_api.settle, db), partial(schedules.fire_due, db)
        sockets = self._app.extensions["metrics"].sockets
        count = lambda: sockets.set(len(gateway))  # noqa: E731 - one line, used once
        rounds = Background({fire: 1, settle: 2, count: 1, gateway.close_ended: 5})
        pruning = Background({partial(retention.prune, db, settings): 600})  # may take a while
        self._app.extensions["background"] = rounds
        threads = [gateway.run, rounds.run, pruning.run, partial(_until_it_ends, worker, gateway)]
        if not db.is_sqlite:
            url = settings.listen_url or settings.database_url
            threads.append(partial(notifier.listen, url, gateway))
        gc.collect()
        gc.freeze()  # what was imported lives as long: to look at it again made ingest half as fast
        for thread in threads:
            threading.Thread(target=thread, daemon=True).start()
        if worker.age == 1:
            host, port = worker.sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            sys.stderr.write(f"rediver-server listening on http://{shown}:{port}\n")
            sys.stderr.flush()


def _until_it_ends(worker: Any, gateway: Gateway) -> None:
    """Tell the sockets when the worker was told to stop, or its master was killed."""
    while worker.alive and os.getppid() == worker.ppid:
        time.sleep(0.5)
    worker.alive = False
    gateway.close_all("this server is stopping")


def _write_error(sock: socket.socket, status: int, reason: str, message: str) -> None:
    """Answer what is not HTTP at all."""
    code = ErrorCode.INVALID_REQUEST if status < 500 else ErrorCode.INTERNAL_ERROR
    body = error_json(code, message or reason)
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n{CONTRACT_HEADER}: {CONTRACT_VERSION}"
        f"\r\n{REQUEST_ID_HEADER}: {secrets.token_hex(8)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    sock.sendall(head.encode("latin-1", "replace") + body)
