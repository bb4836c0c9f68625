"""From the first release's database with work in it to the newest: all is there and goes on."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command as alembic
from alembic.config import Config
from rediver_server_fixtures import Agent, Caller, Server, migrate, start
from sqlalchemy import MetaData, text

from rediver_server import schema
from rediver_server.db import Database

NOW = "2026-01-16 10:00:00+00:00"
LATER = "2026-01-16 11:00:00+00:00"


@pytest.fixture(params=["sqlite", "postgresql"])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database at revision 0001, as an earlier release left it."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    config = Config()
    config.set_main_option("script_location", "rediver_server:migrations")
    config.set_main_option("path_separator", "os")
    database = Database(url)
    with database.engine.connect().execution_options(writes=True) as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, "0001")
    with database.write() as tx:
        tables = MetaData()
        tables.reflect(tx.connection())
        for table, row in rows():
            # as text, so that the columns are the old ones and the models of today play no part
            names = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            assert set(row) <= set(tables.tables[table].columns.keys())
            tx.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)
    assert schema.current_revision(database) == "0001"
    database.close()
    return url


def rows() -> Iterator[tuple[str, dict[str, object]]]:
    created = {"created_at": NOW}
    mine = {"tenant_id": "ten_1"}
    yield "tenants", {"id": "ten_1", "name": "acme", **created}
    heard = {"last_seen_at": NOW, "heartbeat": '{"scanners": ["semgrep"]}', "instances": "{}"}
    labels = {"capabilities": "[]", "metadata": "{}", "paused": False}
    source = {"id": "src_1", "name": "build", "type": "agent", **created, **labels, **heard}
    yield "sources", {**mine, **source}
    for key, role, owner in (("rs_usr_old", "admin", None), ("rs_src_old", "source", "src_1")):
        digest = {"api_key_prefix": key, "sha256": hashlib.sha256(key.encode()).hexdigest()}
        who = {"id": f"key_{role}", "role": role, "source_id": owner}
        yield "api_keys", {**mine, **who, **digest, **created}
    scan = {"type": "scan", "tool": "semgrep", "expires_at": LATER, "due_at": LATER}
    scan["payload"] = '{"scanner": "semgrep", "target": "/srv/app"}'
    yield "commands", {"id": "cmd_waits", "status": "pending", **mine, **created, **scan}
    held = {"status": "running", "attempt": 1, "attempts_used": 1, "holder_source_id": "src_1"}
    held |= {"lease_expires_at": LATER, "deadline_at": LATER, "started_at": NOW}
    yield "commands", {"id": "cmd_runs", **mine, **created, **scan, **held}
    done = {"status": "completed", "completed_at": NOW, "due_at": None, "result": '{"a": 1}'}
    yield "commands", {"id": "cmd_done", **mine, **created, **scan, **done}
    event = {"at": NOW, "actor": "source:src_1", "to_status": "completed", "attempt": 1}
    yield "command_events", {"command_id": "cmd_done", "reason": "result", **event}
    fires = {"cron_expression": "0 2 * * *", "next_run_at": LATER, "target": "/srv/app"}
    yield (
        "scan_schedules",
        {"id": "sch_1", "name": "nightly", "scanner": "semgrep", **mine, **fires},
    )
    place = {"type": "repository", "value": "git.example/app", "properties": "{}"}
    yield "assets", {"id": "ast_1", **mine, **created, **place}
    seen = {"first_seen_at": NOW, "last_seen_at": NOW, "status_at": NOW, "occurrence_count": 1}
    what = {"fingerprint": "f", "severity": "high", "status": "open", "auto_resolved": False}
    what["data"] = '{"type": "vulnerability", "title": "SQL injection", "severity": "high"}'
    where = {"asset_id": "ast_1", "tool": "semgrep", "coverage_key": ""}
    yield "findings", {"id": "fnd_1", **mine, **created, **seen, **what, **where}


@pytest.fixture
def upgraded(old_url: str) -> Iterator[Server]:
    migrate(old_url)
    migrate(old_url)  # once more changes nothing
    started = start(old_url)
    yield started
    started.app.extensions["rediver"].close()


def test_everything_is_still_there(upgraded: Server):
    assert upgraded.app.test_client().get("/readyz").status_code == 200
    admin = Caller(upgraded.app, "rs_usr_old")
    found = {row["id"]: row["status"] for row in admin.ok("GET", "/commands")["commands"]}
    assert found == {"cmd_waits": "pending", "cmd_runs": "running", "cmd_done": "completed"}
    assert admin.ok("GET", "/commands/cmd_done")["result"] == {"a": 1}
    assert len(admin.ok("GET", "/commands/cmd_done/events")["events"]) == 1
    (finding,) = admin.ok("GET", "/findings")["findings"]
    assert (finding["id"], finding["status"]) == ("fnd_1", "open")
    (schedule,) = admin.ok("GET", "/scan-schedules")["schedules"]
    assert (schedule["missed_run"], schedule["priority"]) == ("run_once", "normal")


def test_work_goes_on_where_it_was(upgraded: Server):
    agent = Agent(upgraded.app, "rs_src_old", "src_1")
    answer = {"attempt": 1, "status": "completed", "completed_at": "2026-01-16T10:05:00Z"}
    assert agent.ok("POST", "/commands/cmd_runs/result", answer)["status"] == "completed"
    claimed = agent.ok("POST", "/commands/claim", {"claim_id": "c", "limit": 5})["commands"]
    assert [command["id"] for command in claimed] == ["cmd_waits"]
    agent.report("cmd_waits")


def test_a_server_of_the_new_release_says_that_the_schema_is_old(old_url: str):
    old = start(old_url)
    reply = old.app.test_client().get("/readyz")
    assert reply.status_code == 503
    assert "migrate" in reply.json["error"]["message"]
    old.app.extensions["rediver"].close()
