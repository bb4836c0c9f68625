"""The database: reading and writing transactions, and the clock they go by.

On SQLite there is one writer at a time. Every writing transaction takes the process's writer lock
before BEGIN IMMEDIATE: left to SQLite's sleeping busy handler, a claim's p99 is 30 to 50 times its
p50. Readers take no lock and see a snapshot. Another process (the command line beside a running
server) waits by the busy handler.

On PostgreSQL rows are locked, not the database, and the time is the database's: any number of
processes agree on it. What a transaction announces goes out when it commits, by NOTIFY there.
"""

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from flask import current_app
from sqlalchemy import Connection, create_engine, event, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from rediver_server.errors import Refused
from rediver_server.nudges import Nudge, merged, to_text
from rediver_server.settings import is_sqlite, parsed_url

CHANNEL: Final = "rediver"
_BUSY_MILLISECONDS: Final = 10_000
_CONNECT_SECONDS: Final = 5
_CUT_OFF_AFTER: Final = "idle_in_transaction_session_timeout = '60s'"
_EXTENSION: Final = "rediver"
KEPT: Final = {"read": True, "key_share": True}  # a row that others may change, not delete


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


def _adopt(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    """Times come back in the session's zone, where the last year of UTC may be one too many.

    A server that is cut off in the middle of a transaction does not keep its locks for hours.
    """
    connection.cursor().execute(f"SET TIME ZONE 'UTC'; SET {_CUT_OFF_AFTER}")
    connection.commit()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Transaction(Session):
    """A session that knows when it began: the time of every decision that is taken in it."""

    now: datetime
    nudges: list[Nudge]

    def announce(self, nudge: Nudge) -> None:
        """Tell open sockets, in any process, once this transaction has committed."""
        self.nudges.append(nudge)

    def one_at_a_time(self, *names: str) -> None:
        """Let no other transaction with one of these names run beside this one until it ends."""
        if self.get_bind().dialect.name == "postgresql":  # SQLite has one writer anyway
            for name in sorted(names):
                self.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


class Database:
    """One per process. `clock` says what time it is; None is the database's own.

    `deliver` gets what transactions of this process announced, on SQLite; on PostgreSQL every
    process hears it on the channel.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], datetime] | None = None,
        pool_size: int = 4,
        prepares: bool = True,
    ) -> None:
        self.is_sqlite = is_sqlite(url)
        self.deliver: Callable[[Nudge], None] = lambda _nudge: None
        self.committed: Callable[[Transaction], None] = lambda _tx: None  # metrics count here
        self._clock = utc_now if self.is_sqlite and clock is None else clock
        self._writer = threading.Lock()
        parsed = parsed_url(url)
        options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 0}
        options["hide_parameters"] = True  # errors are logged, and what people sent is not
        if self.is_sqlite:
            path = Path(cast("str", parsed.database))  # settings.py refuses a url without a file
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite itself obeys umask
        else:
            connect: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS}
            if not prepares:  # a pooler hands a statement to another session than prepared it
                connect["prepare_threshold"] = None
            options["connect_args"] = connect
        self.engine = create_engine(parsed, **options)
        event.listen(self.engine, "connect", _prepare if self.is_sqlite else _adopt)
        if self.is_sqlite:
            event.listen(self.engine, "begin", _begin)

    @contextmanager
    def read(self) -> Generator[Transaction]:
        """A look. Nothing written in it is kept."""
        with self._transaction() as tx:
            self._set_time(tx)
            yield tx

    @contextmanager
    def write(self) -> Generator[Transaction]:
        """A transaction that commits at the end, or when it ends with `Refused`; else undone."""
        with self._writer if self.is_sqlite else nullcontext(), self._transaction() as tx:
            tx.connection(execution_options={"writes": True})
            self._set_time(tx)
            try:
                yield tx
            except Refused:
                self._commit(tx)
                raise
            self._commit(tx)

    def _commit(self, tx: Transaction) -> None:
        nudges = merged(tx.nudges)
        for nudge in () if self.is_sqlite else nudges:
            tx.execute(select(func.pg_notify(CHANNEL, to_text(nudge))))
        tx.commit()
        self.committed(tx)
        for nudge in nudges if self.is_sqlite else ():
            self.deliver(nudge)

    def _set_time(self, tx: Transaction) -> None:
        tx.nudges = []
        if self._clock is not None:
            tx.now = self._clock()
        else:
            tx.now = tx.scalars(select(func.clock_timestamp())).one().astimezone(UTC)

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
