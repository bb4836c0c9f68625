"""What of a damaged spool can be read and proven goes into a new one; the damaged one is only read.

A row is taken if it is whole by itself: its types, its ids, and its text as the contract has it. An
outcome is taken if its result and every part of its reports are. A command whose outcome is not
proven counts as begun, so that it is answered as `agent_restarted`: never as done, never forgotten.
"""

import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    model_validator,
)
from typing_extensions import override

from rediver_agent.contract.base import Id
from rediver_agent.contract.findings import Finding, Report
from rediver_agent.contract.results import CommandResult
from rediver_agent.errors import SpoolError
from rediver_agent.spool_database import PAGE, SCHEMA

_FINDINGS: Final = TypeAdapter(list[Finding])
_Natural = Annotated[int, Field(ge=0)]
_Text = Annotated[str, Field(min_length=1)]


class _Row(BaseModel):
    """A row whose columns make sense."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    def prove(self) -> None:
        """Read its text as the contract has it. Raises `ValueError`."""


class _Command(_Row):
    id: Id
    attempt: _Natural | None
    state: Literal["claiming", "begun", "restarting", "finished"]
    received_at: float


class _Claim(_Row):
    id: _Text


class _Run(_Row):
    run_id: _Text
    command_id: str
    pid: Literal[0] | Annotated[int, Field(gt=1)]  # 0: written down, and not started yet
    create_time: float


class _Report(_Row):
    id: str
    command_id: str | None
    header: str | None
    parts: _Natural

    @override
    def prove(self) -> None:
        if self.header is not None:
            Report.model_validate_json(self.header)


class _Waiting(_Row):
    seq: Annotated[int, Field(ge=1)]
    kind: Literal["findings", "result"]
    command_id: str | None
    report_id: str | None
    part: _Natural | None
    body: str
    ready: Literal[0, 1]
    attempts: _Natural
    next_try_at: float
    last_error: str | None
    parked: Literal[0, 1]
    holds_result: Literal[0, 1]
    created_at: float

    @model_validator(mode="after")
    def _belongs(self) -> Self:
        result = self.kind == "result" and self.command_id is not None
        if not (result or (self.report_id is not None and self.part is not None)):
            raise ValueError("it belongs to nothing")
        return self

    @override
    def prove(self) -> None:
        if self.kind == "result":
            CommandResult.model_validate_json(self.body)
        else:
            _FINDINGS.validate_json(self.body)


class _LocalRun(_Row):
    seq: Annotated[int, Field(ge=1)]
    id: _Text
    kind: Literal["scan", "collect"]
    name: str
    target: str
    started_at: float
    finished_at: float | None
    result: str | None
    given_up: Literal[0, 1]

    @override
    def prove(self) -> None:
        if self.result is not None:
            CommandResult.model_validate_json(self.result)


class _LocalStart(_Row):
    kind: Literal["scan", "collect"]
    name: str
    target: str
    started_at: float


class _SentPart(_Row):
    report_id: _Text
    part: _Natural
    body: str

    @override
    def prove(self) -> None:
        _FINDINGS.validate_json(self.body)


_KNOWN_BY_THE_INDEX: Final = """
SELECT id, NULL AS attempt, 'begun' AS state, 0.0 AS received_at
    FROM commands INDEXED BY sqlite_autoindex_commands_1 ORDER BY id
"""
# A broken page ends a query, so that each table is read from both its ends; of commands there is
# an index that still knows the ids where the table is broken.
_TABLES: Final[dict[str, tuple[type[_Row], tuple[str, ...]]]] = {
    "commands": (
        _Command,
        (
            "SELECT * FROM commands NOT INDEXED ORDER BY rowid",
            "SELECT * FROM commands NOT INDEXED ORDER BY rowid DESC",
            _KNOWN_BY_THE_INDEX,
        ),
    ),
    "claims": (_Claim, ("SELECT * FROM claims",)),
    "runs": (_Run, ("SELECT * FROM runs NOT INDEXED ORDER BY rowid",)),
    "reports": (
        _Report,
        (
            "SELECT * FROM reports NOT INDEXED ORDER BY rowid",
            "SELECT * FROM reports NOT INDEXED ORDER BY rowid DESC",
        ),
    ),
    "outbox": (
        _Waiting,
        ("SELECT * FROM outbox ORDER BY seq", "SELECT * FROM outbox ORDER BY seq DESC"),
    ),
    "local_runs": (
        _LocalRun,
        ("SELECT * FROM local_runs ORDER BY seq", "SELECT * FROM local_runs ORDER BY seq DESC"),
    ),
    "local_starts": (_LocalStart, ("SELECT * FROM local_starts NOT INDEXED ORDER BY rowid",)),
    "sent_parts": (
        _SentPart,
        (
            "SELECT * FROM sent_parts NOT INDEXED ORDER BY rowid",
            "SELECT * FROM sent_parts NOT INDEXED ORDER BY rowid DESC",
        ),
    ),
}
_MANY: Final = frozenset({"reports", "outbox", "local_runs", "sent_parts"})  # may be, of a spool
# An outcome with fewer findings beside it than it counted, or with a report that is not all there.
_UNPROVEN: Final = """
CREATE TEMP TABLE parts AS SELECT report_id, part, json_array_length(body) AS findings FROM outbox
    WHERE kind = 'findings' AND ready
    UNION ALL SELECT report_id, part, json_array_length(body) FROM sent_parts;
