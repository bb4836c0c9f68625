"""Runs the server under gunicorn: one process, many threads.

One process, because SQLite has one writer and its lock is this process's (`db.py`). The socket is
bound here and handed over, so that a port that is taken is one sentence, and port 0 can be told.
"""

import socket
import sys
from typing import Any

import gunicorn.util
from gunicorn.app.base import BaseApplication

from rediver_agent.contract import ErrorCode
from rediver_server.app import create_app
from rediver_server.errors import error_json
from rediver_server.settings import Settings

KEEP_ALIVE_SECONDS = 75  # longer than an agent's poll interval; gunicorn's own 2 s break pollers


class _Gunicorn(BaseApplication):
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._address = listener.getsockname()[:2]
        self._descriptor = listener.detach()  # gunicorn closes it when it is done
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"fd://{self._descriptor}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": self._settings.database_connections,
            "keepalive": KEEP_ALIVE_SECONDS,
            "control_socket_disable": True,  # two servers of one user would share it
            "loglevel": "warning",
            "post_worker_init": self._announce,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return create_app(self._settings)

    def _announce(self, _worker: Any) -> None:
        """Once a worker answers; again if it had to be replaced, which is worth a line."""
        host, port = self._address
        shown = f"[{host}]" if ":" in host else host
        sys.stderr.write(f"rediver-server listening on http://{shown}:{port}\n")
        sys.stderr.flush()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def serve(settings: Settings, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT. Does not return."""
    gunicorn.util.write_error = _write_error  # what no application ever sees is JSON too
    _Gunicorn(settings, listener).run()


def _write_error(sock: socket.socket, status: int, reason: str, message: str) -> None:
    """Answer what is not HTTP at all."""
    code = ErrorCode.INVALID_REQUEST if status < 500 else ErrorCode.INTERNAL_ERROR
    body = error_json(code, message or reason)
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    sock.sendall(head.encode("latin-1", "replace") + body)
