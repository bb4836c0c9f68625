"""CONTRACT section 2: what agents, operators and time may do to a command."""

import pytest
from rediver_server_fixtures import FAILED, RESULT, Clock, Tenant


def test_a_command_goes_from_pending_over_running_to_completed(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    assert agent.offered() == [command]
    assert tenant.status(command) == "pending"

    claim = agent.acknowledge(command)
    assert claim == {
        "acknowledged": True,
        "command_id": command,
        "attempt": 1,
        "lease_expires_at": clock.text(1800 + 120),
    }
    assert tenant.status(command) == "acknowledged"
    assert agent.offered() == []
    clock.advance(1)
    reply = agent.progress(command, attempt=1, percent=40, message="parsing")
    assert reply == {"lease_expires_at": clock.text(60), "cancel_requested": False}
    assert tenant.command(command)["progress"] == {"percent": 40, "message": "parsing"}
    assert tenant.status(command) == "running"
    clock.advance(1)
    reply = agent.report(command, attempt=1, findings_count=3)
    assert reply == {"accepted": True, "command_id": command, "status": "completed"}

    whole = tenant.command(command)
    assert whole["result"] == {**RESULT, "findings_count": 3, "metadata": {}}
    assert (whole["acknowledged_at"], whole["completed_at"]) == (clock.text(-2), clock.text())
    trail = tenant.admin.ok("GET", f"/commands/{command}/events")["events"]
    assert [(event["from_status"], event["to_status"]) for event in trail] == [
        (None, "pending"),
        ("pending", "acknowledged"),
        ("acknowledged", "running"),
        ("running", "completed"),
    ]
    assert trail[-1]["actor"] == f"source:{agent.id}"
    assert all(event["at"] and event["reason"] for event in trail)


def test_the_origins_three_calls_are_enough(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(
        source_id=agent.id,
        payload={"scanner": "semgrep", "target": ".", "timeout_seconds": 3600},
    )
    agent.ok("POST", f"/commands/{command}/ack")
    clock.advance(3600 + 119)
    tenant.agent().offered()  # settles whatever is overdue
    assert agent.report(command)["status"] == "completed"


def test_a_repeated_acknowledge_of_the_holder_is_the_same(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    first = agent.acknowledge(command, instance_id="i-1")
    clock.advance(5)
    assert agent.acknowledge(command, instance_id="i-1") == first
    path = f"/commands/{command}/acknowledge"
    for other in ({"instance_id": "i-2"}, {}):
        assert agent.refused("POST", path, other) == (409, "ALREADY_CLAIMED")


def test_a_pool_command_is_held_by_one_source(tenant: Tenant):
    one, other = (tenant.agent(name, scanners=["semgrep"]) for name in ("one", "other"))
    command = tenant.order()
    assert one.offered() == other.offered() == [command]
    one.acknowledge(command)
    path = f"/commands/{command}"
    assert other.refused("POST", f"{path}/acknowledge") == (409, "ALREADY_CLAIMED")
    assert other.refused("POST", f"{path}/result", RESULT) == (404, "NOT_FOUND")
    assert other.refused("POST", f"{path}/progress") == (404, "NOT_FOUND")


def test_what_is_addressed_to_another_source_does_not_exist(tenant: Tenant):
    agent, stranger = tenant.agent(), tenant.agent()
    command = tenant.order(source_id=agent.id)
    for call, body in (("acknowledge", {}), ("progress", {}), ("result", RESULT)):
        path = f"/commands/{command}/{call}"
        assert stranger.refused("POST", path, body) == (404, "NOT_FOUND")


def test_what_nobody_holds_cannot_be_reported_on(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    for call, body in (("progress", {}), ("result", RESULT)):
        assert agent.refused("POST", f"/commands/{command}/{call}", body) == (409, "NOT_CLAIMED")


def test_the_same_result_again_is_accepted_and_another_one_is_late(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command, instance_id="i-1")
    agent.report(command, attempt=1, instance_id="i-1")
    assert agent.report(command)["status"] == "completed"  # equal but for attempt and instance
    path = f"/commands/{command}/result"
    for _ in range(2):
        assert agent.refused("POST", path, {**RESULT, **FAILED}) == (409, "COMMAND_FINISHED")
    assert tenant.status(command) == "completed"
    trail = tenant.admin.ok("GET", f"/commands/{command}/events")["events"]
    late = [event for event in trail if event["reason"] == "late result"]
    assert [event["data"]["status"] for event in late] == ["failed"]


@pytest.mark.parametrize(
    ("settled", "code"),
    [
        ("completed", "COMMAND_FINISHED"),
        ("failed", "COMMAND_FINISHED"),
        ("cancelled", "COMMAND_CANCELLED"),
        ("expired", "COMMAND_EXPIRED"),
    ],
)
def test_what_is_settled_cannot_be_acknowledged(
    tenant: Tenant, clock: Clock, settled: str, code: str
):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    if settled == "expired":
        clock.advance(3600)
    else:
        agent.acknowledge(command)
        agent.report(command, status=settled)
    path = f"/commands/{command}"
    assert agent.refused("POST", f"{path}/acknowledge") == (409, code)
    assert tenant.status(command) == settled
    assert tenant.admin.refused("DELETE", path) == (409, "COMMAND_FINISHED")


def test_a_pending_command_is_cancelled_at_once(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    assert tenant.admin.ok("DELETE", f"/commands/{command}")["status"] == "cancelled"
    assert agent.offered() == []


def test_a_held_command_is_cancelled_by_its_agent(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    for _ in range(2):
        whole = tenant.admin.ok("DELETE", f"/commands/{command}")
        assert (whole["status"], whole["cancel_requested"]) == ("acknowledged", True)
    assert agent.heartbeat()["cancel"] == [command]
    assert agent.progress(command)["cancel_requested"] is True
    assert agent.report(command, status="cancelled")["status"] == "cancelled"
    assert agent.heartbeat()["cancel"] == []


def test_work_that_was_finished_before_the_cancel_came_stands(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    tenant.admin.ok("DELETE", f"/commands/{command}")
    assert agent.report(command)["status"] == "completed"


@pytest.mark.parametrize(
    ("prepare", "outcome", "status"),
    [
        ("pending", "cancelled", "cancelled"),
        ("held", "requested", "acknowledged"),
        ("finished", "already_finished", "completed"),
    ],
)
def test_a_cancel_command_is_settled_when_it_is_created(
    tenant: Tenant, prepare: str, outcome: str, status: str
):
    agent = tenant.agent()
    target = tenant.order(source_id=agent.id)
    if prepare != "pending":
        agent.acknowledge(target)
    if prepare == "finished":
        agent.report(target)
    order = {"type": "cancel", "payload": {"command_id": target}, "source_id": agent.id}
    made = tenant.admin.ok("POST", "/commands", order)
    assert (made["status"], made["result"]) == ("completed", {"outcome": outcome})
    assert tenant.status(target) == status
    assert made["id"] not in agent.offered()


def test_a_cancel_command_for_nothing_says_so(tenant: Tenant, server):
    elsewhere = server.tenant().order()
    for nothing in ("cmd_unknown", elsewhere):
        order = {"type": "cancel", "payload": {"command_id": nothing}}
        made = tenant.admin.ok("POST", "/commands", order)
        assert made["result"] == {"outcome": "not_found"}


def test_a_paused_source_gets_nothing_new_and_finishes_what_it_has(tenant: Tenant):
    agent = tenant.agent()
    held, waiting = (tenant.order(source_id=agent.id) for _ in range(2))
    claim = agent.acknowledge(held)
    tenant.admin.ok("PATCH", f"/sources/{agent.id}", {"paused": True})
    assert agent.offered() == []
    assert agent.refused("POST", f"/commands/{waiting}/acknowledge") == (409, "CONFLICT")
    assert agent.acknowledge(held) == claim
    assert tenant.command(waiting)["waiting_reason"] == "paused"
    assert agent.report(held)["status"] == "completed"


def test_a_scheduled_command_is_not_handed_out_early(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id, scheduled_at=clock.text(600), ttl_seconds=60)
    whole = tenant.command(command)
    assert (whole["waiting_reason"], whole["expires_at"]) == ("scheduled", clock.text(660))
    assert agent.offered() == []
    assert agent.refused("POST", f"/commands/{command}/acknowledge") == (409, "CONFLICT")
    clock.advance(600)
    assert agent.offered() == [command]
