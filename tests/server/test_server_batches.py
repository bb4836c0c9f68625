"""CONTRACT section 2, many at once: results, orders and cancels in one call, each by itself."""

from typing import Any

import pytest
from rediver_server_fixtures import FAILED, RESULT, Agent, Clock, Server, Tenant

CHECK = {"type": "health_check", "payload": {}}


def send(agent: Agent, *results: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Of each result the command, the status, and the code of the error."""
    said = agent.ok("POST", "/commands/results", {"results": results})["results"]
    return [(row["command_id"], row["status"], (row["error"] or {}).get("code")) for row in said]


def batch(tenant: Tenant, *orders: dict[str, Any]) -> list[dict[str, Any]]:
    return tenant.admin.ok("POST", "/commands/batch", {"commands": orders})["results"]


def listed(tenant: Tenant, query: str = "") -> list[dict[str, Any]]:
    """All commands of a tenant."""
    rows, cursor = [], ""
    while cursor is not None:
        page = tenant.admin.ok("GET", f"/commands?limit=100{cursor}{query}")
        rows += page["commands"]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    return rows


# Results


def test_each_result_of_a_batch_is_answered_as_the_single_call_would(tenant: Tenant, clock: Clock):
    agent, other = (tenant.agent(name, scanners=["semgrep"]) for name in ("one", "other"))
    done, again, given_away, theirs, untouched = (tenant.order() for _ in range(5))
    for command in (done, again, given_away):
        agent.acknowledge(command)
    agent.report(again)
    clock.advance(1800 + 120)
    other.acknowledge(given_away)
    other.acknowledge(theirs) if tenant.status(theirs) == "pending" else None
    answers = send(
        agent,
        {"command_id": done, **RESULT},
        {"command_id": again, **RESULT, "attempt": 1},
        {"command_id": again, **RESULT, **FAILED},
        {"command_id": given_away, **RESULT, "attempt": 1},
        {"command_id": theirs, **RESULT},
        {"command_id": untouched, **RESULT},
        {"command_id": "cmd_unknown", **RESULT},
        {"command_id": done, "status": "completed"},
        {**RESULT},
    )
    assert answers == [
        (done, 200, None),
        (again, 200, None),
        (again, 409, "COMMAND_FINISHED"),
        (given_away, 409, "STALE_ATTEMPT"),
        (theirs, 404, "NOT_FOUND"),
        (untouched, 409, "NOT_CLAIMED"),
        ("cmd_unknown", 404, "NOT_FOUND"),
        (done, 400, "INVALID_REQUEST"),
        ("", 400, "INVALID_REQUEST"),
    ]
    assert tenant.status(done) == "completed"
    for command in (again, given_away):
        trail = tenant.admin.ok("GET", f"/commands/{command}/events")["events"]
        assert [event["reason"] for event in trail].count("late result") == 1


def test_a_bad_item_is_told_its_field_and_costs_the_others_nothing(tenant: Tenant):
    agent = tenant.agent()
    commands = [tenant.order(source_id=agent.id) for _ in range(3)]
    for command in commands:
        agent.acknowledge(command)
    results = [{"command_id": command, **RESULT} for command in commands]
    results[1]["colour"] = "red"
    rows = agent.ok("POST", "/commands/results", {"results": results})["results"]
    assert [row["status"] for row in rows] == [200, 400, 200]
    assert rows[1]["error"]["details"] == {"field": "colour", "reason": "unknown field"}
    assert [tenant.status(key) for key in commands] == ["completed", "acknowledged", "completed"]


def test_one_command_twice_in_a_batch_is_the_same_again_or_late(tenant: Tenant):
    agent = tenant.agent()
    same, late, tried = (tenant.order(source_id=agent.id) for _ in range(3))
    for command in (same, late, tried):
        agent.acknowledge(command)
    retry = {"command_id": tried, **RESULT, **FAILED, "retryable": True, "attempt": 1}
    pairs = [{"command_id": same, **RESULT}] * 2 + [retry] * 2
    pairs += [{"command_id": late, **RESULT}, {"command_id": late, **RESULT, **FAILED}]
    assert [row[1:] for row in send(agent, *pairs)] == [
        *[(200, None)] * 5,
        (409, "COMMAND_FINISHED"),
    ]
    assert [tenant.status(key) for key in (same, late, tried)] == [
        "completed",
        "completed",
        "pending",
    ]


def test_a_hundred_results_fit_and_one_more_does_not(tenant: Tenant):
    agent = tenant.agent()
    made = batch(tenant, *[{**CHECK, "source_id": agent.id}] * 100)
    commands = [each["command"]["id"] for each in made]
    taken = agent.ok("POST", "/commands/claim", {"claim_id": "c", "limit": 100})["commands"]
    assert {command["id"] for command in taken} == set(commands)
    results = [{"command_id": key, **RESULT} for key in commands]
    too_many = {"results": [*results, {"command_id": "cmd_101", **RESULT}]}
    assert agent.refused("POST", "/commands/results", too_many) == (400, "INVALID_REQUEST")
    assert {status for _, status, _ in send(agent, *results)} == {200}
    assert {row["status"] for row in listed(tenant)} == {"completed"}


def test_no_results_are_no_error(tenant: Tenant):
    assert send(tenant.agent()) == []


# Orders


def test_each_order_of_a_batch_is_answered_as_the_single_call_would(tenant: Tenant, server: Server):
    stranger = server.tenant().agent()
    made = batch(
        tenant,
        CHECK,
        {**CHECK, "source_id": stranger.id},
        {"type": "scan", "payload": {"target": "."}},
        {"type": "scan", "payload": {"scanner": "semgrep", "target": "."}, "priority": "high"},
        {**CHECK, "colour": "red"},
        {**CHECK, "idempotency_key": 7},
    )
    assert [item["status"] for item in made] == [201, 404, 400, 201, 400, 400]
    fields = [item["error"]["details"].get("field") for item in made if "error" in item]
    assert fields == [None, "payload.scanner", "colour", "idempotency_key"]
    created = [item["command"] for item in made if "command" in item]
    assert created == [tenant.command(command["id"]) for command in created]
    assert {command["id"] for command in created} == {row["id"] for row in listed(tenant)}


def test_a_hundred_orders_fit_and_one_more_does_not(tenant: Tenant):
    too_many = {"commands": [CHECK] * 101}
    assert tenant.admin.refused("POST", "/commands/batch", too_many) == (400, "INVALID_REQUEST")
    assert listed(tenant) == []
    assert {item["status"] for item in batch(tenant, *[CHECK] * 100)} == {201}
    assert len({row["id"] for row in listed(tenant)}) == 100


def test_a_cancel_in_a_batch_does_its_work_there(tenant: Tenant):
    target = tenant.order()
    cancels = [{"type": "cancel", "payload": {"command_id": target}}] * 2
    outcomes = [item["command"]["result"]["outcome"] for item in batch(tenant, *cancels)]
    assert outcomes == ["cancelled", "already_finished"]
    assert tenant.status(target) == "cancelled"


def test_each_order_of_a_batch_may_have_its_own_idempotency_key(tenant: Tenant):
    orders = [{**CHECK, "idempotency_key": "k-1"}, {**CHECK, "idempotency_key": "k-2"}, CHECK]
    first = [item["command"]["id"] for item in batch(tenant, *orders)]
    again = [item["command"]["id"] for item in batch(tenant, *orders)]
    assert again[:2] == first[:2]
    assert again[2] != first[2]
    assert len(listed(tenant)) == 4


def test_one_key_twice_in_a_batch_makes_one_command(tenant: Tenant):
    keyed = {**CHECK, "idempotency_key": "k"}
    made = batch(tenant, keyed, keyed, {**keyed, "priority": "high"})
    assert [item["status"] for item in made] == [201, 201, 409]
    assert made[0] == made[1]
    assert made[2]["error"]["code"] == "IDEMPOTENCY_MISMATCH"
    assert len(listed(tenant)) == 1


def test_a_key_in_a_batch_is_the_same_as_in_a_single_call(tenant: Tenant):
    single = tenant.admin.call("POST", "/commands", CHECK, Idempotency_Key="k")
    (item,) = batch(tenant, {**CHECK, "idempotency_key": "k"})
    assert item == {"status": 201, "command": single.json}


def test_a_batch_that_is_sent_again_under_one_key_makes_nothing_new(tenant: Tenant):
    body = {"commands": [CHECK, {**CHECK, "colour": "red"}]}
    first, again = (
        tenant.admin.call("POST", "/commands/batch", body, Idempotency_Key="k") for _ in range(2)
    )
    assert (first.status_code, first.json) == (again.status_code, again.json)
    assert len(listed(tenant)) == 1
    other = tenant.admin.call("POST", "/commands/batch", {"commands": []}, Idempotency_Key="k")
    assert other.json["error"]["code"] == "IDEMPOTENCY_MISMATCH"


# Cancels


def test_a_bulk_cancel_counts_what_ended_and_what_was_asked_for(tenant: Tenant, server: Server):
    agent = tenant.agent()
    held, running, finished, *waiting = (tenant.order(source_id=agent.id) for _ in range(6))
    for command in (held, running, finished):
        agent.acknowledge(command)
    agent.progress(running)
    agent.report(finished)
    elsewhere = server.tenant()
    theirs = elsewhere.order()
    reply = tenant.admin.ok("POST", "/commands/cancel", {})
    assert reply == {"cancelled": 3, "requested": 2}
    assert tenant.admin.ok("POST", "/commands/cancel") == {"cancelled": 0, "requested": 0}
    assert {tenant.status(key) for key in waiting} == {"cancelled"}
    assert sorted(agent.heartbeat()["cancel"]) == sorted([held, running])
    assert tenant.status(finished) == "completed"
    assert elsewhere.status(theirs) == "pending"


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({"status": "pending"}, {"held"}),
        ({"status": "acknowledged"}, {"scan", "check"}),
        ({"status": "completed"}, {"scan", "check", "held"}),
        ({"type": "health_check"}, {"scan", "held"}),
        ({"source_id": "the agent"}, {"scan", "check"}),
        ({"status": "pending", "type": "scan"}, {"check", "held"}),
        ({"schedule_id": "sch_none"}, {"scan", "check", "held"}),
    ],
)
def test_a_bulk_cancel_takes_what_matches_all_its_filters(
    tenant: Tenant, chosen: dict[str, str], left: set[str]
):
    agent = tenant.agent()
    made = {"scan": tenant.order(), "check": tenant.order(**CHECK)}
    made["held"] = tenant.order(source_id=agent.id)
    agent.acknowledge(made["held"])
    if "source_id" in chosen:
        chosen = {"source_id": agent.id}
    counts = tenant.admin.ok("POST", "/commands/cancel", chosen)
    rows = {name: tenant.command(key) for name, key in made.items()}
    untouched = {
        name
        for name, row in rows.items()
        if row["status"] != "cancelled" and not row["cancel_requested"]
    }
    assert untouched == left
    assert sum(counts.values()) == len(made) - len(left)


def test_a_bulk_cancel_reaches_every_one_of_many(tenant: Tenant):
    for _ in range(12):
        batch(tenant, *[CHECK] * 100)
    agent = tenant.agent(command_types=["health_check"])
    for number in range(3):
        agent.ok("POST", "/commands/claim", {"claim_id": f"c-{number}", "limit": 10})
    reply = tenant.admin.ok("POST", "/commands/cancel", {})
    assert reply == {"cancelled": 1170, "requested": 30}
    assert listed(tenant, "&status=pending") == []


def test_a_bad_bulk_cancel_cancels_nothing(tenant: Tenant):
    command = tenant.order()
    for body in ({"status": "new"}, {"colour": "red"}):
        assert tenant.admin.refused("POST", "/commands/cancel", body) == (400, "INVALID_REQUEST")
    assert tenant.status(command) == "pending"
