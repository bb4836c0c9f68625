"""Which deliveries were taken, and how new what is known of an alert is: a replay is not taken
twice, and one that comes late does not undo a newer one; not even after a restart.

A small SQLite file in the collector's cache. It only ever keeps things out, so one that is broken
is begun anew; what was taken is in the agent's spool. Methods block.
"""

import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

MOST: Final = 10_000
DAYS: Final = 7  # GitHub itself lets a delivery be sent again for 3
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY, alert TEXT NOT NULL, updated_at REAL, taken_at REAL NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS idx_deliveries_alert ON deliveries(alert, updated_at);
CREATE INDEX IF NOT EXISTS idx_deliveries_taken ON deliveries(taken_at);
"""


class Deliveries:
    """The last deliveries. Used by one thread at a time."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._now = now
        try:
            self._db = _opened(path)
        except sqlite3.DatabaseError:
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            self._db = _opened(path)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def has(self, delivery: str) -> bool:
        """Whether it was taken."""
        query = "SELECT 1 FROM deliveries WHERE id = ?"
        return self._db.execute(query, (delivery,)).fetchone() is not None

    def has_newer(self, alert: str, updated_at: datetime | None) -> bool:
        """Whether this alert was told of as it was later. GitHub keeps no order."""
        query = "SELECT 1 FROM deliveries WHERE alert = ? AND updated_at > ?"
        since = updated_at.timestamp() if updated_at else None
        return self._db.execute(query, (alert, since)).fetchone() is not None

    def add(self, delivery: str, alert: str, updated_at: datetime | None) -> None:
        """It is taken. The oldest are forgotten."""
        now = self._now()
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?)",
                (delivery, alert, updated_at.timestamp() if updated_at else None, now),
            )
            self._db.execute(
                "DELETE FROM deliveries WHERE taken_at < ? OR id IN (SELECT id FROM deliveries "
                "ORDER BY taken_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (now - DAYS * 86400, MOST),
            )


def _opened(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
        db.execute("SELECT max(id), max(alert), max(updated_at) FROM deliveries").fetchone()
    except BaseException:
        db.close()
        raise
    return db
