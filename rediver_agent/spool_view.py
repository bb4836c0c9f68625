"""The spool as someone looks at it: nothing is made, nothing changed, nobody has to wait.

Opened anew for each look, read-only, beside whatever agent writes it. The bodies of what waits, up
to a GiB of them, are not read.
"""

import json
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rediver_agent.errors import SpoolError
from rediver_agent.spool_database import FILE_NAME

_BUSY_MS: Final = 5000
_RECENT: Final = 5


@dataclass(frozen=True, slots=True)
class LocalOutcome:
    """How a run of the agent's own ended."""

    kind: str
    name: str
    target: str
    finished_at: datetime
    status: str
    findings: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class SpoolView:
    """What waits for the server, what it has refused, and since when there is any of it."""

    waiting: int = 0
    parked: int = 0
    oldest_at: datetime | None = None
    recent: tuple[LocalOutcome, ...] = ()
    """The newest local runs that are over."""


def look(directory: Path) -> SpoolView:
    """The spool of a state directory; an empty one where there is none.

    Raises `SpoolError` for what cannot be read.
    """
    with _reading(directory) as db:
        if db is None:
            return SpoolView()
        counts = dict(
            db.execute("SELECT parked, count(*) FROM outbox WHERE ready GROUP BY parked").fetchall()
        )
        first = db.execute("SELECT min(seq) FROM outbox WHERE ready").fetchone()[0]
        row = db.execute("SELECT created_at FROM outbox WHERE seq = ?", (first,)).fetchone()
        oldest = datetime.fromtimestamp(row[0], UTC) if row else None
        return SpoolView(counts.get(0, 0), counts.get(1, 0), oldest, tuple(_recent(db)))


def fault_of(directory: Path) -> str | None:
    """What SQLite finds wrong with the file, having read all of it; None if nothing."""
    try:
        with _reading(directory) as db:
            said = db.execute("PRAGMA quick_check(1)").fetchone()[0] if db else "ok"
    except SpoolError as fault:
        return str(fault)
    return None if said == "ok" else str(said)


def _recent(db: sqlite3.Connection) -> Iterator[LocalOutcome]:
    if not _has(db, "local_runs"):  # of an agent that is older than they are
        return
    rows = db.execute(
        "SELECT kind, name, target, finished_at, result FROM local_runs "
        "WHERE finished_at IS NOT NULL ORDER BY seq DESC LIMIT ?",
        (_RECENT,),
    )
    for kind, name, target, finished, text in rows:
        result = json.loads(text)
        yield LocalOutcome(
            kind,
            name,
            target,
            datetime.fromtimestamp(finished, UTC),
            result["status"],
            result.get("findings_count"),
            result.get("error"),
        )


def _has(db: sqlite3.Connection, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_schema WHERE name = ?"
    return db.execute(query, (table,)).fetchone() is not None


@contextmanager
def _reading(directory: Path) -> Generator[sqlite3.Connection | None]:
    path = directory / FILE_NAME
    try:
        if not path.stat().st_size:
            yield None  # an agent is just making it
            return
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as db:
            db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            yield db if _has(db, "outbox") else None
    except FileNotFoundError:
        yield None
    except OSError as fault:
        raise SpoolError(
            f"{path} cannot be read: {fault.strerror}; look as the user that the agent runs as"
        ) from fault
    except sqlite3.Error as fault:
        raise SpoolError(f"{path} cannot be read: {fault}") from fault
    except (ValueError, TypeError, LookupError, OverflowError) as fault:
        # Whoever looks on must not fall over what is none of his business to mend.
        raise SpoolError(f"{path} holds what no agent has written: {fault}") from fault
