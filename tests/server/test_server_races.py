"""Many at once, over real sockets: nothing is started twice, nothing is lost."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import httpx
import pytest
from depth import DEPTH
from rediver_server_fixtures import RESULT, Server, Tenant
from werkzeug.serving import WSGIRequestHandler, make_server

THREADS = 16
COMMANDS = 300 * DEPTH
CHECK = {"type": "health_check", "payload": {}}
TERMINAL = ("completed", "failed", "cancelled", "expired")
Started = list[tuple[str, int]]


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


class Racer:
    """An agent, or an operator, with a connection of its own. It tries again what was busy."""

    def __init__(self, base_url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self.client = httpx.Client(base_url=base_url, headers=headers, timeout=60)

    def say(self, method: str, path: str, body: object = None) -> httpx.Response:
        for _ in range(20):
            reply = self.client.request(method, path, json=body)
            if reply.status_code != 503:
                return reply
        raise AssertionError(reply.text)

    def ok(self, method: str, path: str, body: object = None) -> Any:
        reply = self.say(method, path, body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def start_by_claims(self) -> Started:
        """Ten at a time, each claim twice as if its reply had been lost."""
        started = []
        for number in count():
            claim = {"claim_id": f"c-{number}", "limit": 10}
            held = [self.ok("POST", "/commands/claim", claim)["commands"] for _ in range(2)]
            assert held[0] == held[1] or not held[0]
            started += [(row["id"], row["attempt"]) for row in held[1]]
            if not held[1] and not self.ok("GET", "/commands")["commands"]:
                return started
        raise AssertionError

    def start_one_by_one(self) -> Started:
        """By the origin's calls: poll, then acknowledge."""
        started = []
        while offered := self.ok("GET", "/commands?limit=100")["commands"]:
            for row in random.sample(offered, min(10, len(offered))):
                reply = self.say("POST", f"/commands/{row['id']}/acknowledge")
                if reply.status_code == 200:
                    started.append((row["id"], reply.json()["attempt"]))
                else:
                    assert reply.json()["error"]["code"] == "ALREADY_CLAIMED"
        return started


def together(races: list[Callable[[], Any]]) -> list[Any]:
    """What each comes to, all begun at one moment."""
    barrier = threading.Barrier(len(races))

    def race(run: Callable[[], Any]) -> Any:
        barrier.wait()
        return run()

    with ThreadPoolExecutor(len(races)) as pool:
        return list(pool.map(race, races))


def ordered(tenant: Tenant, number: int) -> list[str]:
    """The ids of so many new commands of the pool."""
    made = []
    for _ in range(number // 100):
        batch = tenant.admin.ok("POST", "/commands/batch", {"commands": [CHECK] * 100})
        made += [item["command"]["id"] for item in batch["results"]]
    return made


def trail(tenant: Tenant, command: str) -> list[dict[str, Any]]:
    return tenant.admin.ok("GET", f"/commands/{command}/events")["events"]


def test_of_many_racing_agents_exactly_one_starts_each_command(tenant: Tenant, base_url: str):
    commands = ordered(tenant, COMMANDS)
    agents = [tenant.agent(f"agent-{n}", command_types=["health_check"]) for n in range(THREADS)]
    racers = [Racer(base_url, agent.key) for agent in agents]
    claiming, single = racers[:4], racers[4:]  # who claims is ten times as fast
    races = [racer.start_by_claims for racer in claiming]
    races += [racer.start_one_by_one for racer in single]
    started = Counter(each for outcome in together(races) for each in outcome)
    assert started == dict.fromkeys(((command, 1) for command in commands), 1)
    for command in random.sample(commands, 50):
        assert [event["to_status"] for event in trail(tenant, command)] == [
            "pending",
            "acknowledged",
        ]


def test_of_many_acknowledging_one_command_exactly_one_has_it(tenant: Tenant, base_url: str):
    commands = ordered(tenant, 100)[: 40 * DEPTH]
    racers = [Racer(base_url, tenant.agent(f"agent-{n}").key) for n in range(THREADS)]

    def race(racer: Racer) -> list[tuple[str, int]]:
        paths = [f"/commands/{command}/acknowledge" for command in commands]
        return [(path, racer.say("POST", path).status_code) for path in paths]

    answers = together([lambda racer=racer: race(racer) for racer in racers])
    counts = Counter(status for outcome in answers for _, status in outcome)
    assert counts == {200: len(commands), 409: len(commands) * (THREADS - 1)}
    won = Counter(path for outcome in answers for path, status in outcome if status == 200)
    assert set(won.values()) == {1}


def test_racing_results_and_cancels_leave_a_whole_ledger(tenant: Tenant, base_url: str):
    """Each agent answers all twice, one by one and by batches, while operators cancel all."""
    commands = ordered(tenant, 300)
    held: dict[str, list[str]] = {}
    for number in range(6):
        agent = tenant.agent(f"agent-{number}", command_types=["health_check"])
        claim = {"claim_id": "c", "limit": 40}
        held[agent.key] = [
            row["id"] for row in agent.ok("POST", "/commands/claim", claim)["commands"]
        ]

    def answer(key: str, status: str) -> list[str]:
        """What was accepted."""
        racer, mine = Racer(base_url, key), random.sample(held[key], len(held[key]))
        said = {**RESULT, "status": status, "attempt": 1}
        paths = {command: f"/commands/{command}/result" for command in mine[:20]}
        accepted = [key for key, path in paths.items() if racer.say("POST", path, said).is_success]
        for start in (20, 30):
            batch = [{"command_id": command, **said} for command in mine[start : start + 10]]
            rows = racer.ok("POST", "/commands/results", {"results": batch})["results"]
            accepted += [row["command_id"] for row in rows if row["status"] == 200]
        running = [{"command_id": command, "attempt": 1} for command in mine]
        beat = {"name": "agent", "status": "running", "running": running}
        racer.ok("POST", "/ingest/heartbeat", beat)
        return accepted

    def cancel_all() -> None:
        Racer(base_url, tenant.admin.key).ok("POST", "/commands/cancel", {})

    def cancel_one_by_one() -> None:
        racer = Racer(base_url, tenant.admin.key)
        for command in random.sample(commands, 100):
            assert racer.say("DELETE", f"/commands/{command}").status_code in (200, 409)

    answers = [
        lambda key=key, status=status: answer(key, status)
        for key in held
        for status in ("completed", "failed")
    ]
    outcomes = together([*answers, cancel_all, cancel_one_by_one, cancel_one_by_one])
    accepted = Counter(command for outcome in outcomes for command in outcome or ())
    for command in commands:
        events = trail(tenant, command)
        moves = [event for event in events if event["from_status"] != event["to_status"]]
        (end,) = [event for event in moves if event["to_status"] in TERMINAL]
        assert tenant.status(command) == end["to_status"] == events[-1]["to_status"]
        late = [event for event in events if event["reason"] == "late result"]
        was_held = any(command in each for each in held.values())
        assert accepted[command] == was_held
        assert len(late) == was_held
        assert end["to_status"] in (("completed", "failed") if was_held else ("cancelled",))


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