CREATE INDEX temp.parts_of_a_report ON parts(report_id);
CREATE TEMP VIEW outcomes AS SELECT command_id AS id, body AS result FROM outbox
    WHERE kind = 'result' UNION ALL SELECT id, result FROM local_runs WHERE result NOT NULL;
CREATE TEMP TABLE unproven AS SELECT id FROM outcomes AS o WHERE
    EXISTS (SELECT 1 FROM reports AS r WHERE r.command_id = o.id AND (r.header IS NULL OR r.parts
        <> (SELECT count(DISTINCT part) FROM parts WHERE report_id = r.id AND part < r.parts)))
    OR EXISTS (SELECT 1 FROM outbox AS w WHERE w.command_id = o.id AND w.kind = 'findings'
        AND NOT EXISTS (SELECT 1 FROM reports WHERE id = w.report_id))
    OR (json_extract(o.result, '$.findings_count') NOT NULL
        AND NOT EXISTS (SELECT 1 FROM reports WHERE command_id = o.id))
    OR json_extract(o.result, '$.findings_count') > (SELECT total(p.findings)
        FROM reports AS r JOIN parts AS p ON p.report_id = r.id WHERE r.command_id = o.id);
"""
_SETTLE: Final = """
INSERT OR IGNORE INTO commands SELECT command_id, json_extract(body, '$.attempt'), 'finished',
    created_at FROM outbox WHERE kind = 'result' AND ready AND NOT parked;
UPDATE commands SET state = 'finished'
    WHERE id IN (SELECT command_id FROM outbox WHERE kind = 'result' AND ready AND NOT parked);
UPDATE local_runs SET result = NULL, finished_at = NULL
    WHERE result IS NULL OR finished_at IS NULL OR id IN (SELECT id FROM unproven);
DELETE FROM outbox WHERE command_id IN (SELECT id FROM unproven);
UPDATE commands SET state = 'begun' WHERE state = 'finished'
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE command_id = commands.id AND kind = 'result');
DELETE FROM outbox WHERE NOT ready
    OR command_id IN (SELECT id FROM commands WHERE state <> 'finished')
    OR (kind = 'findings' AND NOT EXISTS (SELECT 1 FROM reports
        WHERE id = report_id AND header NOT NULL AND parts > part));
DELETE FROM sent_parts WHERE NOT EXISTS (SELECT 1 FROM reports JOIN local_runs ON
    local_runs.id = command_id WHERE reports.id = report_id AND result NOT NULL);
DELETE FROM reports WHERE id NOT IN (SELECT report_id FROM outbox WHERE kind = 'findings'
    UNION ALL SELECT report_id FROM sent_parts);
"""
_SENSELESS: Final = """
SELECT 1 FROM outbox WHERE NOT (json_valid(body) AND ready IN (0, 1) AND parked IN (0, 1)
    AND holds_result IN (0, 1) AND CASE kind
    WHEN 'result' THEN command_id NOT NULL
    WHEN 'findings' THEN part NOT NULL AND (NOT ready OR EXISTS (
        SELECT 1 FROM reports WHERE id = report_id AND json_valid(header)))
    ELSE 0 END)
UNION ALL SELECT 1 FROM local_runs WHERE NOT json_valid(result)
UNION ALL SELECT 1 FROM sent_parts WHERE NOT json_valid(body)
"""
_COUNTS: Final = """
SELECT (SELECT count(*) FROM unproven),
    (SELECT count(*) FROM commands WHERE state IN ('claiming', 'begun')),
    (SELECT count(*) FROM outbox)
