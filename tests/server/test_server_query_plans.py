"""No request reads a whole table, and none asks more often because there are more rows.

Statements are captured as the application sends them. SQLite says how it would run each; PostgreSQL
does with whole scans at a price that only the lack of an index makes it pay.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rediver_server_fixtures import ASSET, OTHER, RESULT, Clock, Server, Tenant, finding
from sqlalchemy import Connection, event

from rediver_server import commands_api, retention, schedules
from rediver_server.settings import Settings

CHECK = {"type": "health_check", "payload": {}}
SCHEDULE = {"name": "s", "scanner": "semgrep", "target": ".", "cron_expression": "* * * * *"}
TIMES = "2026-01-16T09:00:00Z"
SMALL = {"tenants", "alembic_version", "enrollment_tokens"}  # few, however much is scanned
PLANNED = ("SELECT", "UPDATE", "DELETE")
DAYS = 400 * 24 * 3600  # then all is old enough to be pruned

Statement = tuple[str, Any]


@contextmanager
def statements(server: Server) -> Iterator[list[Statement]]:
    """What the application sends to its database meanwhile, as it sends it."""
    sent: list[Statement] = []

    def note(_connection, _cursor, statement, parameters, _context, many):
        if not statement.startswith("BEGIN"):
            sent.append((statement, parameters[0] if many else parameters))

    engine = server.app.extensions["rediver"].engine
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def whole_tables(connection: Connection, statement: Statement) -> set[str]:
    """The tables, or whole indexes of them, that the database would read to run it."""
    text, parameters = statement
    if not text.startswith(PLANNED):
        return set()
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters).all()
        steps = [re.match(r"SCAN (?!.*CONSTANT ROW)(\w+)", row.detail) for row in rows]
        return {step[1] for step in steps if step}
    for way in ("seqscan", "hashjoin", "mergejoin"):  # of a few rows it would read all, rightly
        connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
    found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {text}", parameters).scalar_one()
    plan = json.loads(found) if isinstance(found, str) else found
    return {node["Relation Name"] for node in _nodes(plan[0]["Plan"]) if _is_whole(node)}


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _is_whole(node: dict[str, Any]) -> bool:
    by_index = node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Index Scan")
    unbound = by_index and "Index Cond" not in node and "Relation Name" in node
    return unbound or node["Node Type"] == "Seq Scan"


def report(number: int, *prints: str, **metadata: Any) -> dict[str, Any]:
    return {
        "version": "1.0",
        "metadata": {"id": f"r-{number}", "timestamp": TIMES, **metadata},
        "tool": {"name": "semgrep"},
        "assets": [ASSET, OTHER],
        "findings": [finding(each, asset_ref="a") for each in prints],
    }


class Office:
    """A tenant with an agent and something of everything."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant, self.admin = tenant, tenant.admin
        self.agent = tenant.agent(scanners=["semgrep"], command_types=["scan", "health_check"])
        self.numbers = iter(range(10**6))

    def order(self, count: int = 1, **more: Any) -> list[str]:
        batch = {"commands": [{**CHECK, **more}] * count}
        made = self.admin.ok("POST", "/commands/batch", batch)["results"]
        return [item["command"]["id"] for item in made]

    def claim(self, limit: int, claim_id: str = "") -> list[str]:
        self.last_claim = claim_id or f"c-{next(self.numbers)}"
        claim = {"claim_id": self.last_claim, "limit": limit}
        taken = self.agent.ok("POST", "/commands/claim", claim)["commands"]
        return [command["id"] for command in taken]

    def held(self, count: int = 1) -> list[str]:
        self.order(count)
        return self.claim(count)

    def ingest(self, *prints: str, **metadata: Any) -> None:
        body = report(next(self.numbers), *prints, **metadata)
        self.agent.ok("POST", "/ingest/findings", body)

    def beat(self, running: list[str]) -> None:
        self.agent.heartbeat(
            scanners=["semgrep"],
            command_types=["scan", "health_check"],
            running=[{"command_id": command} for command in running],
        )

    def answer(self, commands: list[str]) -> None:
        results = [{"command_id": command, **RESULT, "attempt": 1} for command in commands]
        self.agent.ok("POST", "/commands/results", {"results": results})

    def look(self) -> None:
        """Everything that operators read, by each of its filters."""
        (command, *_), (source, *_) = self.order(), [self.agent.id]
        for filters in (
            "",
            "status=pending",
            "type=scan",
            f"source_id={source}",
            "schedule_id=sch_1",
        ):
            self.admin.ok("GET", f"/commands?{filters}")
        self.admin.ok("GET", f"/commands?created_after={TIMES}&created_before={TIMES}")
        page = self.admin.ok("GET", "/commands?limit=1")
        self.admin.ok("GET", f"/commands?limit=1&cursor={page['next_cursor']}")
        for path in (
            f"commands/{command}",
            f"commands/{command}/events",
            "sources",
            "scan-schedules",
        ):
            self.admin.ok("GET", f"/{path}")
        for path in (f"sources/{source}", "enrollment-tokens", "assets"):
            self.admin.ok("GET", f"/{path}")
        found = self.admin.ok("GET", "/findings")["findings"][0]
        self.admin.ok("GET", f"/findings/{found['id']}")
        by = {"severity": "high", "status": "open", "tool": "t", "rule_id": "r", "path": "p"}
        by |= {"asset_id": found["asset_id"], "source_id": source, "command_id": command}
        by |= {"first_seen_after": TIMES}
        for name, value in by.items():
            self.admin.ok("GET", f"/findings?{name}={value}")
        self.admin.ok("GET", "/findings.sarif")

    def work(self) -> None:
        """All that an agent says, by single calls and by batches."""
        self.agent.offered()
        self.agent.offered("?types=scan,health_check")
        one, other, *more = self.held(5)
        self.claim(5, "same")
        self.claim(5, "same")
        self.beat(more)
        self.agent.progress(one)
        self.agent.report(one)
        self.agent.report(one)
        late = {**RESULT, "status": "failed"}
        self.agent.refused("POST", f"/commands/{one}/result", late)
        self.answer([other, *more])
        self.agent.acknowledge(*self.order())
        self.ingest("f-1", "f-2", command_id=other, attempt=1)
        self.ingest("f-1", command_id=other, attempt=1, last=False)

    def manage(self) -> None:
        """What operators order and cancel."""
        (command,) = self.order(idempotency_key="k")
        self.order(idempotency_key="k")
        self.admin.ok("POST", "/commands", CHECK)
        self.admin.ok("POST", "/commands", {"type": "cancel", "payload": {"command_id": command}})
        self.admin.ok("DELETE", f"/commands/{self.held()[0]}")
        for chosen in ({"status": "pending"}, {"type": "scan"}, {"source_id": self.agent.id}, {}):
            self.order()
            self.admin.ok("POST", "/commands/cancel", chosen)
        self.admin.ok("POST", "/scan-schedules", SCHEDULE)
        second = self.tenant.agent("second")
        self.order(source_id=second.id)
        self.admin.ok("DELETE", f"/sources/{second.id}")


