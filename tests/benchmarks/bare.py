"""The shared bench's bare servers: Flask with one claim, and WebSockets with nothing behind them.

Those on gunicorn run in our own environment, on the same versions, the same kind of worker and as
many threads as Rediver has: what differs is what is ours.
"""

import os
import subprocess  # noqa: TID251 - a bench starts the programs that it measures
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from programs import BIN, SHARED, port_of, program, said
from rediver_process import Database

PING_SECONDS: Final = "25"  # Rediver's own
_THREADS: Final = 6016  # of Rediver, made when they are needed
_GUNICORN: Final = (
    *("--bind", "127.0.0.1:0", "--workers", 1, "--threads", _THREADS, "--keep-alive", 75),
    *("--worker-connections", _THREADS + 1000, "--backlog", 2048, "--timeout", 120),
    *("--graceful-timeout", 2, "--no-control-socket"),
)
_UVICORN: Final = (
    *("--host", "127.0.0.1", "--port", 0, "--ws", "websockets-sansio", "--backlog", 4096),
    *("--ws-ping-interval", PING_SECONDS),
)


@contextmanager
def flask_claims(database: Database, rows: int) -> Generator[int]:
    """The port of a bare Flask app over so many pending commands; one writer at a time."""
    with tempfile.TemporaryDirectory(dir=os.environ["BENCH_TMP"]) as folder:
        directory = Path(folder)
        url = database.new(directory)
        fill = f"import store; store.create_sqlite({url.removeprefix('sqlite:///')!r}, {rows})"
        if not url.startswith("sqlite"):
            fill = f"import store; store.create_pg({url!r}, {rows})"
        said(BIN / "python", "-c", fill, cwd=SHARED)
        environment = {"DB_URL": url, "SYNC": "FULL", "LOCK": "1" if "sqlite" in url else ""}
        with _gunicorn(database, directory, SHARED, "http_app:app", environment) as process:
            yield port_of(process, directory / "bare.log")


@contextmanager
def flask_sockets(database: Database) -> Generator[subprocess.Popen[bytes]]:
    """flask-sock on the kind of worker that Rediver has for this database."""
    directory = Path(os.environ["BENCH_TMP"])
    environment = {"PING": PING_SECONDS}
    folder = SHARED / "ws_servers"
    with _gunicorn(database, directory, folder, "flask_app:app", environment) as process:
        yield process


@contextmanager
def starlette_sockets() -> Generator[subprocess.Popen[bytes]]:
    """starlette on uvicorn."""
    log = Path(os.environ["BENCH_TMP"]) / "bare.log"
    uvicorn = Path(sys.executable).with_name("uvicorn")
    if not uvicorn.exists():
        raise RuntimeError("uvicorn is not installed (bench.lock)")
    with program(
        log, uvicorn, "starlette_app:app", *_UVICORN, cwd=SHARED / "ws_servers"
    ) as process:
        yield process


@contextmanager
def _gunicorn(
    database: Database, directory: Path, code: Path, app: str, environment: dict[str, str]
) -> Generator[subprocess.Popen[bytes]]:
    command = (BIN / "gunicorn", "--worker-class", database.worker_class, *_GUNICORN, app)
    log = directory / "bare.log"
    with program(log, *command, environment=environment, cwd=code) as process:
        yield process
