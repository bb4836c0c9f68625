"""A Rediver server and agent, as the shared bench has a queue (its `Queue` says what to provide).

The no-op is a `health_check` of an agent with no scanner enabled: it is posted, the agent is woken
by its WebSocket, claims it, records it in its spool, runs it, records it again, delivers the
result, and the server stores it as `completed`. The agent polls at its default: a wake-up that was
missed cannot be overlooked.
"""

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from programs import BIN, WAIT_SECONDS, program
from rediver_process import Rediver, Sqlite, rediver

LOOK_SECONDS: Final = 0.0005  # between looks at the database, as the shared bench's own queues do
_POLL_SECONDS: Final = 30  # the default


class RediverQueue:
    """One server process over SQLite and one agent, both new."""

    name = "Rediver's agent"
    idle_gap = 0.5

    def __init__(self, _services: Mapping[str, str]) -> None:
        self._stack = ExitStack()

    def start(self) -> None:
        """Everything runs, and the agent is on its way. Nothing is left running if this fails."""
        with ExitStack() as stack:
            server = stack.enter_context(
                rediver(Sqlite(), poll_interval_seconds=str(_POLL_SECONDS))
            )
            self._server = server
            file = server.url.removeprefix("sqlite:///")
            database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
            self._database = stack.enter_context(closing(database))
            command = (BIN / "rediver-agent", "run", "--config", _agent_config(server))
            log = server.directory / "agent.log"
            self.worker = stack.enter_context(program(log, *command))
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
        result = self._server.call("GET", f"/api/v1/commands/{command_id}")["result"]
        ended = datetime.fromisoformat(result["completed_at"]).timestamp()
        began = ended - result["duration_ms"] / 1000 - time.time() + time.monotonic()
        Path(path).write_text(f"{began:.9f}\n")

    def _post(self) -> str:
        order = {"type": "health_check", "payload": {}, "source_id": self._server.source["id"]}
        return self._server.call("POST", "/api/v1/commands", order)["id"]

    def _wait(self, command_id: str) -> None:
        query = "SELECT status FROM commands WHERE id = ?"
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            (status,) = self._database.execute(query, (command_id,)).fetchone()
            if status == "completed":
                return
            time.sleep(LOOK_SECONDS)
        raise TimeoutError(f"{command_id} is not done after {WAIT_SECONDS:.0f} s")


def _agent_config(server: Rediver) -> Path:
    config = server.directory / "agent.yaml"
    document: dict[str, Any] = {
        "agent": {"enable_command_polling": True, "command_poll_interval": f"{_POLL_SECONDS}s"},
        "server": {
            "base_url": f"http://127.0.0.1:{server.port}",
            "api_key": server.source["api_key"],
            "source_id": server.source["id"],
        },
        "scanners": [],  # none enabled, or a health check would ask each for its version
        "state_dir": str(server.directory / "agent"),
    }
    config.touch(mode=0o600)
    config.write_text(json.dumps(document))  # JSON is YAML
    return config
