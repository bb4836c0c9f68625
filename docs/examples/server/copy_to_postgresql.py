"""Copies a Rediver server's SQLite database into an empty PostgreSQL one, whole or not at all.

Both are at the newest schema, and no server runs on either. Keys, ids and times stay as they are.

    python copy_to_postgresql.py sqlite:////var/lib/rediver/rediver.db postgresql://…
"""

# ruff: noqa: INP001 - a program by itself, not part of a package

import sys

from sqlalchemy import Connection, Table, func, insert, select

from rediver_server.db import Database
from rediver_server.models import Base
from rediver_server.schema import current_revision, newest_revision

BATCH = 1000


def copy(table: Table, old: Connection, new: Connection) -> int:
    """Every row of a table. Returns how many."""
    rows = old.execution_options(yield_per=BATCH).execute(select(table)).mappings()
    for batch in rows.partitions():
        new.execute(insert(table), [dict(row) for row in batch])
    for column in table.primary_key:
        if column.autoincrement and column.type.python_type is int and len(table.primary_key) == 1:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            highest = func.coalesce(select(func.max(column)).scalar_subquery(), 0) + 1
            new.execute(select(func.setval(sequence, highest, False)))
    counted = [each.scalar(select(func.count()).select_from(table)) for each in (old, new)]
    if counted[0] != counted[1]:
        sys.exit(f"{table.name}: {counted[0]} rows became {counted[1]}; nothing was copied")
    return counted[1]


def main(old_url: str, new_url: str) -> None:
    """Copy in one transaction, so that a second try finds an empty database again."""
    old_database, new_database = Database(old_url), Database(new_url)
    for database in (old_database, new_database):
        if current_revision(database) != newest_revision():
            sys.exit("run `rediver-server migrate` on both first")
    with old_database.read() as old, new_database.write() as new:
        if new.execute(select(Base.metadata.tables["tenants"]).limit(1)).first():
            sys.exit("there are tenants in the new database already: it has to be empty")
        for table in Base.metadata.sorted_tables:
            count = copy(table, old.connection(), new.connection())
            sys.stdout.write(f"{table.name}: {count}\n")
    old_database.close()
    new_database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
