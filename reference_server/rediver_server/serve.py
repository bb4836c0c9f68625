"""Runs the server under gunicorn, which is executed afresh in this process.

PostgreSQL is served by gevent workers: about twice the requests of threads, and an idle socket in
47 KiB, not 68. SQLite is served by one process of threads: its calls do not yield, so under gevent
every commit stops the process, and so would a command line that writes beside it. At 16 connections
the p99 of a claim was 355 ms there against 86, at two thirds of the rate.

The socket is bound here, so that a port that is taken is one sentence, and port 0 can be told.
"""

import json
import os
import resource
import socket
import sys
from tempfile import mkdtemp
from typing import Any

from rediver_server.settings import Settings, is_sqlite

_KEEP_ALIVE_SECONDS = 75  # longer than an agent's poll interval; gunicorn's own 2 s break pollers
_STOP_SECONDS = 10
_OTHER_CONNECTIONS = 1000
_FLAGS = {"database_url", "listen_url", "trusted_proxies"}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def serve(settings: Settings, listener: socket.socket, workers: int) -> None:
    """Answer requests until SIGTERM or SIGINT. Does not return."""
    worker = "Threads" if is_sqlite(settings.database_url) else "Greenlets"
    threads = settings.max_sockets + settings.database_connections  # made when they are needed
    options: dict[str, Any] = {
        "bind": f"fd://{listener.fileno()}",
        "workers": workers,
        "worker_class": f"__main__.{worker}",
        "threads": threads,
        "worker_connections": threads + _OTHER_CONNECTIONS,
        "keepalive": _KEEP_ALIVE_SECONDS,
        "graceful_timeout": _STOP_SECONDS,
        "forwarded_allow_ips": "",  # what a proxy says is believed by app.py alone
        "control_socket_disable": True,  # two servers of one user would share it
        "loglevel": "warning",
    }
    listener.set_inheritable(True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a socket takes two descriptors
    command = [sys.executable, "-P", "-m", "rediver_server.master", json.dumps(options)]
    flags = settings.model_dump(include=_FLAGS, exclude_none=True)
    given = {f"REDIVER_SERVER_{name.upper()}": str(value) for name, value in flags.items()}
    environment = {**os.environ, **given}
    if workers > 1:  # the master removes it
        environment["PROMETHEUS_MULTIPROC_DIR"] = mkdtemp(prefix="rediver-metrics-")
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter, no shell
