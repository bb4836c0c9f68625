"""`rediver-server doctor` and `/readyz`: each fault is named with what to do; exit 1, or 503."""

import json
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from real_postgresql import RealPostgresql
from rediver_server_fixtures import Server, Tenant
from sqlalchemy import text

from rediver_server.cli import commands


def doctor(url: str, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(commands, ["doctor", "--database-url", url, *arguments])
    return done.exit_code, done.output


def faults(url: str) -> dict[str, str]:
    """What is not ok, and what to do."""
    said: Any = json.loads(doctor(url, "--json")[1])
    assert said["ok"] == all(check["ok"] for check in said["checks"])
    return {check["what"]: check["to_do"] for check in said["checks"] if not check["ok"]}


def test_a_healthy_server_is_ok_line_by_line(server: Server, tenant: Tenant):
    code, said = doctor(server.url)
    assert code == 0, said
    assert all(line.startswith("ok  ") for line in said.splitlines())
    assert "1 tenants" in said
    assert "schema 0" in said


def test_a_server_without_a_tenant_is_told_how_to_make_one(server: Server):
    code, said = doctor(server.url)
    assert code == 1
    assert "not ok  0 tenants: run `rediver-server tenant create NAME`" in said


def test_a_tenant_that_nobody_rules_is_named(server: Server, tenant: Tenant):
    with server.app.extensions["rediver"].write() as tx:
        tx.execute(text("UPDATE api_keys SET revoked_at = created_at"))
    (said,) = faults(server.url).items()
    assert said[0] == "1 tenants without a live admin key"
    assert "tenant-0" in said[1]


def test_sources_that_are_silent_or_shared_are_named(server: Server, tenant: Tenant):
    """The clock of the doctor is the database's own, not the test's."""
    tenant.agent("lost", scanners=[])
    shared = tenant.agent("shared", scanners=[])
    with server.app.extensions["rediver"].write() as tx:
        now = "2999-01-01 00:00:00.000000"
        instances = json.dumps({"a": "2999-01-01T00:00:00+00:00", "b": "2999-01-01T00:00:00+00:00"})
        tx.execute(
            text("UPDATE sources SET last_seen_at = :now, instances = :instances WHERE id = :id"),
            {"now": now, "instances": instances, "id": shared.id},
        )
    said = faults(server.url)
    assert said["1 sources offline"].startswith("lost: ")
    assert said["1 sources used by two agents"].startswith("shared: ")


def test_a_command_that_nobody_can_do_is_named(server: Server, tenant: Tenant):
    command = tenant.order()
    assert command in faults(server.url)["1 commands no source can do"]


def test_a_schedule_that_nobody_fires_is_named(server: Server, tenant: Tenant):
    order = {"name": "nightly", "scanner": "s", "target": "/t", "cron_expression": "0 2 * * *"}
    tenant.admin.ok("POST", "/scan-schedules", order)
    with server.app.extensions["rediver"].write() as tx:
        tx.execute(text("UPDATE scan_schedules SET next_run_at = '2020-01-01 00:00:00.000000'"))
    assert faults(server.url)["1 schedules overdue"].startswith("nightly: ")


def test_an_old_schema_is_not_looked_into(server: Server, tenant: Tenant):
    with server.app.extensions["rediver"].write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    said = faults(server.url)
    assert list(said) == ["schema 0001"]
    assert "migrate" in said["schema 0001"]
    reply = server.app.test_client().get("/readyz")
    assert (reply.status_code, reply.json["error"]["code"]) == (503, "UNAVAILABLE")
    assert "migrate" in reply.json["error"]["message"]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path):
    code, said = doctor(f"sqlite:///{tmp_path / 'none.db'}")
    assert code == 1
    assert "there is no" in said
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_others_can_read_is_named(schema_file: Path, tmp_path: Path):
    path = tmp_path / "open.db"
    path.write_bytes(schema_file.read_bytes())
    path.chmod(0o644)
    assert any("chmod 600" in to_do for to_do in faults(f"sqlite:///{path}").values())


def test_what_is_no_database_is_said_in_one_line(tmp_path: Path):
    path = tmp_path / "text.db"
    path.write_text("not a database " * 100)
    path.chmod(0o600)
    code, said = doctor(f"sqlite:///{path}")
    assert code == 1
    assert "not ok  the database: file is not a database" in said


def test_a_postgresql_that_is_away_is_said_without_its_password():
    code, said = doctor("postgresql://rediver:hunter2@127.0.0.1:1/rediver")
    assert code == 1
    assert "not ok  the database: " in said
    assert "hunter2" not in said


def test_too_few_connections_are_noticed_before_they_run_out(postgresql: RealPostgresql):
    code, said = doctor(postgresql.new_database(template="newest_schema"), "--workers", "40")
    assert code == 1
    assert "max_connections" in said


def test_a_notify_that_listen_does_not_hear_names_the_pooler(
    postgresql: RealPostgresql, monkeypatch: pytest.MonkeyPatch
):
    """As behind a pooler: what listens is not where the notification goes."""
    monkeypatch.setenv("REDIVER_SERVER_LISTEN_URL", postgresql.url("postgres"))
    said = faults(postgresql.new_database(template="newest_schema"))
    assert "REDIVER_SERVER_LISTEN_URL" in said["NOTIFY is not heard"]


def test_the_doctor_looks_beside_a_server_that_writes(server: Server, tenant: Tenant):
    with server.app.extensions["rediver"].write() as tx:
        tx.execute(text("UPDATE tenants SET name = 'x'"))
        assert doctor(server.url)[0] == 0


def test_readyz_says_when_the_background_thread_stands_still(server: Server):
    client = server.app.test_client()
    background = SimpleNamespace(last_round=time.monotonic())
    server.app.extensions["background"] = background
    assert client.get("/readyz").status_code == 200
    background.last_round -= 60
    reply = client.get("/readyz")
    assert reply.status_code == 503
    assert reply.headers["Retry-After"]
    assert "scheduler" in reply.json["error"]["message"]
    assert client.get("/healthz").status_code == 200


def test_readyz_says_when_the_database_is_away(server: Server):
    database = server.app.extensions["rediver"]
    database.engine.dispose()
    if database.is_sqlite:
        path = Path(database.engine.url.database)
        path.unlink()
        path.mkdir()
        with pytest.raises(sqlite3.OperationalError):
            sqlite3.connect(path)
    else:
        admin = server.url.replace(database.engine.url.database, "postgres", 1)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {database.engine.url.database}")
    reply = server.app.test_client().get("/readyz")
    assert (reply.status_code, reply.json["error"]["code"]) == (503, "UNAVAILABLE")
