"""Many at once, over real sockets: nothing is started twice, nothing is lost."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from rediver_server_fixtures import Server, Tenant
from werkzeug.serving import WSGIRequestHandler, make_server

THREADS = 16
COMMANDS = 200


class KeepsAlive(WSGIRequestHandler):
    """Answers many requests on one connection, as gunicorn does."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass


@pytest.fixture
def base_url(server: Server) -> Iterator[str]:
    listening = make_server("127.0.0.1", 0, server.app, threaded=True, request_handler=KeepsAlive)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.port}/api/v1"
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_of_many_racing_agents_exactly_one_starts_each_command(tenant: Tenant, base_url: str):
    commands = [tenant.order() for _ in range(COMMANDS)]
    keys = [tenant.agent(f"agent-{number}").key for number in range(THREADS)]
    together = threading.Barrier(THREADS)

    def race(key: str) -> list[tuple[str, int, str]]:
        answers = []
        with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            together.wait()
            for command in commands:
                reply = client.post(f"{base_url}/commands/{command}/acknowledge")
                code = reply.json().get("error", {}).get("code", "")
                answers.append((command, reply.status_code, code))
        return answers

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [answer for each in pool.map(race, keys) for answer in each]
    won = Counter(command for command, status, _ in answers if status == 200)
    assert won == dict.fromkeys(commands, 1)
    lost = {(status, code) for _, status, code in answers if status != 200}
    assert lost == {(409, "ALREADY_CLAIMED")}


def test_of_many_racing_reports_each_finding_is_created_once(tenant: Tenant, base_url: str):
    keys = [tenant.agent(f"agent-{number}").key for number in range(8)]
    together = threading.Barrier(len(keys))
    findings = [
        {"type": "secret", "title": "t", "severity": "high", "fingerprint": f"f{number}"}
        for number in range(50)
    ]

    def send(key: str) -> int:
        body = {
            "version": "1.0",
            "metadata": {"id": key[-8:], "timestamp": "2026-01-16T10:00:00Z"},
            "tool": {"name": "gitleaks"},
            "assets": [{"id": "a", "type": "repository", "value": "app"}],
            "findings": findings,
        }
        together.wait()
        headers = {"Authorization": f"Bearer {key}"}
        reply = httpx.post(f"{base_url}/ingest/findings", json=body, headers=headers, timeout=60)
        return reply.json()["findings_created"]

    with ThreadPoolExecutor(len(keys)) as pool:
        assert sum(pool.map(send, keys)) == 50
    rows = tenant.admin.ok("GET", "/findings?limit=100")["findings"]
    assert {row["occurrence_count"] for row in rows} == {8}