"""


@dataclass(slots=True)
class _Told:
    """What came of it."""

    refused: int = 0
    unread: list[str] = field(default_factory=list[str])
    answered: int = 0
    kept: int = 0
    unproven: int = 0
    full: bool = False

    def __str__(self) -> str:
        if self.unread and not (self.answered or self.kept or self.refused):
            return "nothing in it could be read"
        said = [
            f"{self.answered} commands are reported as failed (agent_restarted)",
            f"{self.kept} rows that are whole go on",
        ]
        if self.unproven:
            said.append(f"{self.unproven} outcomes are not all there and count for nothing")
        if self.refused:
            said.append(f"{self.refused} rows make no sense")
        if self.full:
            said.append("not all had room on the disk")
        if self.unread:
            said.append(f"not all of {', '.join(self.unread)} could be read")
        return ", ".join(said)


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that writes to nothing but the index of the log, which is no data."""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    db.execute("PRAGMA busy_timeout = 10000")
    db.row_factory = sqlite3.Row
    # What is no UTF-8 must not end a query; it is refused with its row.
    db.text_factory = _decoded
    return db


def senseless_row(db: sqlite3.Connection) -> str | None:
    """Says in words which table has a row that no agent has written; None if all make sense.

    No agent could go on with one: it would meet it again at every start.
    """
    db.text_factory = str  # which refuses what is no UTF-8
    there = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if _TABLES.keys() - there:  # an older version's; the next to open it makes them
        return None
    for table, (model, (query, *_)) in _TABLES.items():
        rows = db.execute(query)
        try:
            if table in _MANY:
                deque(rows, maxlen=0)
            else:
                for row in rows:
                    model.model_validate(dict(row))
        except (ValueError, sqlite3.Error) as fault:
            if getattr(fault, "sqlite_errorcode", None):
                raise
            return f"a row of {table} makes no sense"
    if db.execute(_SENSELESS).fetchone():
        return "what waits in it makes no sense"
    return None


def _decoded(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def salvage(damaged: Path, new: Path, room: int) -> str:
    """Write a new spool with what can be proven, and say in words what came of it.

    It takes `room` bytes at most; an outcome that does not fit is not proven. Raises `SpoolError`
    where the new one cannot be written.
    """
    told = _Told()
    try:
        with closing(sqlite3.connect(new, isolation_level=None)) as target:
            new.chmod(0o600)
            # Nothing of it counts until it is put in the spool's place, on disk as a whole.
            target.execute("PRAGMA journal_mode = MEMORY")
            target.execute("PRAGMA synchronous = OFF")
            target.execute("PRAGMA temp_store = MEMORY")
            target.execute(f"PRAGMA max_page_count = {room // PAGE}")
            target.executescript(SCHEMA)
            if damaged.is_file() and damaged.stat().st_size:
                with closing(read_only(damaged)) as source:
                    for table in _TABLES:
                        _copy(source, target, table, told)
            else:
                told.unread += _TABLES
            _settle(target, told)
    except sqlite3.Error as fault:
        raise SpoolError(
            f"{damaged} is damaged and its successor cannot be written: {fault}; free disk space"
        ) from fault
    return str(told)


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str, told: _Told) -> None:
    model, queries = _TABLES[table]
    columns = ", ".join(model.model_fields)
    marks = ", ".join(f":{name}" for name in model.model_fields)
    insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - names of ours
    refused: set[str] = set()
    try:
        for query in queries:
            for row in _rows(source, query, table, told):
                try:
                    model.model_validate(row).prove()
                    "".join(map(str, row.values())).encode()
                except ValueError:  # pydantic's errors are ValueErrors
                    refused.add(repr(row)[:200])  # a row has its id in front
                else:
                    target.execute(insert, row)
    except sqlite3.OperationalError as fault:
        if fault.sqlite_errorcode != sqlite3.SQLITE_FULL or table not in _MANY:
            raise
        told.full = True
    told.refused += len(refused)


def _rows(
    source: sqlite3.Connection, query: str, table: str, told: _Told
) -> Iterator[dict[str, object]]:
    """What a query gives until it breaks."""
    try:
        for row in source.execute(query):
            yield dict(row)
    except (sqlite3.Error, UnicodeDecodeError) as fault:  # SQLite may quote a broken schema
        absent = getattr(fault, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR  # no such table
        if table not in told.unread and not absent:
            told.unread.append(table)


def _settle(target: sqlite3.Connection, told: _Told) -> None:
    target.executescript(_UNPROVEN)
    target.executescript(_SETTLE)

    told.unproven, told.answered, told.kept = target.execute(_COUNTS).fetchone()
