"""A Rediver server and a plain client of the contract, as the shared bench has a queue.

The agent is plain_agent.py, woken by its WebSocket; so what is measured is the server. A command is
done when the server has answered that it stored the result. The poll interval is far longer than a
wait in a round: a wake-up that was missed cannot be overlooked.
"""

import subprocess  # noqa: TID251 - a bench starts the programs that it measures
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from programs import BIN, WAIT_SECONDS, program
from rediver_process import Database, Sqlite, rediver

POLL_SECONDS: Final = 20  # a wait is given up after 30


class OneByOne:
    """One create a call; claims and results in batches."""

    name = "Rediver on SQLite"
    database: Database = Sqlite()
    idle_gap = 0.2

    def __init__(self, _services: Mapping[str, str]) -> None:
        self._stack = ExitStack()
        self._done: set[str] = set()
        self._heard = threading.Condition()

    def start(self) -> None:
        """Everything runs, and the agent is on its way. Nothing is left running if this fails."""
        with ExitStack() as stack:
            settings = {"poll_interval_seconds": str(POLL_SECONDS)}
            self._server = stack.enter_context(rediver(self.database, **settings))
            agent = Path(__file__).with_name("plain_agent.py")
            command = (BIN / "python", agent, self._server.port, self._server.source["api_key"])
            log = self._server.directory / "agent.log"
            self.worker = stack.enter_context(program(log, *command, stdout=subprocess.PIPE))
            threading.Thread(target=self._listen, daemon=True).start()
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """End the agent, then the server, and remove what they wrote."""
        self._stack.close()

    def enqueue(self, n: int) -> None:
        """Post n no-ops."""
        for _ in range(n):
            self._post()

    def done(self) -> int:
        """How many results are stored."""
        return len(self._done)

    def wait_one(self) -> None:
        """Post one no-op and return when its result is stored."""
        self._wait(self._post())

    def probe(self, path: str) -> None:
        """Post one no-op that writes the moment when it began, by the monotonic clock."""
        self._wait(self._post(scanner="probe", target=path))

    def _post(self, **payload: str) -> str:
        return self._server.call("POST", "/api/v1/commands", self._server.order(**payload))["id"]

    def _wait(self, command_id: str) -> None:
        with self._heard:
            if not self._heard.wait_for(lambda: command_id in self._done, WAIT_SECONDS):
                raise TimeoutError(f"{command_id} is not done after {WAIT_SECONDS:.0f} s")

    def _listen(self) -> None:
        for line in self.worker.stdout or ():
            with self._heard:
                self._done.update(line.decode().split())
                self._heard.notify_all()


class Batches(OneByOne):
    """A hundred creates a call."""

    name = "Rediver on SQLite, batches"

    def enqueue(self, n: int) -> None:
        """Post n no-ops, a hundred a call."""
        self._server.create(n)


def on(postgresql: Database) -> list[Any]:
    """The same two on PostgreSQL."""
    one: dict[str, Any] = {"name": "Rediver on PostgreSQL", "database": postgresql}
    many = {**one, "name": "Rediver on PostgreSQL, batches"}
    return [type("OneByOne", (OneByOne,), one), type("Batches", (Batches,), many)]
