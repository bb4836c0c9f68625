"""A Rediver server and agent, as the shared bench takes a queue (its `Queue` says what to provide).

The no-op is a `health_check` of an agent with no scanner enabled: it is posted, polled, claimed,
recorded in the agent's spool, run, recorded again, delivered, and stored as `completed`. Everything
lives in a directory of BENCH_TMP, on a disk that is synced, and is ended and removed by `stop`.
"""

import http.client
import json
import os
import random
import re
import signal
import sqlite3
import subprocess  # noqa: TID251 - a bench starts the programs that it measures
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

BIN: Final = Path(__file__).parents[2] / ".venv" / "bin"
WAIT_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.0005  # between looks at the database, as the shared bench's own queues do
_POLL_SECONDS: Final = "1"  # the shortest that a server may set


class RediverQueue:
    """One server process over SQLite and one agent, both new."""

    name = "Rediver on SQLite"
    idle_n = 10

    def __init__(self, _services: Mapping[str, str]) -> None:
        self._stack = ExitStack()

    @property
    def idle_gap(self) -> float:
        """Seconds until the next probe: any moment between two polls is as likely."""
        return random.uniform(1, 3)

    def start(self) -> None:
        """Everything runs, and the agent is on its way. Nothing is left running if this fails."""
        with ExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(dir=os.environ["BENCH_TMP"])
            directory = Path(stack.enter_context(temporary))
            database = directory / "server.sqlite3"
            tenant = _server_says(database, "tenant", "create", "bench")
            source = _server_says(
                database, "source", "create", "--tenant", tenant["tenant_id"], "--name", "bench"
            )
            port = _start_server(stack, directory, database)
            self._http = stack.enter_context(
                closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS))
            )
            self._headers = {
                "Authorization": f"Bearer {tenant['api_key']}",
                "Content-Type": "application/json",
            }
            self._order: dict[str, Any] = {
                "type": "health_check",
                "payload": {},
                "source_id": source["id"],
            }
            self._database = stack.enter_context(
                closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True))
            )
            config = _agent_config(directory, port, source)
            self.worker = _spawn(
                stack, directory / "agent.log", "rediver-agent", "run", "--config", str(config)
            )
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """End the agent, then the server, and remove what they wrote."""
        self._stack.close()

    def enqueue(self, n: int) -> None:
        """Post n no-ops, one call each."""
        for _ in range(n):
            self._post()

    def done(self) -> int:
        """How many results are stored."""
        query = "SELECT count(*) FROM commands WHERE status = 'completed'"
        return self._database.execute(query).fetchone()[0]

    def wait_one(self) -> None:
        """Post one no-op and return when its result is stored."""
        self._wait(self._post())

    def probe(self, path: str) -> None:
        """Post one no-op; write the moment when it began to run, by the monotonic clock."""
        command_id = self._post()
        self._wait(command_id)
        result = self._call("GET", f"/api/v1/commands/{command_id}")["result"]
        ended = datetime.fromisoformat(result["completed_at"]).timestamp()
        began = ended - result["duration_ms"] / 1000 - time.time() + time.monotonic()
        Path(path).write_text(f"{began:.9f}\n")

    def _post(self) -> str:
        return self._call("POST", "/api/v1/commands", self._order)["id"]

    def _wait(self, command_id: str) -> None:
        query = "SELECT status FROM commands WHERE id = ?"
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            (status,) = self._database.execute(query, (command_id,)).fetchone()
            if status == "completed":
                return
            time.sleep(LOOK_SECONDS)
        raise TimeoutError(f"{command_id} is not done after {WAIT_SECONDS:.0f} s")

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        text = None if body is None else json.dumps(body)
        self._http.request(method, path, text, self._headers)
        reply = self._http.getresponse()
        document = json.loads(reply.read())
        if reply.status >= 300:
            raise RuntimeError(f"{method} {path}: {reply.status} {document}")
        return document


def _server_says(database: Path, *arguments: str) -> dict[str, Any]:
    command = [str(BIN / "rediver-server"), *arguments, "--json", "--database-url"]
    return json.loads(subprocess.check_output([*command, f"sqlite:///{database}"]))


def _start_server(stack: ExitStack, directory: Path, database: Path) -> int:
    log = directory / "server.log"
    server = _spawn(
        stack, log, "rediver-server", "serve", "--port", "0", "--database-url",
        f"sqlite:///{database}", REDIVER_SERVER_POLL_INTERVAL_SECONDS=_POLL_SECONDS,
    )  # fmt: skip
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end and server.poll() is None:
        if found := re.search(r"listening on http://\S+:(\d+)\n", log.read_text()):
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError(f"rediver-server did not start: {log.read_text()[-500:]}")


def _agent_config(directory: Path, port: int, source: Mapping[str, Any]) -> Path:
    config = directory / "agent.yaml"
    document: dict[str, Any] = {
        "agent": {"enable_command_polling": True, "command_poll_interval": f"{_POLL_SECONDS}s"},
        "server": {
            "base_url": f"http://127.0.0.1:{port}",
            "api_key": source["api_key"],
            "source_id": source["id"],
        },
        "scanners": [],  # none enabled, or a health check would ask each for its version
        "state_dir": str(directory / "agent"),
    }
    config.touch(mode=0o600)
    config.write_text(json.dumps(document))  # JSON is YAML
    return config


def _spawn(
    stack: ExitStack, log: Path, program: str, *arguments: str, **environment: str
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / program), *arguments], stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(WAIT_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # of the group that was made for it
    process.wait()
