"""Who waits for whom on PostgreSQL: another server's transaction is held open here, by hand."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from house import wait_for
from real_postgresql import RealPostgresql
from rediver_server_fixtures import MAIN, TEMPLATE, Scans, Server, Tenant, start, statuses

SCAN = {"type": "scan", "payload": {"scanner": "semgrep", "target": "/srv/app"}}


@pytest.fixture
def server(postgresql: RealPostgresql) -> Iterator[Server]:
    """Waits two seconds for a lock, so that nothing waits for ever."""
    url = postgresql.new_database(template=TEMPLATE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET lock_timeout = '2s'")
    started = start(url)
    yield started
    started.app.extensions["rediver"].close()


@pytest.fixture
def other(server: Server) -> Iterator[psycopg.Connection]:
    """The transaction of another server."""
    with psycopg.connect(server.url) as connection:
        yield connection
        connection.rollback()


def meanwhile(server: Server, call: Callable[[], Any]) -> Callable[[], Any]:
    """Let a call run until it waits for a lock. Returns what waits for its answer."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    here = "SELECT FROM pg_stat_activity WHERE datname = current_database()"
    asked = f"{here} AND wait_event_type = 'Lock'"
    with psycopg.connect(server.url, autocommit=True) as connection:
        wait_for(lambda: connection.execute(asked).fetchone() is not None, "it waits for a lock")

    def answer() -> Any:
        thread.join(10)
        return answers[0]

    return answer


def test_looking_at_a_command_waits_for_nobody_and_nobody_for_it(tenant: Tenant, other):
    command = tenant.order()
    other.execute("SELECT FROM commands WHERE id = %s FOR UPDATE", [command])
    assert tenant.status(command) == "pending"
    assert len(tenant.admin.ok("GET", f"/commands/{command}/events")["events"]) == 1


def test_what_people_set_while_a_report_comes_stays(server: Server, tenant: Tenant, other):
    scans = Scans(tenant.agent(), server.clock)
    scans.send("f", branch=MAIN)
    (row,) = tenant.admin.ok("GET", "/findings")["findings"]
    other.execute("UPDATE findings SET status = 'resolved', auto_resolved = true")
    patch = {"status": "resolved", "reason": "it was fixed"}
    answer = meanwhile(server, lambda: tenant.admin.ok("PATCH", f"/findings/{row['id']}", patch))
    other.commit()
    answer()
    scans.send("f", branch=MAIN)
    assert statuses(tenant) == {"f": "resolved"}


@pytest.mark.parametrize("kind", ["order", "batch", "acknowledge"])
def test_nothing_is_put_down_for_a_source_that_is_being_deleted(
    server: Server, tenant: Tenant, other, kind: str
):
    agent = tenant.agent(scanners=["semgrep"])
    command = tenant.order()
    addressed = {**SCAN, "source_id": agent.id}
    calls: dict[str, Callable[[], Any]] = {
        "order": lambda: tenant.admin.call("POST", "/commands", addressed).status_code,
        "batch": lambda: [
            item["status"]
            for item in tenant.admin.ok(
                "POST", "/commands/batch", {"commands": [SCAN, addressed, addressed]}
            )["results"]
        ],
        "acknowledge": lambda: agent.call("POST", f"/commands/{command}/ack").status_code,
    }
    other.execute("SELECT FROM sources FOR UPDATE")
    other.execute("UPDATE sources SET deleted_at = now()")
    answer = meanwhile(server, calls[kind])
    other.commit()
    assert answer() == {"order": 404, "batch": [201, 404, 404], "acknowledge": 401}[kind]


def test_a_source_is_deleted_after_what_was_being_put_down_for_it(
    server: Server, tenant: Tenant, other
):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    other.execute("SELECT FROM sources FOR KEY SHARE")  # as an order for it does
    answer = meanwhile(server, lambda: tenant.admin.call("DELETE", f"/sources/{agent.id}"))
    other.commit()
    assert answer().status_code == 204
    assert tenant.status(command) == "cancelled"


def test_a_batch_of_cancels_locks_as_all_do_by_id(server: Server, tenant: Tenant, other):
    low, high = sorted(tenant.order() for _ in range(2))
    locks = "SELECT FROM commands WHERE id = %s FOR UPDATE NOWAIT"
    other.execute(locks, [low])
    cancels = [{"type": "cancel", "payload": {"command_id": each}} for each in (high, low)]
    orders = {"commands": [cancels[0], SCAN, cancels[1]]}
    answer = meanwhile(server, lambda: tenant.admin.ok("POST", "/commands/batch", orders))
    other.execute(locks, [high])
    other.commit()
    made = [item["command"] for item in answer()["results"]]
    assert [row["payload"] for row in made] == [each["payload"] for each in orders["commands"]]
    assert tenant.status(low) == tenant.status(high) == "cancelled"


def test_a_part_waits_for_reports_of_all_assets_of_its_report(
    server: Server, tenant: Tenant, other
):
    scans = Scans(tenant.agent(), server.clock)
    first = scans.body("f", last=False)
    scans.counts(first)
    asset = first["assets"][0]
    name = f"{tenant.id}:{asset['type']}:{asset['value']}"
    other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
    last = {**first, "metadata": {**first["metadata"], "part": 1, "last": True}, "assets": []}
    answer = meanwhile(server, lambda: scans.counts(last))
    other.commit()
    assert answer() == (0, 0, 0, 1)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_times_are_utc_whatever_zone_the_database_is_in(postgresql: RealPostgresql, zone: str):
    url = postgresql.new_database(template=TEMPLATE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET timezone = '{zone}'")
    server = start(url)
    tenant = server.tenant()
    last, first = "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"
    tenant.order(expires_at=last)
    agent = tenant.agent(scanners=["semgrep"])
    (claimed,) = agent.ok("POST", "/commands/claim", {"claim_id": "c"})["commands"]
    Scans(agent, server.clock).send("f", timestamp=first)
    (finding,) = tenant.admin.ok("GET", "/findings")["findings"]
    server.app.extensions["rediver"].close()
    assert (claimed["expires_at"], finding["first_seen_at"]) == (last, first)
    assert claimed["created_at"].endswith("Z")
