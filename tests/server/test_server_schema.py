"""The tables: those of the origin document by name, and the migrations that make them."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from real_postgresql import RealPostgresql
from rediver_server_fixtures import TEMPLATE
from rediver_server_fixtures import Tenant as Acme
from sqlalchemy.orm.exc import StaleDataError

from rediver_server import command_queue
from rediver_server.db import Database
from rediver_server.models import Base, Command, Tenant
from rediver_server.settings import parsed_url

COMMANDS = """id tenant_id source_id type priority payload status created_at expires_at
    acknowledged_at started_at completed_at result error_message scheduled_at schedule_id"""
SCHEDULES = """id tenant_id source_id name description scanner target config cron_expression
    timezone enabled last_run_at next_run_at created_at updated_at"""


@pytest.fixture
def inspector(schema_file: Path):
    engine = sa.create_engine(f"sqlite:///{schema_file}")
    yield sa.inspect(engine)
    engine.dispose()


def test_the_origins_columns_are_there_by_name_and_type(inspector: sa.Inspector):
    commands = {column["name"]: column for column in inspector.get_columns("commands")}
    schedules = {column["name"]: column for column in inspector.get_columns("scan_schedules")}
    assert set(COMMANDS.split()) <= set(commands)
    assert set(SCHEDULES.split()) <= set(schedules)
    for columns, name, wanted in [
        (commands, "id", "VARCHAR(36)"),
        (commands, "type", "VARCHAR(50)"),
        (commands, "priority", "VARCHAR(20)"),
        (commands, "payload", "JSON"),
        (commands, "error_message", "TEXT"),
        (schedules, "name", "VARCHAR(255)"),
        (schedules, "scanner", "VARCHAR(100)"),
        (schedules, "target", "VARCHAR(500)"),
        (schedules, "cron_expression", "VARCHAR(100)"),
        (schedules, "timezone", "VARCHAR(50)"),
    ]:
        assert str(columns[name]["type"]) == wanted
    nullable = {name for name in COMMANDS.split() if commands[name]["nullable"]}
    assert not nullable & {"id", "tenant_id", "type", "payload"}
    assert {"source_id", "expires_at", "result"} <= nullable
    defaults = {name: commands[name]["default"] for name in ("priority", "status", "created_at")}
    assert defaults == {
        "priority": "'normal'",
        "status": "'pending'",
        "created_at": "CURRENT_TIMESTAMP",
    }


def test_the_origins_indexes_and_foreign_keys_are_there_by_name(inspector: sa.Inspector):
    indexes = {index["name"]: index["column_names"] for index in inspector.get_indexes("commands")}
    assert indexes["idx_commands_source_status"] == ["source_id", "status"]
    assert indexes["idx_commands_tenant_created"] == ["tenant_id", "created_at"]
    for table, names in (
        ("commands", {"fk_tenant", "fk_source"}),
        ("scan_schedules", {"fk_tenant"}),
    ):
        assert {key["name"] for key in inspector.get_foreign_keys(table)} == names


def test_the_migrations_make_what_the_models_say(schema_file: Path):
    engine = sa.create_engine(f"sqlite:///{schema_file}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_sqlite_is_opened_as_the_design_says(schema_file: Path):
    database = Database(f"sqlite:///{schema_file}")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with database.read() as tx:
        for pragma, value in wanted.items():
            assert tx.connection().exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    database.close()


def test_a_writing_transaction_is_the_only_writer_from_its_start(schema_file: Path):
    database = Database(f"sqlite:///{schema_file}")
    other = sqlite3.connect(schema_file, timeout=0, isolation_level=None)
    with database.read():
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    with database.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()
    database.close()


def test_what_is_written_while_reading_is_not_kept(schema_file: Path):
    database = Database(f"sqlite:///{schema_file}")
    with database.read() as tx:
        tx.add(Tenant(name="mistake", created_at=tx.now))
        tx.flush()
    with database.read() as tx:
        assert tx.scalars(sa.select(Tenant)).all() == []
    database.close()


def test_a_command_that_was_written_since_it_was_read_is_not_written_over(tenant: Acme):
    command = tenant.order()
    database = tenant.server.app.extensions["rediver"]
    with database.read() as tx:
        stale = tx.get_one(Command, command)
    tenant.admin.ok("DELETE", f"/commands/{command}")
    with pytest.raises(StaleDataError, match="since it was read"), database.write() as tx:
        command_queue.cancel(tx, "test", stale)
    assert len(tenant.admin.ok("GET", f"/commands/{command}/events")["events"]) == 2


def test_on_postgresql_the_origins_json_is_jsonb(postgresql: RealPostgresql):
    engine = sa.create_engine(parsed_url(postgresql.new_database(template=TEMPLATE)))
    inspector = sa.inspect(engine)
    for table, names in (("commands", {"payload", "result"}), ("scan_schedules", {"config"})):
        kinds = {column["name"]: str(column["type"]) for column in inspector.get_columns(table)}
        assert {kinds[name] for name in names} == {"JSONB"}
    engine.dispose()


def test_on_postgresql_the_migrations_make_what_the_models_say(postgresql: RealPostgresql):
    engine = sa.create_engine(parsed_url(postgresql.new_database(template=TEMPLATE)))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
