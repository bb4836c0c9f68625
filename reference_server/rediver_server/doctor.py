"""`rediver-server doctor`: what is in order, and what to do about what is not. Changes nothing."""

import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import psycopg
from sqlalchemy import func, or_, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import selectinload

from rediver_agent.contract import CommandStatus
from rediver_agent.contract.commands import WaitingReason
from rediver_server import schema, sources
from rediver_server.command_views import for_operators
from rediver_server.db import Database, Transaction
from rediver_server.models import ApiKey, Command, Role, ScanSchedule, Source, Tenant
from rediver_server.settings import Settings, is_sqlite, parsed_url

_OLDEST: Final = 14  # of PostgreSQL's releases that are maintained
_LOOKED_AT: Final = 1000  # pending commands
_LATE: Final = timedelta(minutes=1)
_PENDING, _NOBODY = CommandStatus.PENDING, WaitingReason.NO_CAPABLE_SOURCE
_CONNECTIONS: Final = """SELECT current_setting('server_version'),
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - (SELECT count(*) FROM pg_stat_activity WHERE datname <> current_database())"""


class Check(NamedTuple):
    ok: bool
    what: str
    to_do: str = ""

    def __str__(self) -> str:
        return f"ok      {self.what}" if self.ok else f"not ok  {self.what}: {self.to_do}"


def examine(settings: Settings, workers: int) -> Iterator[Check]:
    """What there is to say of the database and its contents, for so many workers."""
    file = Path(parsed_url(settings.database_url).database or "")
    sqlite = is_sqlite(settings.database_url)
    if sqlite and not file.is_file():
        yield Check(False, f"there is no {file}", "name another --database-url, or run `migrate`")
        return
    db = Database(settings.database_url, prepares=settings.listen_url is None)
    try:
        with db.read() as tx:
            yield from _file(tx, file) if sqlite else _postgresql(tx, db, settings, workers)
        at, newest = schema.current_revision(db), schema.newest_revision()
        yield Check(at == newest, f"schema {at}", f"bring it to {newest}: `rediver-server migrate`")
        with db.read() as tx:
            yield from _contents(tx) if at == newest else ()
    except (OSError, SQLAlchemyError, psycopg.Error) as fault:
        yield Check(False, "the database", str(getattr(fault, "orig", None) or fault).strip())
    finally:
        db.close()
    hint = "REDIVER_SERVER_TRUSTED_PROXIES is how many stand before the server"
    yield Check(True, f"{settings.trusted_proxies} proxies are trusted; {hint}")


def _file(tx: Transaction, file: Path) -> Iterator[Check]:
    alone = not any(each.stat().st_mode & 0o77 for each in file.parent.glob(f"{file.name}*"))
    yield Check(alone, f"{file} is its owner's alone", f"no: chmod 600 {file}*")
    writable = os.access(file.parent, os.W_OK)
    yield Check(writable, f"{file.parent} can be written", "no: SQLite keeps files there, allow it")
    free = shutil.disk_usage(file).free >> 20
    yield Check(free >= 1024, f"{free} MiB of disk are free", "have 1 GiB")
    mode = tx.scalar(text("PRAGMA journal_mode"))
    yield Check(mode == "wal", f"journal mode {mode}", "WAL needs a local disk: move the file")


def _postgresql(tx: Transaction, db: Database, settings: Settings, workers: int) -> Iterator[Check]:
    version, free = tx.execute(text(_CONNECTIONS)).one()
    is_maintained = int(version.split(".")[0]) >= _OLDEST
    yield Check(is_maintained, f"PostgreSQL {version}", f"use {_OLDEST} or newer")
    wanted = workers * (settings.database_connections + 1)  # and one that listens
    to_do = "raise max_connections, or lower REDIVER_SERVER_DATABASE_CONNECTIONS"
    yield Check(wanted <= free, f"{wanted} connections are wanted, {free} can be had", to_do)
    skew = abs((tx.now - datetime.now(UTC)).total_seconds())
    yield Check(
        skew < 5, f"this clock and the database's differ by {skew:.1f} s", "set both by NTP"
    )
    heard = _hears_itself(db, settings.listen_url or settings.database_url)
    to_do = "a pooler is between: set REDIVER_SERVER_LISTEN_URL to the database's own address"
    yield Check(heard, "NOTIFY is heard by LISTEN" if heard else "NOTIFY is not heard", to_do)


def _hears_itself(db: Database, url: str) -> bool:
    own = f"rediver_doctor_{secrets.token_hex(4)}"
    address = parsed_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True, connect_timeout=5) as listener:
        listener.execute(f"LISTEN {own}".encode())
        with db.write() as tx:
            tx.execute(select(func.pg_notify(own, "")))
        return any(listener.notifies(timeout=5, stop_after=1))


def _contents(tx: Transaction) -> Iterator[Check]:
    live = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > tx.now)
    key = select(ApiKey).where(ApiKey.tenant_id == Tenant.id, ApiKey.role == Role.ADMIN, live)
    tenants = select(Tenant.name, key.where(ApiKey.revoked_at.is_(None)).exists())
    ruled = tx.execute(tenants).all()
    rows = select(Source).where(Source.deleted_at.is_(None)).options(selectinload(Source.keys))
    fleet = [sources.view(row, tx.now) for row in tx.scalars(rows)]
    pending = select(Command).where(Command.status == _PENDING, Command.due_at.is_not(None))
    queue = for_operators(tx, tx.scalars(pending.limit(_LOOKED_AT)).all())
    stuck = [each["id"] for each in queue if each["waiting_reason"] == _NOBODY]
    offline = [each["name"] for each in fleet if each["status"] == "offline"]
    shared = [each["name"] for each in fleet if each["conflict"]]
    late = select(ScanSchedule.name).where(ScanSchedule.next_run_at < tx.now - _LATE)
    yield Check(bool(ruled), f"{len(ruled)} tenants", "run `rediver-server tenant create NAME`")
    for what, names, to_do in (
        ("tenants without a live admin key", [a for a, b in ruled if not b], "`key create` one"),
        ("sources offline", offline, "run `rediver-agent doctor` there"),
        ("sources used by two agents", shared, "give each agent a source of its own"),
        ("commands no source can do", stuck, "start an agent with that scanner, or cancel them"),
        ("schedules overdue", tx.scalars(late).all(), "start `rediver-server serve`"),
    ):
        yield Check(not names, f"{len(names)} {what}", f"{', '.join(names[:5])}: {to_do}")
