"""What is waiting for the server, on disk before it is sent.

A row leaves only after the server has said yes, so a crash may send twice but never loses. A
command's findings go before its result. What the server refuses for good is parked with its reason,
and a result whose findings were refused says so. Reports of local runs stay for their operator.
Nothing here talks to a server.

Methods block (SQLite, `synchronous=FULL`) and may be called from any thread.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter

from rediver_agent.contract.base import dump
from rediver_agent.contract.batches import MAX_BATCH
from rediver_agent.contract.findings import MAX_FINDINGS_A_PART, Finding, Report
from rediver_agent.contract.results import CommandResult, Reason, ResultStatus
from rediver_agent.errors import DiskFull, SpoolError
from rediver_agent.local_reports import LocalReports, LocalRun, LocalWork
from rediver_agent.spool_commands import CommandLedger, HeldCommand, RecordedRun
from rediver_agent.spool_database import FULL, PAGE, SpoolDatabase

__all__ = ["Entry", "HeldCommand", "LocalRun", "LocalWork", "RecordedRun", "Spool"]

MAX_PART_BYTES: Final = 4 << 20  # the server's body cap is 10 MB, the report's header comes on top
_FINDINGS: Final = TypeAdapter(list[Finding])
_ABANDONED: Final = timedelta(days=2)  # no command lasts longer: a report that is open was left
_LONGEST_WAIT: Final = 7200.0  # seconds; a row due later than that only looks so: the clock was set
# NUL in JSON: the escape, where its backslash is not itself escaped.
_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
# A row that may be sent: findings before the result of their command.
_SENDABLE: Final = """FROM outbox AS o WHERE parked = 0 AND ready = 1
    AND (kind = 'findings' OR NOT EXISTS (SELECT 1 FROM outbox AS f
         WHERE f.command_id = o.command_id AND f.kind = 'findings'
               AND f.holds_result AND NOT f.parked))"""

Kind = Literal["findings", "result"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row that waits, or is parked."""

    seq: int
    kind: Kind
    command_id: str | None
    report_id: str | None
    attempts: int
    next_try_at: float
    last_error: str | None
    parked: bool
    created_at: float


