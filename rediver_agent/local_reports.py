"""What this agent did by itself, on disk: every run with its outcome, failed ones too.

Part of the spool. A run is written before its work begins, so that one that was killed is known;
it stays, with its reports, for `max_age`, whether a server has them or not. Where the spool's file
nears its cap the oldest runs go first, but never what still waits for a server. When each piece of
work was last begun is kept apart from the runs, so that no clearing up makes it due again.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple, cast

from rediver_agent.contract.findings import Report, SourceType
from rediver_agent.contract.results import CommandResult, Reason, ResultStatus
from rediver_agent.spool_database import PAGE, SpoolDatabase

Kind = Literal["scan", "collect"]
Delivery = Literal["nothing", "waiting", "refused", "given_up", "sent"]

# Of the file: findings leave so much to outcomes, and to the sending that makes room again.
RESERVED: Final = 1 / 16

_RUNS: Final = """SELECT *,
    (SELECT count(*) FROM reports WHERE command_id = local_runs.id) AS reports,
    (SELECT count(*) FROM outbox WHERE command_id = local_runs.id AND parked) AS parked,
    (SELECT count(*) FROM outbox WHERE command_id = local_runs.id) AS waiting
    FROM local_runs"""


class LocalWork(NamedTuple):
    """What an agent does by itself, again and again. A collection's target is empty."""

    kind: Kind
    name: str
    target: str


@dataclass(frozen=True, slots=True)
class LocalRun:
    """One time that it was done, or is being done: then there is no result yet."""

    id: str
    work: LocalWork
    started_at: datetime
    finished_at: datetime | None
    result: CommandResult | None
    delivery: Delivery
    """What became of its reports: of a failed run there may be none."""


