"""CONTRACT section 2, `POST /commands/claim`: taking work in one call, once, reply lost or not."""

from typing import Any

import pytest
from rediver_server_fixtures import Agent, Clock, Server, Tenant

SCANS = ["semgrep"]


def claim(agent: Agent, claim_id: str = "c-1", **said: Any) -> list[dict[str, Any]]:
    return agent.ok("POST", "/commands/claim", {"claim_id": claim_id, **said})["commands"]


def claimed(agent: Agent, claim_id: str = "c-1", **said: Any) -> list[str]:
    return [command["id"] for command in claim(agent, claim_id, **said)]


def test_a_claim_hands_out_commands_with_attempt_and_lease(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    reply = agent.ok("POST", "/commands/claim", {"claim_id": "c-1", "instance_id": "i-1"})
    assert reply == {
        "commands": [
            {
                "id": command,
                "type": "scan",
                "priority": "normal",
                "payload": {"scanner": "semgrep", "target": "/srv/app"},
                "created_at": clock.text(),
                "expires_at": clock.text(3600),
                "attempt": 1,
                "lease_expires_at": clock.text(60),
            }
        ],
        "poll_interval_seconds": 30,
    }
    assert tenant.status(command) == "acknowledged"
    assert agent.acknowledge(command, instance_id="i-1")["attempt"] == 1
    path = f"/commands/{command}/acknowledge"
    assert agent.refused("POST", path, {"instance_id": "i-2"}) == (409, "ALREADY_CLAIMED")


def test_a_repeated_claim_takes_nothing_new_and_gives_what_is_still_held(tenant: Tenant):
    agent = tenant.agent()
    first = [tenant.order(source_id=agent.id) for _ in range(3)]
    taken = claim(agent, limit=3)
    later = tenant.order(source_id=agent.id)
    assert claim(agent, limit=10) == taken
    agent.report(first[0])
    tenant.admin.ok("DELETE", f"/commands/{first[1]}")  # asked for, still held
    assert set(claimed(agent)) == set(first[1:])
    assert claimed(agent, "c-2") == [later]


def test_a_repeated_claim_leaves_out_what_was_lost_in_between(tenant: Tenant, clock: Clock):
    one, other = (tenant.agent(name, scanners=SCANS) for name in ("one", "other"))
    command, kept = tenant.order(), tenant.order()
    assert set(claimed(one)) == {command, kept}
    clock.advance(59)
    one.progress(kept, attempt=1)
    clock.advance(1)
    assert claimed(one) == [kept]
    assert other.acknowledge(command)["attempt"] == 2
    assert claimed(one) == [kept]


def test_a_command_that_came_back_is_not_part_of_an_older_claim(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    assert claim(agent, "c-1")[0]["attempt"] == 1
    clock.advance(60)
    assert claim(agent, "c-2")[0]["attempt"] == 2
    assert claim(agent, "c-1") == []
    assert claimed(agent, "c-2") == [command]


def test_an_empty_answer_is_not_remembered(tenant: Tenant):
    agent = tenant.agent()
    assert claim(agent) == []
    command = tenant.order(source_id=agent.id)
    assert claimed(agent) == [command]


def test_a_claim_is_known_for_a_day(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    tenant.order(source_id=agent.id)
    claim(agent)
    clock.advance(24 * 3600 - 1)
    later = tenant.order(source_id=agent.id)
    assert claim(agent) == []
    clock.advance(1)
    assert claimed(agent) == [later]


def test_a_claim_id_means_something_to_its_own_source_only(tenant: Tenant, server: Server):
    one, other = (tenant.agent(name, scanners=SCANS) for name in ("one", "other"))
    stranger = server.tenant().agent(scanners=SCANS)
    first = tenant.order()
    assert claimed(one) == [first]
    second = tenant.order()
    assert claimed(stranger) == []
    assert claimed(other) == [second]


def test_limit_and_types_choose_what_is_claimed(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    scans = []
    for _ in range(3):
        clock.advance(1)
        scans.append(tenant.order(source_id=agent.id))
    check = tenant.order(source_id=agent.id, type="health_check", payload={})
    restart = tenant.order(source_id=agent.id, type="restart", payload={})
    assert claimed(agent, "c-1", types="health_check,restart", limit=1) in ([check], [restart])
    assert len(claimed(agent, "c-2", types=["health_check", "restart"])) == 1
    assert claimed(agent, "c-3", limit=2) == scans[:2]
    assert claimed(agent, "c-4", types=[]) == []
    assert claimed(agent, "c-4") == scans[2:]


def test_what_is_addressed_and_the_pool_are_one_queue(tenant: Tenant, clock: Clock):
    agent = tenant.agent(scanners=SCANS)
    made = {}
    for priority in ("low", "high", "normal", "critical"):
        for source in (None, agent.id):
            clock.advance(1)
            key = tenant.order(priority=priority, **{"source_id": source} if source else {})
            made.setdefault(priority, []).append(key)
    ranked = [*made["critical"], *made["high"], *made["normal"], *made["low"]]
    assert claimed(agent, "c-1", limit=3) == ranked[:3]
    assert claimed(agent, "c-2") == ranked[3:]


def test_the_pool_is_claimed_by_what_the_heartbeat_says(tenant: Tenant):
    semgrep, trivy = tenant.order(), tenant.order(payload={"scanner": "trivy", "target": "."})
    tenant.order(type="restart", payload={})
    silent = tenant.agent("silent")
    assert claimed(silent) == []
    assert claimed(tenant.agent("trivy", scanners=["trivy"])) == [trivy]
    assert claimed(tenant.agent("checks", scanners=SCANS, command_types=["health_check"])) == []
    assert claimed(tenant.agent("semgrep", scanners=SCANS)) == [semgrep]


def test_what_has_expired_or_is_not_due_is_not_claimed(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    tenant.order(source_id=agent.id, ttl_seconds=30)
    later = tenant.order(source_id=agent.id, scheduled_at=clock.text(60))
    clock.advance(30)
    assert claimed(agent) == []
    clock.advance(30)
    assert claimed(agent) == [later]


def test_a_paused_source_claims_nothing_new_and_still_gets_what_it_holds(tenant: Tenant):
    agent = tenant.agent()
    held = tenant.order(source_id=agent.id)
    assert claimed(agent) == [held]
    waiting = tenant.order(source_id=agent.id)
    tenant.admin.ok("PATCH", f"/sources/{agent.id}", {"paused": True})
    assert (claimed(agent, "c-1"), claimed(agent, "c-2")) == ([held], [])
    tenant.admin.ok("PATCH", f"/sources/{agent.id}", {"paused": False})
    assert claimed(agent, "c-2") == [waiting]


def test_a_claim_that_nobody_named_is_not_counted(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id, ttl_seconds=86_400)
    for attempt in range(1, 6):
        assert claim(agent, f"c-{attempt}")[0]["attempt"] == attempt
        clock.advance(60)
        assert tenant.status(command) == "pending"
    for attempt in range(6, 9):  # these three count
        assert claim(agent, f"c-{attempt}")[0]["attempt"] == attempt
        agent.heartbeat(running=[{"command_id": command, "attempt": attempt}])
        clock.advance(60)
    assert tenant.status(command) == "failed"


@pytest.mark.parametrize("word", ["heartbeat", "progress", "result"])
def test_a_word_after_the_lapse_restores_a_claim_and_counts_it(
    tenant: Tenant, clock: Clock, word: str
):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id, ttl_seconds=86_400)
    for attempt in (1, 2, 3):
        claim(agent, f"c-{attempt}")
        clock.advance(60)
        assert tenant.status(command) == "pending"
        if word == "heartbeat":
            running = [{"command_id": command, "attempt": attempt}]
            assert agent.heartbeat(running=running)["lost"] == []
            assert tenant.status(command) == "acknowledged"
            clock.advance(60)
        elif word == "progress":
            agent.progress(command, attempt=attempt)
            assert tenant.status(command) == "running"
            clock.advance(60)
        else:
            said = {"status": "failed", "retryable": True, "attempt": attempt}
            agent.report(command, duration_ms=attempt, **said)
    assert tenant.status(command) == "failed"


def test_a_named_claim_has_its_lease_renewed(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    claim(agent)
    for _ in range(5):
        clock.advance(40)
        agent.heartbeat(running=[{"command_id": command, "attempt": 1}])
    assert claimed(agent) == [command]
    assert tenant.command(command)["lease_expires_at"] == clock.text(60)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({}, "claim_id"),
        ({"claim_id": ""}, "claim_id"),
        ({"claim_id": "c" * 65}, "claim_id"),
        ({"claim_id": "c", "limit": 0}, "limit"),
        ({"claim_id": "c", "limit": 101}, "limit"),
        ({"claim_id": "c", "types": "A"}, "types.0"),
        ({"claim_id": "c", "colour": 1}, "colour"),
    ],
)
def test_a_bad_claim_is_refused_naming_the_field(tenant: Tenant, said: dict, field: str):
    reply = tenant.agent().call("POST", "/commands/claim", said)
    assert (reply.status_code, reply.json["error"]["details"]["field"]) == (400, field)


def test_only_agents_claim(tenant: Tenant):
    body = {"claim_id": "c-1"}
    assert tenant.admin.refused("POST", "/commands/claim", body) == (403, "FORBIDDEN")
