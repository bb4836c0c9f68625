"""A server to test against: its own database, its own clock, and people and agents with keys.

Requests go through the whole application. The clock is the test's: nobody waits for a lease.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from real_postgresql import RealPostgresql
from werkzeug.test import TestResponse

from rediver_server.app import create_app
from rediver_server.cli import commands
from rediver_server.settings import Settings

EMPTY = "schema.db"
TEMPLATE = "newest_schema"
RATES = (
    "creations_per_minute",
    "ingests_per_minute",
    "heartbeats_per_minute",
    "failed_keys_per_minute",
)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 16, 10, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def text(self, seconds: float = 0) -> str:
        """The time in so many seconds, as it is written on the wire."""
        return (self.now + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@dataclass
class Caller:
    """Somebody with a key."""

    app: Flask
    key: str
    id: str = ""

    def call(self, method: str, path: str, body: object = None, **headers: str) -> TestResponse:
        document = {} if body is None else {"json": body}
        auth = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.app.test_client().open(
            f"/api/v1{path}", method=method, headers={**auth, **sent}, **document
        )

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of a reply that has to be a success."""
        reply = self.call(method, path, body)
        assert reply.status_code < 300, reply.text
        return reply.json

    def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Status and code of a reply that has to be an error."""
        reply = self.call(method, path, body)
        assert reply.status_code >= 400, reply.text
        return reply.status_code, reply.json["error"]["code"]


class Agent(Caller):
    """A source's key, and the calls of CONTRACT section 2."""

    def heartbeat(self, **said: Any) -> Any:
        return self.ok("POST", "/ingest/heartbeat", {"name": "agent", "status": "running", **said})

    def offered(self, query: str = "") -> list[str]:
        return [command["id"] for command in self.ok("GET", f"/commands{query}")["commands"]]

    def acknowledge(self, command: str, **said: Any) -> Any:
        return self.ok("POST", f"/commands/{command}/acknowledge", said)

    def progress(self, command: str, **said: Any) -> Any:
        return self.ok("POST", f"/commands/{command}/progress", said)

    def report(self, command: str, **said: Any) -> Any:
        return self.ok("POST", f"/commands/{command}/result", {**RESULT, **said})


FAILED = {"status": "failed", "error": "semgrep crashed"}
RESULT = {"status": "completed", "completed_at": "2026-01-16T10:05:00Z"}


@dataclass
class Tenant:
    """One tenant with its admin; more people and agents on request."""

    server: "Server"
    id: str
    admin: Caller

    def member(self, role: str) -> Caller:
        made = self.server.cli("key", "create", "--tenant", self.id, "--role", role)
        return Caller(self.server.app, made["api_key"], made["key_id"])

    def agent(self, name: str = "agent", **heartbeat: Any) -> Agent:
        made = self.admin.ok("POST", "/sources", {"name": name, "type": "agent"})
        agent = Agent(self.server.app, made["api_key"], made["id"])
        if heartbeat:
            agent.heartbeat(**heartbeat)
        return agent

    def order(self, **order: Any) -> str:
        """The id of a new command: a semgrep scan unless `order` says otherwise."""
        scan = {"type": "scan", "payload": {"scanner": "semgrep", "target": "/srv/app"}}
        return self.admin.ok("POST", "/commands", {**scan, **order})["id"]

    def command(self, command: str) -> Any:
        return self.admin.ok("GET", f"/commands/{command}")

    def status(self, command: str) -> str:
        return self.command(command)["status"]


@dataclass
class Server:
    """The application under test, driven over its HTTP surface and its command line."""

    app: Flask
    url: str
    clock: Clock
    tenants: list[str] = field(default_factory=list)

    def cli(self, *arguments: str) -> Any:
        done = CliRunner().invoke(commands, [*arguments, "--json", "--database-url", self.url])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    def tenant(self) -> Tenant:
        name = f"tenant-{len(self.tenants)}"
        self.tenants.append(name)
        made = self.cli("tenant", "create", name)
        return Tenant(self, made["tenant_id"], Caller(self.app, made["api_key"]))


ASSET = {"id": "a", "type": "repository", "value": "git.example/app"}
OTHER = {"id": "b", "type": "repository", "value": "git.example/other"}
MAIN = {"name": "main", "is_default_branch": True}
SIDE = {"name": "feature", "is_default_branch": False}


def finding(fingerprint: str | None, **more: Any) -> dict[str, Any]:
    known = {"fingerprint": fingerprint} if fingerprint else {}
    return {"type": "vulnerability", "title": "SQL injection", "severity": "high", **known, **more}


class Scans:
    """Reports of one agent, each with the next minute's timestamp unless it is given."""

    def __init__(self, agent: Agent, clock: Clock) -> None:
        self.agent, self.clock, self.count = agent, clock, 0

    def body(self, *fingerprints: str, tool: str = "semgrep", **metadata: Any) -> dict[str, Any]:
        self.count += 1
        self.clock.advance(60)
        meta = {"id": f"r-{self.count}", "timestamp": self.clock.text(), **metadata}
        return {
            "version": "1.0",
            "metadata": meta,
            "tool": {"name": tool},
            "assets": [ASSET],
            "findings": [finding(each) for each in fingerprints],
        }

    def send(self, *fingerprints: str, **metadata: Any) -> tuple[int, int, int, int]:
        return self.counts(self.body(*fingerprints, **metadata))

    def counts(self, body: dict[str, Any]) -> tuple[int, int, int, int]:
        """Created, updated, resolved, duplicates."""
        reply = self.agent.ok("POST", "/ingest/findings", body)
        assert reply["success"] is True
        names = ("findings_created", "findings_updated", "findings_resolved", "duplicates_skipped")
        return tuple(reply[name] for name in names)

    def refused(self, body: dict[str, Any]) -> str:
        """The field that a report is refused for."""
        reply = self.agent.call("POST", "/ingest/findings", body)
        assert reply.status_code == 400, reply.text
        return reply.json["error"]["details"]["field"]


def statuses(tenant: Tenant) -> dict[str, str]:
    """The status of every finding of a tenant, by fingerprint."""
    found = tenant.admin.ok("GET", "/findings?limit=100")["findings"]
    return {row["fingerprint"]: row["status"] for row in found}


def migrate(url: str) -> None:
    done = CliRunner().invoke(commands, ["migrate", "--database-url", url])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="session")
def schema_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with the newest schema and nothing in it, to be copied."""
    path = tmp_path_factory.mktemp("schema") / EMPTY
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[RealPostgresql]:
    """A running PostgreSQL whose database `TEMPLATE` has the newest schema and nothing in it."""
    running = RealPostgresql()
    migrate(running.new_database(name=TEMPLATE))
    yield running
    running.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the newest schema and nothing in it, once of each kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").new_database(template=TEMPLATE)
    path = tmp_path / "server.db"
    shutil.copy(request.getfixturevalue("schema_file"), path)
    return f"sqlite:///{path}"


def start(url: str, **settings: Any) -> Server:
    """A server over a database with a schema. No rates, unless `settings` say otherwise.

    The caller closes `app.extensions["rediver"]`.
    """
    clock = Clock()
    unlimited = dict.fromkeys(RATES, 0)
    return Server(create_app(Settings(database_url=url, **unlimited | settings), clock), url, clock)


@pytest.fixture
def server(database_url: str) -> Iterator[Server]:
    started = start(database_url)
    yield started
    started.app.extensions["rediver"].close()


@pytest.fixture
def tenant(server: Server) -> Tenant:
    return server.tenant()


@pytest.fixture
def clock(server: Server) -> Clock:
    return server.clock