class Spool(CommandLedger, LocalReports):
    """The spool of one state directory. Several processes may open it at once."""

    def __init__(
        self,
        directory: Path,
        *,
        now: Callable[[], datetime],
        mask: Callable[[str], str] = str,
        max_bytes: int = 1 << 30,
        for_server: bool = True,
    ) -> None:
        database = SpoolDatabase(directory, max_bytes)
        CommandLedger.__init__(self, database, now)
        LocalReports.__init__(self, database, now, for_server=for_server)
        self._mask = mask

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    # -- outcomes ------------------------------------------------------------------------------

    def finish(
        self, command_id: str, result: CommandResult | None, reports: Sequence[Report]
    ) -> None:
        """Write the outcome: these reports and the result may go, all else of the command is void.

        `result` is None for what no server asked for. One transaction.
        """
        with self._database.transaction() as db:
            self._settle_reports(db, command_id, reports)
            if result is None:
                db.execute("DELETE FROM commands WHERE id = ?", (command_id,))
            else:
                self._insert(db, "result", command_id, body=self._text(dump(result)), ready=1)
                db.execute("UPDATE commands SET state = 'finished' WHERE id = ?", (command_id,))

    def finish_local(self, run_id: str, result: CommandResult, reports: Sequence[Report]) -> None:
        """Write the outcome of what no server asked for, likewise; it stays with its reports."""
        with self._database.transaction() as db:
            self._settle_reports(db, run_id, reports)
            self._end_run(db, run_id, result, self._text(dump(result)))

    # -- reports: in parts, held back until the outcome is known -------------------------------

    def open_report(self, report_id: str, command_id: str) -> None:
        """Begin a report. Its parts wait for `finish`."""
        with self._database.transaction() as db:
            db.execute("INSERT INTO reports VALUES (?, ?, NULL, 0)", (report_id, command_id))

    def add_findings(self, report_id: str, command_id: str, findings: Sequence[Finding]) -> None:
        """Append findings, as one part or as many as the server's caps make of them."""
        for body in _bodies(findings):
            with self._database.transaction() as db:
                self._add_part(db, report_id, command_id, self._clean(body))

    def findings(self, report_id: str) -> Iterator[Finding]:
        """The findings of a report that is still here, in order, a part at a time.

        Raises `SpoolError` if it goes meanwhile: what is cut off must not look whole.
        """
        with self._database.reading() as db:
            row = db.execute("SELECT parts FROM reports WHERE id = ?", (report_id,)).fetchone()
        for part in range(row["parts"] if row else 1):
            if (body := self._part(report_id, part)) is None:
                raise SpoolError(f"the report {report_id} is gone, removed here or by sending")
            yield from _FINDINGS.validate_json(body)

    # -- delivery ------------------------------------------------------------------------------

    def next_due(self) -> tuple[Entry, str] | None:
        """What to send next, and its body; None while nothing is due. Findings before results."""
        now = self._now().timestamp()
        with self._database.reading() as db:
            row = db.execute(
                f"SELECT * {_SENDABLE} AND (next_try_at <= ? OR next_try_at > ?) "
                "ORDER BY next_try_at, seq LIMIT 1",
                (now, now + _LONGEST_WAIT),
            ).fetchone()
            if row is None:
                return None
            return _entry(row), self._body(db, row)

    def due_results(self) -> list[tuple[Entry, str]]:
        """Results that are due and may go in one call, oldest first."""
        now = self._now().timestamp()
        with self._database.reading() as db:
            rows = db.execute(
                f"SELECT * {_SENDABLE} AND kind = 'result' "
                "AND (next_try_at <= ? OR next_try_at > ?) ORDER BY next_try_at, seq LIMIT ?",
                (now, now + _LONGEST_WAIT, MAX_BATCH),
            ).fetchall()
        room = accumulate(len(row["body"].encode()) for row in rows)
        fitting = [row for row, size in zip(rows, room, strict=True) if size <= MAX_PART_BYTES]
        return [(_entry(row), row["body"]) for row in fitting or rows[:1]]

    def next_try_at(self) -> float | None:
        """When the earliest waiting row is due (seconds since 1970); None if none waits."""
        with self._database.reading() as db:
            return db.execute(f"SELECT min(next_try_at) {_SENDABLE}").fetchone()[0]

    def delivered(self, entry: Entry) -> None:
        """The server has it: the row goes, and with a result all that was kept for its command.

        A part of a local report waits no longer, and stays.
        """
        with self._database.transaction() as db:
            if self._is_local(db, entry.command_id):
                self._keep_part(db, entry.seq)
                return
            was = db.execute("DELETE FROM outbox WHERE seq = ?", (entry.seq,)).rowcount
            if was and entry.kind == "result":  # else a newer attempt has taken its place
                db.execute("DELETE FROM commands WHERE id = ?", (entry.command_id,))
            db.execute(
                "DELETE FROM reports WHERE id = ?1 AND header IS NOT NULL "
                "AND NOT EXISTS (SELECT 1 FROM outbox WHERE report_id = ?1)",
                (entry.report_id,),
            )

    def postpone(self, entry: Entry, wait: timedelta, error: str) -> None:
        """It could not be sent: try again after `wait`."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE outbox SET attempts = attempts + 1, next_try_at = ?, last_error = ? "
                "WHERE seq = ?",
                ((self._now() + wait).timestamp(), self._mask(error), entry.seq),
            )

    def let_result_pass(self, entry: Entry) -> None:
        """These findings wait on, and the result of their command need not wait for them."""
        with self._database.transaction() as db:
            db.execute("UPDATE outbox SET holds_result = 0 WHERE seq = ?", (entry.seq,))

    def park(self, entry: Entry, error: str) -> None:
        """The server refuses it for good. A result whose findings were refused is now a failure."""
        with self._database.transaction() as db:
            was = db.execute(
                "UPDATE outbox SET parked = 1, attempts = attempts + 1, last_error = ? "
                "WHERE seq = ?",
                (self._mask(error), entry.seq),
            ).rowcount
            if was and entry.kind == "findings" and entry.command_id:
                self._fail_result(db, entry.command_id, error)
            elif was and entry.kind == "result":
                db.execute("DELETE FROM commands WHERE id = ?", (entry.command_id,))

    # -- what an operator sees and does ---------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Everything that waits for a server or is parked, oldest first."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT * FROM outbox WHERE ready AND (? OR attempts OR NOT EXISTS "
                "(SELECT 1 FROM local_runs WHERE id = command_id)) ORDER BY seq",
                (self.for_server,),
            )
            return [_entry(row) for row in rows]

    def retry(self) -> int:
        """Make everything due now, parked rows too. Returns how many rows."""
        with self._database.transaction() as db:
            return db.execute("UPDATE outbox SET parked = 0, next_try_at = 0 WHERE ready").rowcount

    def hurry(self) -> None:
        """Make everything that waits due now; what is parked stays parked."""
        with self._database.transaction() as db:
            db.execute("UPDATE outbox SET next_try_at = 0 WHERE ready AND NOT parked")

    def drop(self, seq: int) -> bool:
        """Give up a parked row. False if there is no such parked row."""
        with self._database.transaction() as db:
            query = "SELECT command_id FROM outbox WHERE seq = ? AND parked"
            row = db.execute(query, (seq,)).fetchone()
            if row is None:
                return False
            if self._is_local(db, row["command_id"]):
                self._give_up_part(db, seq, row["command_id"])
            else:
                db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
            return True

    def prune(self, max_age: timedelta) -> int:
        """Give up what has waited longer than `max_age` and was tried. Returns how many rows.

        A result whose findings are given up is now a failure, never a clean one. Local runs of
        that age go too, and what a one-shot command had written when it was killed.
        """
        before = (self._now() - max_age).timestamp()
        # What was never tried may only look old, because the clock was set.
        old = (
            "FROM outbox WHERE ready AND attempts AND created_at < ? "
            "AND NOT EXISTS (SELECT 1 FROM local_runs WHERE id = command_id)"
        )
        with self._database.transaction() as db:
            query = (
                f"SELECT DISTINCT command_id {old} AND kind = 'findings' AND command_id NOT NULL"
            )
            for (command_id,) in db.execute(query, (before,)).fetchall():
                self._fail_result(db, command_id, "they could not be delivered in time")
            dropped = db.execute(f"DELETE {old}", (before,)).rowcount
            dropped += self._prune_local(db, before)
            self._drop_abandoned(db, (self._now() - max(max_age, _ABANDONED)).timestamp())
            db.execute(
                "DELETE FROM commands WHERE state = 'finished' AND NOT EXISTS (SELECT 1 "
                "FROM outbox WHERE command_id = commands.id AND kind = 'result')"
            )
            return dropped

    # -- inside ---------------------------------------------------------------------------------

    def _text(self, value: object) -> str:
        return self._clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def _clean(self, text: str) -> str:
        """Without secrets, and without NUL, which a server refuses and a tool may well print."""
        return self._mask(_NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text)

    def _insert(  # noqa: PLR0913 - the columns of a row
        self,
        db: sqlite3.Connection,
        kind: Kind,
        command_id: str | None,
        *,
        body: str,
        ready: int,
        report_id: str | None = None,
        part: int | None = None,
    ) -> None:
        db.execute(
            "INSERT INTO outbox (kind, command_id, report_id, part, body, ready, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (kind, command_id, report_id, part, body, ready, self._now().timestamp()),
        )

    def _add_part(
        self, db: sqlite3.Connection, report_id: str, command_id: str | None, body: str
    ) -> None:
        if not self._make_room(db, len(body)) and len(body) > PAGE:
            raise DiskFull(FULL)
        (part,) = db.execute(
            "UPDATE reports SET parts = parts + 1 WHERE id = ? RETURNING parts - 1", (report_id,)
        ).fetchone()
        self._insert(db, "findings", command_id, body=body, ready=0, report_id=report_id, part=part)

    def _release(self, db: sqlite3.Connection, report: Report) -> None:
        report_id = report.metadata.id
        row = db.execute(
            "SELECT command_id, parts FROM reports WHERE id = ?", (report_id,)
        ).fetchone()
        if row["parts"] == 0:  # a clean scan is reported too, or nothing could ever be resolved
            self._add_part(db, report_id, row["command_id"], "[]")
        header = dump(report)
        header.pop("findings", None)
        db.execute("UPDATE reports SET header = ? WHERE id = ?", (self._text(header), report_id))
        db.execute("UPDATE outbox SET ready = 1 WHERE report_id = ?", (report_id,))

    def _settle_reports(
        self, db: sqlite3.Connection, command_id: str, reports: Sequence[Report]
    ) -> None:
        """Let these reports go; what else the command had written, and its tools, are history."""
        keep = [report.metadata.id for report in reports]
        query = "SELECT id FROM reports WHERE command_id = ?"
        for row in db.execute(query, (command_id,)).fetchall():
            if row["id"] not in keep:
                db.execute("DELETE FROM outbox WHERE report_id = ?", (row["id"],))
                db.execute("DELETE FROM reports WHERE id = ?", (row["id"],))
        for report in reports:
            self._release(db, report)
        db.execute("DELETE FROM runs WHERE command_id = ?", (command_id,))

    def _drop_abandoned(self, db: sqlite3.Connection, before: float) -> None:
        query = (
            "SELECT DISTINCT report_id FROM outbox WHERE NOT parked AND NOT ready "
            "AND created_at < ? AND command_id NOT IN (SELECT id FROM commands "
            "UNION ALL SELECT id FROM local_runs)"
        )
        for (report_id,) in db.execute(query, (before,)).fetchall():
            db.execute("DELETE FROM outbox WHERE report_id = ?", (report_id,))
            db.execute("DELETE FROM reports WHERE id = ?", (report_id,))

    def _part(self, report_id: str, part: int) -> str | None:
        with self._database.reading() as db:
            row = db.execute(
                "SELECT body FROM outbox WHERE report_id = ?1 AND part = ?2 "
                "UNION ALL SELECT body FROM sent_parts WHERE report_id = ?1 AND part = ?2",
                (report_id, part),
            ).fetchone()
        return row["body"] if row else None

    def _body(self, db: sqlite3.Connection, row: sqlite3.Row) -> str:
        if row["kind"] == "result":
            return row["body"]
        report = db.execute("SELECT * FROM reports WHERE id = ?", (row["report_id"],)).fetchone()
        header = json.loads(report["header"])
        header["metadata"] |= {"part": row["part"], "last": row["part"] == report["parts"] - 1}
        start = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
        return f'{start[:-1]},"findings":{row["body"]}}}'

    def _fail_result(self, db: sqlite3.Connection, command_id: str, error: str) -> None:
        query = "SELECT seq, body FROM outbox WHERE command_id = ? AND kind = 'result'"
        for row in db.execute(query, (command_id,)).fetchall():
            result = CommandResult.model_validate_json(row["body"])
            failed = result.model_copy(
                update={
                    "status": ResultStatus.FAILED,
                    "error": f"the server refused the findings: {error}",
                    "metadata": {**result.metadata, "reason": Reason.FINDINGS_REJECTED.value},
                }
            )
            db.execute(
                "UPDATE outbox SET body = ? WHERE seq = ?", (self._text(dump(failed)), row["seq"])
            )


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        seq=row["seq"], kind=row["kind"], command_id=row["command_id"], report_id=row["report_id"],
        attempts=row["attempts"], next_try_at=row["next_try_at"], last_error=row["last_error"],
        parked=bool(row["parked"]), created_at=row["created_at"],
    )  # fmt: skip


def _bodies(findings: Sequence[Finding]) -> Iterator[str]:
    """JSON arrays of findings, each within the server's caps for one part."""
    texts: list[str] = []
    size = 0
    for finding in findings:
        text = finding.model_dump_json(exclude_none=True, exclude_defaults=True)
        if texts and (len(texts) == MAX_FINDINGS_A_PART or size + len(text) > MAX_PART_BYTES):
            yield f"[{','.join(texts)}]"
            texts, size = [], 0
        texts.append(text)
        size += len(text)
    if texts:
        yield f"[{','.join(texts)}]"