class LocalReports:
    """What of the spool is about local runs. Methods block, from any thread."""

    def __init__(
        self, database: SpoolDatabase, now: Callable[[], datetime], *, for_server: bool
    ) -> None:
        self._database = database
        self._now = now
        self.for_server = for_server
        """Whether there is a server that reports wait for."""

    # -- runs ----------------------------------------------------------------------------------

    def begin_local(self, run_id: str, kind: Kind, name: str, target: str) -> None:
        """Remember that this run is about to begin, and that its work has been begun now."""
        now = self._now().timestamp()
        with self._database.transaction() as db:
            self._make_room(db, 0)
            db.execute(
                "INSERT INTO local_runs (id, kind, name, target, started_at) "
                "VALUES (?, ?, ?, ?, ?)",
                (run_id, kind, name, target, now),
            )
            db.execute(
                "INSERT OR REPLACE INTO local_starts VALUES (?, ?, ?, ?)", (kind, name, target, now)
            )

    def local_starts(self) -> dict[LocalWork, datetime]:
        """When each piece of work was last begun, also by an agent before this one."""
        with self._database.reading() as db:
            rows = db.execute("SELECT kind, name, target, started_at FROM local_starts").fetchall()
        return {LocalWork(*row[:3]): datetime.fromtimestamp(row[3], UTC) for row in rows}

    def fail_unfinished_local(self) -> list[str]:
        """The agent that began these runs is gone: they failed. Returns their ids.

        What they had found belongs to no outcome and is dropped.
        """
        now = self._now()
        result = CommandResult(
            status=ResultStatus.FAILED,
            completed_at=now,
            error="the agent was killed during the work; it is done again when it is next due",
            metadata={"reason": Reason.AGENT_RESTARTED.value},
        ).model_dump_json(exclude_none=True)
        with self._database.transaction() as db:
            rows = db.execute("SELECT id FROM local_runs WHERE finished_at IS NULL").fetchall()
            ids = [row["id"] for row in rows]
            for run_id in ids:
                self._drop_reports(db, run_id)
                db.execute("DELETE FROM runs WHERE command_id = ?", (run_id,))
                db.execute(
                    "UPDATE local_runs SET finished_at = ?, result = ? WHERE id = ?",
                    (now.timestamp(), result, run_id),
                )
        return ids

    # -- what an operator sees -----------------------------------------------------------------

    def local_runs(self, limit: int = -1) -> list[LocalRun]:
        """The newest runs first; all that are kept, or as many as `limit`."""
        with self._database.reading() as db:
            rows = db.execute(f"{_RUNS} ORDER BY seq DESC LIMIT ?", (limit,)).fetchall()
        return [_run(row) for row in rows]

    def count_local_runs(self) -> int:
        """How many runs are kept."""
        with self._database.reading() as db:
            return db.execute("SELECT count(*) FROM local_runs").fetchone()[0]

    def find_local_runs(self, prefix: str, limit: int) -> list[LocalRun]:
        """Runs whose id, with or without its kind, begins so; newest first."""
        with self._database.reading() as db:
            rows = db.execute(
                f"{_RUNS} WHERE substr(id, 1, length(?1)) = ?1 "
                "OR substr(id, instr(id, '_') + 1, length(?1)) = ?1 ORDER BY seq DESC LIMIT ?2",
                (prefix, limit),
            ).fetchall()
        return [_run(row) for row in rows]

    def latest_local_run(self) -> LocalRun | None:
        """The newest run that has an outcome."""
        with self._database.reading() as db:
            row = db.execute(
                f"{_RUNS} WHERE finished_at IS NOT NULL ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        return _run(row) if row else None

    def local_reports(self, run_id: str) -> list[Report]:
        """The reports of a run, without their findings: those are `findings`."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT header FROM reports WHERE command_id = ? AND header IS NOT NULL "
                "ORDER BY rowid",
                (run_id,),
            ).fetchall()
        return [Report.model_validate_json(row["header"]) for row in rows]

    # -- for the spool -------------------------------------------------------------------------

    def _end_run(
        self, db: sqlite3.Connection, run_id: str, result: CommandResult, text: str
    ) -> None:
        """Write the outcome of a run. One that was never begun here is known from now on."""
        work = _work_of(result, self._headers(db, run_id))
        started = result.completed_at - timedelta(milliseconds=result.duration_ms or 0)
        db.execute(
            "INSERT INTO local_runs (id, kind, name, target, started_at, finished_at, result) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
            "SET finished_at = excluded.finished_at, result = excluded.result",
            (run_id, *work, started.timestamp(), result.completed_at.timestamp(), text),
        )

    def _headers(self, db: sqlite3.Connection, run_id: str) -> list[Report]:
        query = "SELECT header FROM reports WHERE command_id = ? AND header IS NOT NULL"
        rows = db.execute(query, (run_id,)).fetchall()
        return [Report.model_validate_json(row["header"]) for row in rows]

    def _is_local(self, db: sqlite3.Connection, run_id: str | None) -> bool:
        query = "SELECT 1 FROM local_runs WHERE id = ?"
        return db.execute(query, (run_id,)).fetchone() is not None

    def _keep_part(self, db: sqlite3.Connection, seq: int) -> None:
        """A part of a local report no longer waits, and stays here."""
        row = db.execute("DELETE FROM outbox WHERE seq = ? RETURNING *", (seq,)).fetchone()
        if row is not None:  # what the row took is free by now: keeping it needs no more room
            db.execute(
                "INSERT OR REPLACE INTO sent_parts VALUES (?, ?, ?)",
                (row["report_id"], row["part"], row["body"]),
            )

    def _give_up_part(self, db: sqlite3.Connection, seq: int, run_id: str | None) -> None:
        """The operator gives up sending this part; it stays here, and the run says so."""
        self._keep_part(db, seq)
        db.execute("UPDATE local_runs SET given_up = 1 WHERE id = ?", (run_id,))

    def _prune_local(self, db: sqlite3.Connection, before: float) -> int:
        """Drop runs that are too old. Returns how many rows of them a server never got."""
        rows = db.execute(
            "SELECT id FROM local_runs WHERE finished_at < ? AND NOT (? AND EXISTS (SELECT 1 "
            # What was never tried may only look old, because the clock was set.
            "FROM outbox WHERE command_id = local_runs.id AND ready AND NOT attempts))",
            (before, self.for_server),
        ).fetchall()
        waited = sum(self._drop_run(db, row["id"]) for row in rows)
        return waited if self.for_server else 0

    def _make_room(self, db: sqlite3.Connection, size: int) -> bool:
        """Drop the oldest runs until `size` bytes fit; what waits for a server never goes.

        Returns whether they fit beside what is reserved.
        """
        (most,) = db.execute("PRAGMA max_page_count").fetchone()
        least = most * RESERVED + size / PAGE
        while most - _used_pages(db) < least:
            row = db.execute(
                "SELECT id FROM local_runs WHERE finished_at IS NOT NULL AND NOT (? AND EXISTS ("
                "SELECT 1 FROM outbox WHERE command_id = local_runs.id)) "
                "ORDER BY seq LIMIT 1",
                (self.for_server,),
            ).fetchone()
            if row is None:
                return False
            self._drop_run(db, row["id"])
        return True

    def _drop_run(self, db: sqlite3.Connection, run_id: str) -> int:
        dropped = self._drop_reports(db, run_id)
        db.execute("DELETE FROM local_runs WHERE id = ?", (run_id,))
        return dropped

    def _drop_reports(self, db: sqlite3.Connection, run_id: str) -> int:
        """Returns how many rows of them still waited."""
        db.execute(
            "DELETE FROM sent_parts WHERE report_id IN (SELECT id FROM reports "
            "WHERE command_id = ?)",
            (run_id,),
        )
        db.execute("DELETE FROM reports WHERE command_id = ?", (run_id,))
        return db.execute("DELETE FROM outbox WHERE command_id = ?", (run_id,)).rowcount


def _used_pages(db: sqlite3.Connection) -> int:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    return pages - free


def _work_of(result: CommandResult, reports: Sequence[Report]) -> LocalWork:
    """What a run was, by its outcome: that is all there is of one that somebody typed."""
    first = reports[0] if reports else None
    collected = "collector" in result.metadata or (
        first is not None and first.metadata.source_type is SourceType.COLLECTOR
    )
    name = result.metadata.get("collector" if collected else "scanner")
    asset = first.assets[0].value if first and first.assets else ""
    return LocalWork(
        "collect" if collected else "scan",
        str(name or (first.tool.name if first else "")),
        "" if collected else asset,
    )


def _run(row: sqlite3.Row) -> LocalRun:
    finished = row["finished_at"]
    return LocalRun(
        id=row["id"],
        work=LocalWork(cast("Kind", row["kind"]), row["name"], row["target"]),
        started_at=datetime.fromtimestamp(row["started_at"], UTC),
        finished_at=None if finished is None else datetime.fromtimestamp(finished, UTC),
        result=CommandResult.model_validate_json(row["result"]) if row["result"] else None,
        delivery=_delivery(row),
    )


def _delivery(row: sqlite3.Row) -> Delivery:
    if row["parked"]:
        return "refused"
    if row["waiting"]:
        return "waiting"
    if row["given_up"]:
        return "given_up"
    return "sent" if row["reports"] else "nothing"
