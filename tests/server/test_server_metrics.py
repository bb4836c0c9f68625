"""`/metrics`: who sees what, that counters count what was committed, and the queue as it stands."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from house import wait_for
from prometheus_client.parser import text_string_to_metric_families
from real_postgresql import RealPostgresql
from rediver_server_fixtures import FAILED, TEMPLATE, Caller, Server, start
from served import Served

TOKEN = "scrape-me"
LABELS = ("method", "route", "status", "priority", "le")
Samples = dict[tuple[Any, ...], float]


@pytest.fixture
def server(database_url: str) -> Iterator[Server]:
    started = start(database_url, metrics_token=TOKEN)
    yield started
    started.app.extensions["rediver"].close()


def scrape(server: Server, key: str = TOKEN) -> Samples:
    """The value of each series, by name and label values."""
    headers = {"Authorization": f"Bearer {key}"}
    reply = server.app.test_client().get("/metrics", headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.content_type.startswith("text/plain")
    return samples(reply.text)


def samples(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {
        (
            sample.name,
            *(sample.labels[each] for each in LABELS if each in sample.labels),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def test_claims_results_and_lease_losses_are_counted_once_each(server: Server):
    tenant = server.tenant()
    agent = tenant.agent(scanners=["semgrep"])
    done, failed, silent, cancelled = (tenant.order() for _ in range(4))
    agent.acknowledge(done)
    agent.acknowledge(done)  # the same again is no second claim
    agent.report(done)
    agent.report(done)
    tenant.admin.ok("DELETE", f"/commands/{cancelled}")
    agent.ok("POST", "/commands/claim", {"claim_id": "c", "limit": 2})
    agent.report(failed, **FAILED)
    agent.progress(silent)
    server.clock.advance(61)
    agent.heartbeat()  # settles what is overdue

    seen = scrape(server)
    assert seen["rediver_claims_total",] == 3
    assert seen["rediver_lease_losses_total",] == 1
    assert seen["rediver_results_total", "completed"] == 1
    assert seen["rediver_results_total", "failed"] == 1
    assert seen["rediver_results_total", "cancelled"] == 1


def test_what_was_rolled_back_is_not_counted(database_url: str):
    server = start(database_url, metrics_token=TOKEN, creations_per_minute=1, creations_burst=2)
    cancel = {"type": "cancel", "payload": {"command_id": "cmd_unknown"}}
    admin = server.tenant().admin
    assert admin.call("POST", "/commands/batch", {"commands": [cancel] * 3}).status_code == 429
    assert ("rediver_results_total", "completed") not in scrape(server)
    admin.ok("POST", "/commands/batch", {"commands": [cancel] * 2})
    assert scrape(server)["rediver_results_total", "completed"] == 2
    server.app.extensions["rediver"].close()


def test_the_queue_is_shown_by_status_and_priority_with_its_oldest(server: Server):
    tenant = server.tenant()
    agent = tenant.agent(scanners=["semgrep"])
    tenant.order(priority="high")
    server.clock.advance(40)
    tenant.order(priority="high")
    held = tenant.order()
    agent.acknowledge(held)
    finished = tenant.order(priority="low")
    agent.acknowledge(finished)
    agent.report(finished)
    tenant.order(priority="critical", scheduled_at=server.clock.text(600))

    seen = scrape(server)
    depth = {key[1:]: n for key, n in seen.items() if key[0] == "rediver_queue_commands"}
    assert depth == {
        ("pending", "high"): 2,
        ("pending", "critical"): 1,
        ("acknowledged", "normal"): 1,
    }
    oldest = {key[1:]: n for key, n in seen.items() if key[0] == "rediver_queue_oldest_seconds"}
    assert oldest["pending", "high"] == 40
    assert oldest["pending", "critical"] == 0  # it does not wait yet


def test_the_lag_of_schedules_is_that_of_the_latest(server: Server):
    tenant = server.tenant()
    assert scrape(server)["rediver_schedule_lag_seconds",] == 0
    order = {"name": "n", "scanner": "semgrep", "target": "/srv", "cron_expression": "30 10 * * *"}
    tenant.admin.ok("POST", "/scan-schedules", order)
    assert scrape(server)["rediver_schedule_lag_seconds",] == 0
    server.clock.advance(31 * 60)
    assert scrape(server)["rediver_schedule_lag_seconds",] == 60


def test_requests_are_counted_by_route_and_nothing_a_client_made_up_is_a_label(server: Server):
    tenant = server.tenant()
    for n in range(3):
        tenant.admin.call("GET", f"/commands/cmd_{n}")
        tenant.admin.call("GET", f"/made-up-{n}")
        tenant.admin.call(f"MADE{n}", "/commands")

    seen = scrape(server)
    counted = {key[1:]: n for key, n in seen.items() if key[0] == "rediver_request_seconds_count"}
    assert counted["GET", "/api/v1/commands/<id:item>", "404"] == 3
    assert counted["GET", "none", "404"] == 3
    assert counted["other", "none", "405"] == 3
    text = str(seen.keys())
    assert "MADE" not in text
    assert "made-up" not in text
    assert "cmd_" not in text


def test_open_sockets_are_those_of_the_gateway(server: Server):
    server.app.extensions["gateway"] = [SimpleNamespace(), SimpleNamespace()]
    server.app.test_client().get("/healthz")
    assert scrape(server)["rediver_open_sockets",] == 2


def test_a_set_token_alone_opens(server: Server):
    tenant = server.tenant()
    for key in (tenant.admin.key, tenant.agent().key, "scrape-m", "é", ""):
        headers = {"Authorization": f"Bearer {key}"}
        reply = server.app.test_client().get("/metrics", headers=headers)
        assert (reply.status_code, reply.json["error"]["code"]) == (401, "UNAUTHORIZED"), key


def test_without_a_token_a_persons_key_shows_the_queue_of_that_tenant_and_nothing_else(
    database_url: str,
):
    server = start(database_url)
    mine, other = server.tenant(), server.tenant()
    mine.order(priority="low")
    other.order(priority="high")
    other.agent(scanners=["semgrep"]).acknowledge(other.order())
    viewer = mine.member("viewer")

    seen = scrape(server, viewer.key)
    assert seen == {
        ("rediver_queue_commands", "pending", "low"): 1,
        ("rediver_queue_oldest_seconds", "pending", "low"): 0,
        ("rediver_schedule_lag_seconds",): 0,
    }
    source = {"Authorization": f"Bearer {mine.agent().key}"}
    assert server.app.test_client().get("/metrics", headers=source).status_code == 403
    assert Caller(server.app, "").app.test_client().get("/metrics").status_code == 401
    server.app.extensions["rediver"].close()


def test_a_scrape_asks_an_index_and_not_the_whole_table(server: Server):
    tenant = server.tenant()
    database = server.app.extensions["rediver"]
    agent = tenant.agent(scanners=["semgrep"])
    for _ in range(30):
        command = tenant.order()
        agent.acknowledge(command)
        agent.report(command)
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    asked = f"{explain} SELECT status, count(*) FROM commands WHERE due_at IS NOT NULL GROUP BY 1"
    with database.read() as tx:
        if not database.is_sqlite:
            tx.connection().exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = " ".join(str(row) for row in tx.connection().exec_driver_sql(asked))
    assert re.search(r"idx_commands_\w*due", plan), plan


def test_guesses_of_the_token_slow_their_address(database_url: str):
    server = start(database_url, metrics_token=TOKEN, failed_keys_per_minute=2)
    client = server.app.test_client()
    wrong = {"Authorization": "Bearer guess"}
    guesses = [client.get("/metrics", headers=wrong).status_code for _ in range(3)]
    assert guesses == [401, 401, 429]
    assert scrape(server)
    server.app.extensions["rediver"].close()


def test_a_scrape_is_the_sum_over_the_workers_and_nothing_of_it_stays(
    postgresql: RealPostgresql, tmp_path: Path
):
    url = postgresql.new_database(template=TEMPLATE)
    env = {"TMPDIR": str(tmp_path), "REDIVER_SERVER_METRICS_TOKEN": TOKEN}
    served = Served(url, tmp_path, "--workers", "2", **env)
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def seen() -> Samples:
        return samples(served.http.get("/metrics", headers=headers).text)

    try:
        tenant = served.tenant()
        agent = tenant.agent()
        cancel = {"type": "cancel", "payload": {"command_id": "cmd_unknown"}}
        for _ in range(20):
            with httpx.Client(base_url=served.http.base_url) as anew:  # either worker may take it
                auth = {"Authorization": f"Bearer {tenant.key}"}
                assert anew.post("/api/v1/commands", headers=auth, json=cancel).status_code == 201
        ears = [agent.listen() for _ in range(4)]
        wait_for(lambda: seen()["rediver_open_sockets",] == 4, "both say what they have open")
        for each in ears:
            each.end()
        wait_for(lambda: seen()["rediver_open_sockets",] == 0, "and that it was closed")
        counted = seen()
        assert len(list(tmp_path.glob("rediver-metrics-*/histogram_*.db"))) == 2
        assert served.program.stop() == 0
    finally:
        served.close()
    assert counted["rediver_results_total", "completed"] == 20
    assert counted["rediver_request_seconds_count", "POST", "/api/v1/commands", "201"] == 20
    assert not list(tmp_path.glob("rediver-metrics-*"))
