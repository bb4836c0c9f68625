"""A Rediver server of its own over a new database, with a tenant and one source.

It is `rediver-server serve` as it comes, but for rates: nothing is limited. Everything lives in a
directory of BENCH_TMP, on a disk that is synced, and is ended and removed in the end.
"""

import http.client
import itertools
import json
import os
import subprocess  # noqa: TID251 - a bench starts the programs that it measures
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from programs import BIN, WAIT_SECONDS, port_of, program, said

UNLIMITED: Final = {
    f"REDIVER_SERVER_{what}_PER_MINUTE": "0" for what in ("CREATIONS", "INGESTS", "FAILED_KEYS")
}
MOST_IN_A_BATCH: Final = 100


class Sqlite:
    """One file for each server."""

    name: Final = "SQLite"
    worker_class: Final = "gthread"

    def new(self, directory: Path) -> str:
        """The address of a new database."""
        return f"sqlite:///{directory / 'server.sqlite3'}"


class Postgresql:
    """One PostgreSQL for all, one database of it for each server."""

    name: Final = "PostgreSQL"
    worker_class: Final = "gevent"

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._numbers = itertools.count()

    def new(self, _directory: Path) -> str:
        """The address of a new database."""
        asks, answers = self._process.stdin, self._process.stdout
        if asks is None or answers is None:
            raise RuntimeError("postgresql.py is started with pipes")
        asks.write(f"bench_{next(self._numbers)}\n".encode())
        asks.flush()
        if not (address := answers.readline().decode().strip()):
            raise RuntimeError("PostgreSQL did not start: see postgresql.log")
        return address


Database = Sqlite | Postgresql


@contextmanager
def postgresql(scratch: Path) -> Generator[Postgresql]:
    """A running PostgreSQL. It may be another user's where we are root: let that one in."""
    with tempfile.TemporaryDirectory(prefix="rediver-bench-") as folder:
        Path(folder).chmod(0o755)
        script = Path(__file__).with_name("postgresql.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        log = scratch / "postgresql.log"
        with program(log, BIN / "python", script, Path(folder) / "data", **pipes) as process:
            yield Postgresql(process)
            process.communicate(timeout=WAIT_SECONDS)  # closes stdin: it ends in its own time


@dataclass
class Rediver:
    """A running server."""

    url: str
    directory: Path
    port: int
    process: subprocess.Popen[bytes]
    tenant: Mapping[str, str]
    connection: http.client.HTTPConnection
    source: dict[str, str] = field(default_factory=dict[str, str])

    def call(self, method: str, path: str, body: object = None, key: str = "") -> dict[str, Any]:
        """What the server answers; anything but a success is raised."""
        text = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {key or self.tenant['api_key']}"}
        headers |= {"Content-Type": "application/json"} if text else {}
        self.connection.request(method, path, text, headers)
        reply = self.connection.getresponse()
        answer = reply.read()
        if reply.status >= 300:
            raise RuntimeError(f"{method} {path}: {reply.status} {answer[:500]!r}")
        return json.loads(answer)

    def order(self, **payload: str) -> dict[str, Any]:
        """The body that creates a scan for the source."""
        scan = {"scanner": "noop", "target": ".", **payload}
        return {"type": "scan", "payload": scan, "source_id": self.source["id"]}

    def create(self, count: int) -> None:
        """Create so many scans for the source, a hundred a call."""
        for start in range(0, count, MOST_IN_A_BATCH):
            orders = [self.order()] * min(MOST_IN_A_BATCH, count - start)
            made = self.call("POST", "/api/v1/commands/batch", {"commands": orders})["results"]
            if refused := [each for each in made if each["status"] != 201]:
                raise RuntimeError(f"a batch was refused in part: {refused[0]}")


@contextmanager
def rediver(database: Database, **settings: str) -> Generator[Rediver]:
    """A server over a new database; `settings` are those of its environment."""
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(dir=os.environ["BENCH_TMP"])
        directory = Path(stack.enter_context(temporary))
        url = database.new(directory)
        of_this = ("--database-url", url)
        if not url.startswith("sqlite"):
            said(BIN / "rediver-server", "migrate", *of_this)
        create = (BIN / "rediver-server", "tenant", "create", "bench", "--json", *of_this)
        tenant = json.loads(said(*create))
        log = directory / "server.log"
        serve = (BIN / "rediver-server", "serve", "--port", "0", *of_this)
        named = {f"REDIVER_SERVER_{name.upper()}": value for name, value in settings.items()}
        process = stack.enter_context(program(log, *serve, environment=UNLIMITED | named))
        port = port_of(process, log)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        stack.enter_context(closing(connection))
        server = Rediver(url, directory, port, process, tenant, connection)
        wanted = {"name": "bench", "type": "agent"}
        server.source |= server.call("POST", "/api/v1/sources", wanted)
        yield server
