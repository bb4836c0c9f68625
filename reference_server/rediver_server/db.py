"""The database: reading and writing transactions, and the clock they go by.

On SQLite there is one writer at a time. Every writing transaction takes the process's writer lock
before BEGIN IMMEDIATE: left to SQLite's sleeping busy handler, a claim's p99 is 30 to 50 times its
p50. Readers take no lock and see a snapshot. Another process (the command line beside a running
server) waits by the busy handler.
"""

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

from flask import current_app
from sqlalchemy import Connection, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from rediver_server.errors import Refused

_BUSY_MILLISECONDS: Final = 10_000
_EXTENSION: Final = "rediver"


def utc_now() -> datetime:
    """The host's clock, which is SQLite's too."""
    return datetime.now(UTC)


def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself, `_begin` does
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_BUSY_MILLISECONDS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Transaction(Session):
    """A session that knows when it began: the time of every decision that is taken in it."""

    now: datetime


class Database:
    """One per process. `clock` says what time it is."""

    def __init__(
        self, url: str, *, clock: Callable[[], datetime] = utc_now, pool_size: int = 4
    ) -> None:
        self._clock = clock
        self._writer = threading.Lock()
        path = Path(cast("str", make_url(url).database))  # settings.py refuses a url without a file
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # before SQLite, which obeys umask
        self.engine = create_engine(url, pool_size=pool_size)
        event.listen(self.engine, "connect", _prepare)
        event.listen(self.engine, "begin", _begin)

    @contextmanager
    def read(self) -> Generator[Transaction]:
        """A snapshot. Nothing written in it is kept."""
        with self._transaction() as tx:
            tx.now = self._clock()
            yield tx

    @contextmanager
    def write(self) -> Generator[Transaction]:
        """A transaction that commits at the end, or when it ends with `Refused`; else undone."""
        with self._writer, self._transaction() as tx:
            tx.connection(execution_options={"writes": True})
            tx.now = self._clock()
            try:
                yield tx
            except Refused:
                tx.commit()
                raise
            tx.commit()

    def _transaction(self) -> Transaction:
        return Transaction(self.engine, expire_on_commit=False)

    def close(self) -> None:
        self.engine.dispose()

    def attach(self, extensions: dict[str, object]) -> None:
        """Make this the database of a Flask application."""
        extensions[_EXTENSION] = self


def database() -> Database:
    """The database of the application that answers this request."""
    return cast("Database", current_app.extensions[_EXTENSION])
