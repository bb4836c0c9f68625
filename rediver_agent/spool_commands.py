"""The commands that this agent answers for, on disk before anything is done about them.

Part of the spool: from the claim until the outcome is written. A claim is remembered before it is
made, so that no crash forgets what the server has handed over.
"""

import sqlite3
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rediver_agent.spool_database import SpoolDatabase


@dataclass(frozen=True, slots=True)
class HeldCommand:
    """A command that this agent answers for."""

    id: str
    attempt: int | None
    state: Literal["claiming", "begun", "restarting", "finished"]
    """`claiming`: whether it is ours is not known; `restarting`: the next start is its outcome."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A tool that was started: its process group's leader, and when that started."""

    run_id: str
    pid: int
    create_time: float


class CommandLedger:
    """What of the spool is about commands in hand. Methods block, from any thread."""

    def __init__(self, database: SpoolDatabase, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def claim(self, command_id: str) -> bool:
        """Remember that this command is about to be claimed. False if it is known already."""
        with self._database.transaction() as db:
            row = db.execute(
                "INSERT INTO commands VALUES (?, NULL, 'claiming', ?) ON CONFLICT DO NOTHING",
                (command_id, self._now().timestamp()),
            )
            return row.rowcount == 1

    def begin(self, command_id: str, attempt: int | None) -> None:
        """The server has acknowledged: the command is ours and will be answered."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE commands SET state = 'begun', attempt = ? WHERE id = ?",
                (attempt, command_id),
            )

    def forget(self, command_id: str) -> None:
        """The command is not ours: drop all that was kept for it."""
        with self._database.transaction() as db:
            for table in ("outbox", "reports", "runs"):
                db.execute(f"DELETE FROM {table} WHERE command_id = ?", (command_id,))  # noqa: S608 - names of ours
            db.execute("DELETE FROM commands WHERE id = ?", (command_id,))

    def held(self) -> list[HeldCommand]:
        """Every command that has not been answered and delivered, oldest first."""
        with self._database.reading() as db:
            rows = db.execute("SELECT id, attempt, state FROM commands ORDER BY received_at")
            return [HeldCommand(*row) for row in rows]

    def record_run(self, command_id: str, run: RecordedRun) -> None:
        """Remember a started tool, so that the next agent can end it if this one dies."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)",
                (run.run_id, command_id, run.pid, run.create_time),
            )

    def runs(self) -> list[RecordedRun]:
        """Tools that an agent started, for work that has no outcome yet.

        Not those of a scan that somebody types just now, with `--push`, beside the agent.
        """
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT run_id, pid, create_time FROM runs WHERE command_id IN "
                "(SELECT id FROM commands UNION ALL SELECT id FROM local_runs)"
            )
            return [RecordedRun(*row) for row in rows]

    def claim_id(self) -> str:
        """What the next claim is called: the same until its answer is on disk, across restarts."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO claims SELECT ? WHERE NOT EXISTS (SELECT 1 FROM claims)",
                (uuid.uuid4().hex,),
            )
            return db.execute("SELECT id FROM claims").fetchone()[0]

    def begin_claimed(self, commands: Iterable[tuple[str, int | None]]) -> set[str]:
        """The server's answer to a claim: these ids, with their attempts, are ours from now on.

        Returns those to begin. One that is known is answered by what is already written, unless
        this is a newer attempt than one that is over: the server knows what became of that.
        """
        new: set[str] = set()
        with self._database.transaction() as db:
            for command_id, attempt in commands:
                row = db.execute(
                    "INSERT INTO commands VALUES (?1, ?2, 'begun', ?3) ON CONFLICT DO UPDATE SET "
                    "attempt = ?2, state = 'begun', received_at = ?3 "
                    "WHERE state = 'finished' AND attempt < ?2",
                    (command_id, attempt, self._now().timestamp()),
                )
                if row.rowcount:
                    new.add(command_id)
                    _let_older_go(db, command_id)
            db.execute("DELETE FROM claims")
        return new

    def restarting(self, command_id: str) -> None:
        """The outcome of this command is that the agent starts anew: the next one reports it."""
        with self._database.transaction() as db:
            db.execute("UPDATE commands SET state = 'restarting' WHERE id = ?", (command_id,))


def _let_older_go(db: sqlite3.Connection, command_id: str) -> None:
    """An older attempt's result is settled; its findings wait on, and hold nobody back."""
    for settle in (
        "DELETE FROM outbox WHERE command_id = ? AND NOT parked AND kind = 'result'",
        "UPDATE outbox SET command_id = NULL WHERE command_id = ? AND NOT parked",
        "UPDATE reports SET command_id = NULL WHERE command_id = ?",
    ):
        db.execute(settle, (command_id,))