def test_no_request_and_no_job_reads_a_whole_table(server: Server, tenant: Tenant, clock: Clock):
    office, db = Office(tenant), server.app.extensions["rediver"]
    office.ingest("f-1")
    jobs: list[Callable[[], object]] = [
        office.work,
        office.manage,
        office.look,
        lambda: tenant.admin.app.test_client().get(
            "/metrics", headers={"Authorization": f"Bearer {tenant.admin.key}"}
        ),
        lambda: commands_api.settle(db),
        lambda: schedules.fire_due(db),
        lambda: retention.prune(db, Settings(database_url=server.url)),
    ]
    whole: set[tuple[str, str]] = set()
    for job in jobs:
        with statements(server) as sent:
            job()
        assert sent
        with db.engine.connect() as connection:
            for statement in dict.fromkeys(text for text, _ in sent):
                known = next(each for each in sent if each[0] == statement)
                whole |= {(table, statement) for table in whole_tables(connection, known) - SMALL}
        office.held(3)
        clock.advance(DAYS)
    assert not whole, "\n\n".join(f"{table}: {text}" for table, text in sorted(whole))


def count(
    server: Server, prepare: Callable[[int], Any], act: Callable[[Any], object]
) -> tuple[int, int]:
    """How many statements an act takes over few rows, and over many."""
    counts: list[int] = []
    for size in (2, 12):
        ready = prepare(size)
        with statements(server) as sent:
            act(ready)
        counts.append(len(sent))
    return counts[0], counts[1]


def test_no_call_takes_more_statements_because_there_are_more_rows(
    server: Server, tenant: Tenant, clock: Clock
):
    office, db = Office(tenant), server.app.extensions["rediver"]

    def lists(path: str, *more: str) -> Callable[[Any], object]:
        return lambda _: [tenant.admin.ok("GET", f"/{each}") for each in (path, *more)]

    def prints(count: int) -> list[str]:
        return [f"f-{next(office.numbers)}" for _ in range(count)]

    def findings(count: int) -> list[str]:
        found = prints(count)
        office.ingest(*found)
        return found

    def overdue(count: int) -> None:
        office.order(count, ttl_seconds=1)
        clock.advance(10)

    def repeated(commands: list[str]) -> None:
        assert len(office.claim(100, office.last_claim)) == len(commands)

    def sources(number: int) -> None:
        for _ in range(number):
            tenant.agent()

    def fire_times(number: int) -> None:
        for _ in range(number):
            tenant.admin.ok("POST", "/scan-schedules", SCHEDULE)

    acts: dict[str, tuple[Callable[[int], Any], Callable[[Any], object]]] = {
        "list commands": (office.order, lists("commands?limit=100")),
        "list sources": (sources, lists("sources?limit=100")),
        "list schedules": (fire_times, lists("scan-schedules?limit=100")),
        "list findings": (findings, lists("findings?limit=100", "assets", "findings.sarif")),
        "order by batch": (int, office.order),
        "poll": (office.order, lambda _: office.agent.offered("?limit=100")),
        "claim": (lambda n: len(office.order(n)), office.claim),
        "claim again": (office.held, repeated),
        "heartbeat": (office.held, office.beat),
        "results": (office.held, office.answer),
        "cancel": (office.order, lambda _: tenant.admin.ok("POST", "/commands/cancel", {})),
        "settle": (overdue, lambda _: commands_api.settle(db)),
        "ingest": (prints, lambda found: office.ingest(*found)),
        "ingest again": (findings, lambda found: office.ingest(*found)),
        "resolve": (findings, lambda _: office.ingest()),
    }
    counts = {name: count(server, *act) for name, act in acts.items()}
    assert {name: (few, many) for name, (few, many) in counts.items() if many > few} == {}


def test_a_lacking_index_is_noticed(server: Server, tenant: Tenant):
    wanted = ("SELECT id FROM findings WHERE severity = 'high'", ())
    sorts = ("SELECT id FROM commands WHERE tenant_id = 'x' OR priority = 'high'", ())
    with server.app.extensions["rediver"].engine.connect() as connection:
        assert whole_tables(connection, wanted) == {"findings"}
        assert whole_tables(connection, sorts) == {"commands"}
