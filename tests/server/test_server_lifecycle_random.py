"""Whatever agents, operators and time do to a command, it moves as the contract allows."""

from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rediver_server_fixtures import Agent, Server, Tenant

from rediver_agent.contract import TERMINAL, CommandStatus, may_move

AGENTS = st.sampled_from([0, 1])
ATTEMPTS = st.sampled_from([None, 1, 2, 3])
STEPS = st.one_of(
    st.tuples(st.just("acknowledge"), AGENTS, st.sampled_from([None, "i-1", "i-2"])),
    st.tuples(st.just("progress"), AGENTS, ATTEMPTS),
    st.tuples(st.just("heartbeat"), AGENTS, ATTEMPTS),
    st.tuples(
        st.just("result"),
        AGENTS,
        ATTEMPTS,
        st.sampled_from(["completed", "failed", "cancelled"]),
        st.booleans(),
    ),
    st.tuples(st.just("wait"), st.sampled_from([30, 61, 121, 450, 1000])),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("look")),
)


def take(step: tuple, agents: list[Agent], command: str) -> tuple[Agent, Any]:
    """One step of an agent; the agent, and the reply of the server."""
    what, number, attempt, *more = step
    agent, path = agents[number], f"/commands/{command}"
    said = {} if attempt is None else {"attempt": attempt}
    if what == "acknowledge":
        said = {} if attempt is None else {"instance_id": attempt}
        return agent, agent.call("POST", f"{path}/acknowledge", said)
    if what == "progress":
        return agent, agent.call("POST", f"{path}/progress", said)
    if what == "heartbeat":
        running = [{"command_id": command, **said}]
        body = {"name": "a", "status": "running", "running": running}
        return agent, agent.call("POST", "/ingest/heartbeat", body)
    result = {"status": more[0], "retryable": more[1], "completed_at": "2026-01-16T10:05:00Z"}
    return agent, agent.call("POST", f"{path}/result", {**result, **said})


def check_trail(tenant: Tenant, command: str, known: list[dict]) -> list[dict]:
    """The audit trail only grows, and each line of it is legal. Returns the trail."""
    trail = tenant.admin.ok("GET", f"/commands/{command}/events")["events"]
    assert trail[: len(known)] == known
    for before, after in pairwise(trail):
        assert after["from_status"] == before["to_status"]
        assert after["attempt"] >= before["attempt"]
        moved = CommandStatus(after["from_status"]), CommandStatus(after["to_status"])
        assert moved[0] == moved[1] or may_move(*moved)
    assert tenant.status(command) == trail[-1]["to_status"]
    return trail


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example has its own tenant
)
@given(steps=st.lists(STEPS, max_size=15))
def test_every_move_is_legal_and_the_first_terminal_state_stays(server: Server, steps: list[tuple]):
    tenant = server.tenant()
    agents = [tenant.agent(), tenant.agent()]
    payload = {"scanner": "semgrep", "target": ".", "timeout_seconds": 60}
    command = tenant.order(payload=payload, ttl_seconds=1500)
    trail: list[dict] = []
    claims: dict[int, tuple[str, str | None]] = {}
    settled = None
    for step in steps:
        if step[0] == "wait":
            server.clock.advance(step[1])
        elif step[0] == "cancel":
            assert tenant.admin.call("DELETE", f"/commands/{command}").status_code in (200, 409)
        elif step[0] != "look":
            agent, reply = take(step, agents, command)
            assert reply.status_code in (200, 404, 409), reply.text
            if step[0] == "acknowledge" and reply.status_code == 200:
                claim = (agent.id, step[2])  # an attempt belongs to one instance of one agent
                assert claims.setdefault(reply.json["attempt"], claim) == claim
        trail = check_trail(tenant, command, trail)
        status = CommandStatus(trail[-1]["to_status"])
        assert settled in (None, status)
        settled = status if status in TERMINAL else None
    assert sum(event["to_status"] == "acknowledged" for event in trail) <= 3 + sum(
        event["reason"] == "heartbeat" for event in trail
    )
