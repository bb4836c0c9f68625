"""The SQLite file under the spool: opened privately, every change a transaction that is on disk."""

import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from rediver_agent.errors import DiskFull, SpoolDamaged, SpoolError
from rediver_agent.state_dir import private_directory

FILE_NAME: Final = "spool.sqlite3"
HOLLOW: Final = "it is empty, and its write-ahead log is not"
FULL: Final = "the spool is full: free disk space, or see `rediver-agent spool list`"
PAGE: Final = 4096  # SQLite's default page, in bytes
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS commands (
    id TEXT PRIMARY KEY, attempt INTEGER, state TEXT NOT NULL, received_at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS claims (id TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, command_id TEXT NOT NULL, pid INTEGER NOT NULL,
    create_time REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS reports (
    id TEXT PRIMARY KEY, command_id TEXT, header TEXT, parts INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, command_id TEXT, report_id TEXT,
    part INTEGER, body TEXT NOT NULL, ready INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    next_try_at REAL NOT NULL DEFAULT 0, last_error TEXT, parked INTEGER NOT NULL DEFAULT 0,
    holds_result INTEGER NOT NULL DEFAULT 1, created_at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS local_runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    name TEXT NOT NULL, target TEXT NOT NULL, started_at REAL NOT NULL, finished_at REAL,
    result TEXT, given_up INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS local_starts (
    kind TEXT NOT NULL, name TEXT NOT NULL, target TEXT NOT NULL, started_at REAL NOT NULL,
    PRIMARY KEY (kind, name, target)) STRICT;
CREATE TABLE IF NOT EXISTS sent_parts (
    report_id TEXT NOT NULL, part INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (report_id, part)) STRICT;
CREATE INDEX IF NOT EXISTS idx_outbox_due ON outbox(parked, ready, next_try_at);
CREATE INDEX IF NOT EXISTS idx_outbox_report ON outbox(report_id, part);
CREATE INDEX IF NOT EXISTS idx_outbox_command ON outbox(command_id, kind);
CREATE INDEX IF NOT EXISTS idx_outbox_created ON outbox(created_at);
CREATE INDEX IF NOT EXISTS idx_reports_command ON reports(command_id);
CREATE INDEX IF NOT EXISTS idx_local_runs_finished ON local_runs(finished_at);
"""


class SpoolDatabase:
    """One connection, used by one thread at a time. Other processes may have the file open too."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        path = private_directory(directory) / FILE_NAME
        self._lock = threading.RLock()
        if is_hollow(path):
            raise SpoolDamaged(_damaged(path, HOLLOW))
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        except OSError as fault:
            raise SpoolError(f"{path} cannot be used: {fault.strerror}; mend that") from fault
        except sqlite3.Error as fault:
            raise SpoolError(f"{path} cannot be used: {fault}; mend that") from fault
        try:
            self._set_up(max_bytes)
        except (sqlite3.Error, SpoolDamaged, UnicodeDecodeError) as fault:
            self._db.close()
            # SQLite quotes a broken schema in its words, which may then be no text.
            if not isinstance(fault, sqlite3.Error) or is_damage(fault):
                raise SpoolDamaged(_damaged(path, fault)) from fault
            raise SpoolError(f"{path} cannot be used: {fault}; mend that") from fault

    def _set_up(self, max_bytes: int) -> None:
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA busy_timeout = 10000")
        if foreign := foreign_table(self._db):
            raise SpoolDamaged(foreign)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA max_page_count = {max_bytes // PAGE}")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """The connection, for queries. Raises `SpoolError` where SQLite fails."""
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as fault:
                if is_damage(fault):
                    raise SpoolDamaged(_damaged("the spool", fault)) from fault
                raise SpoolError(f"the spool cannot be read: {fault}") from fault

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """All or nothing. A full disk is `DiskFull`, whatever else SQLite says is `SpoolError`."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as fault:
                self._roll_back()
                if getattr(fault, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                    raise DiskFull(FULL) from fault
                if is_damage(fault):
                    raise SpoolDamaged(_damaged("the spool", fault)) from fault
                raise SpoolError(f"the spool cannot be written: {fault}") from fault
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # the first fault is the one to tell
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def is_hollow(path: Path) -> bool:
    """Whether the file is empty or gone, and its write-ahead log is not: SQLite would delete it."""
    log = path.with_name(f"{path.name}-wal")
    with suppress(OSError):  # whoever opens the file says what is wrong with it
        return log.stat().st_size > 0 and not (path.exists() and path.stat().st_size)
    return False


def is_damage(fault: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is broken or none of its own; else it may be mended."""
    code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # without what is extended
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def foreign_table(db: sqlite3.Connection) -> str | None:
    """Says in words that the file is a database of something else; None for a spool, or nothing."""
    with closing(sqlite3.connect(":memory:")) as pattern:
        pattern.executescript(SCHEMA)
        ours = {name: _columns(pattern, name) for name in _tables(pattern)}
    there = _tables(db)
    for name in sorted(there & ours.keys()):
        if _columns(db, name) != ours[name]:
            return f"its table {name} is not one that this version writes"
    if there and "commands" not in there:
        return f"it is a database of something else, with a table {min(there)}"
    return None


def _tables(db: sqlite3.Connection) -> set[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' "
    return {row[0] for row in db.execute(query + "ESCAPE '!'")}


def _columns(db: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    return [
        tuple(row) for row in db.execute("SELECT name, type FROM pragma_table_info(?)", [table])
    ]


def _damaged(what: object, fault: object) -> str:
    return f"{what} is damaged ({fault}); the agent sets it aside when it is started"
