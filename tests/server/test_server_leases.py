"""CONTRACT section 2, "Lease": what silence, time and a late word do to a held command."""

import pytest
from rediver_server_fixtures import FAILED, RESULT, Clock, Server, Tenant


def test_a_lapsed_lease_is_offered_again_and_its_holder_may_still_answer(
    tenant: Tenant, clock: Clock
):
    one, other = (tenant.agent(name, scanners=["semgrep"]) for name in ("one", "other"))
    command = tenant.order()
    one.acknowledge(command)
    one.progress(command, attempt=1)
    clock.advance(60)
    assert other.offered() == [command]
    assert tenant.status(command) == "pending"
    assert one.report(command, attempt=1)["status"] == "completed"


@pytest.mark.parametrize("word", ["heartbeat", "progress"])
def test_a_lapsed_lease_is_restored_by_its_holders_word(tenant: Tenant, clock: Clock, word: str):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    agent.progress(command, attempt=1)
    clock.advance(61)
    assert tenant.status(command) == "pending"
    if word == "progress":
        agent.progress(command, attempt=1)
    else:
        reply = agent.heartbeat(running=[{"command_id": command, "attempt": 1}])
        assert reply["lost"] == []
    whole = tenant.command(command)
    assert (whole["status"], whole["attempt"]) == ("running", 1)
    assert whole["lease_expires_at"] == clock.text(60)


def test_once_somebody_else_acknowledges_the_old_holder_is_stale(tenant: Tenant, clock: Clock):
    one, other = (tenant.agent(name, scanners=["semgrep"]) for name in ("one", "other"))
    command = tenant.order()
    one.acknowledge(command)
    one.heartbeat(running=[{"command_id": command, "attempt": 1}])
    clock.advance(61)
    assert other.acknowledge(command)["attempt"] == 2
    path = f"/commands/{command}"
    late = {**RESULT, "attempt": 1}
    assert one.refused("POST", f"{path}/result", late) == (409, "STALE_ATTEMPT")
    assert one.refused("POST", f"{path}/progress", {"attempt": 1}) == (409, "STALE_ATTEMPT")
    assert one.heartbeat(running=[{"command_id": command, "attempt": 1}])["lost"] == [command]
    assert other.report(command, attempt=2)["status"] == "completed"
    trail = tenant.admin.ok("GET", f"{path}/events")["events"]
    assert any(event["reason"] == "late result" for event in trail)


def test_a_source_that_acknowledges_its_lapsed_command_gets_a_new_attempt(
    tenant: Tenant, clock: Clock
):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command, instance_id="before")
    agent.progress(command, attempt=1)
    clock.advance(61)
    assert agent.acknowledge(command, instance_id="after")["attempt"] == 2
    late = {**RESULT, "attempt": 1}
    path = f"/commands/{command}/result"
    assert agent.refused("POST", path, late) == (409, "STALE_ATTEMPT")


def test_a_restarted_agent_answers_for_its_predecessor(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command, instance_id="before")
    restarted = {**FAILED, "attempt": 1, "instance_id": "after"}
    assert agent.report(command, **restarted)["status"] == "failed"
    assert tenant.command(command)["error_message"] == "semgrep crashed"


def test_a_command_that_is_lost_three_times_has_failed(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id, ttl_seconds=86400)
    for attempt in (1, 2, 3):
        assert agent.acknowledge(command)["attempt"] == attempt
        agent.progress(command, attempt=attempt)
        clock.advance(60)
    whole = tenant.command(command)
    assert (whole["status"], whole["attempt"]) == ("failed", 3)
    assert "last attempt" in whole["error_message"]


def test_a_retryable_failure_returns_to_pending_until_attempts_are_spent(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    for attempt in (1, 2, 3):
        agent.acknowledge(command)
        said = {**FAILED, "retryable": True, "attempt": attempt, "duration_ms": attempt}
        expected = "failed" if attempt == 3 else "pending"
        assert agent.report(command, **said)["status"] == expected
        assert agent.report(command, **said)["status"] == expected  # its reply was lost
    assert tenant.status(command) == "failed"


def test_a_retryable_failure_ends_the_hold_for_good(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    agent.report(command, **FAILED, retryable=True, attempt=1)
    running = [{"command_id": command, "attempt": 1}]
    assert agent.heartbeat(running=running)["lost"] == [command]
    path = f"/commands/{command}"
    assert agent.refused("POST", f"{path}/progress", {"attempt": 1}) == (409, "STALE_ATTEMPT")
    assert agent.refused("POST", f"{path}/result", RESULT) == (409, "STALE_ATTEMPT")


def test_a_retryable_failure_of_a_lapsed_lease_counts_too(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    agent.progress(command, attempt=1)
    clock.advance(61)
    assert tenant.status(command) == "pending"
    assert agent.report(command, **FAILED, retryable=True, attempt=1)["status"] == "pending"
    assert agent.acknowledge(command)["attempt"] == 2


def test_an_equal_result_of_a_new_attempt_is_its_own(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    for attempt in (1, 2):
        agent.acknowledge(command)
        said = {**FAILED, "retryable": True, "attempt": attempt}
        assert agent.report(command, **said)["status"] == "pending"
    assert agent.acknowledge(command)["attempt"] == 3


def test_pending_expires_and_what_is_held_does_not(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    waiting = tenant.order(source_id=agent.id, ttl_seconds=30)
    held = tenant.order(source_id=agent.id, expires_at=clock.text(30))
    agent.acknowledge(held)
    clock.advance(30)
    assert agent.offered() == []
    assert (tenant.status(waiting), tenant.status(held)) == ("expired", "acknowledged")
    clock.advance(1900)
    assert tenant.status(held) == "expired"  # lost after its time


def test_a_retryable_failure_that_was_cancelled_is_not_tried_again(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    tenant.admin.ok("DELETE", f"/commands/{command}")
    assert agent.report(command, **FAILED, retryable=True)["status"] == "failed"


def test_an_unanswered_cancel_is_settled_after_two_minutes(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    tenant.admin.ok("DELETE", f"/commands/{command}")
    running = [{"command_id": command, "attempt": 1}]
    for _ in range(5):
        clock.advance(20)
        assert agent.heartbeat(running=running) | {"server_time": ""} == {
            "success": True,
            "server_time": "",
            "cancel": [command],
            "lost": [],
        }
    clock.advance(20)
    reply = agent.heartbeat(running=running)
    assert (reply["cancel"], reply["lost"]) == ([], [command])
    assert tenant.status(command) == "cancelled"
    path = f"/commands/{command}/result"
    assert agent.refused("POST", path, RESULT) == (409, "COMMAND_FINISHED")


def test_a_lost_lease_of_a_cancelled_command_is_cancelled(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    agent.progress(command)
    tenant.admin.ok("DELETE", f"/commands/{command}")
    clock.advance(60)
    assert tenant.status(command) == "cancelled"


@pytest.mark.parametrize("word", ["heartbeat", "progress"])
def test_overlong_work_fails_whatever_its_agent_says(tenant: Tenant, clock: Clock, word: str):
    agent = tenant.agent()
    payload = {"scanner": "semgrep", "target": ".", "timeout_seconds": 100}
    command = tenant.order(source_id=agent.id, payload=payload)
    agent.acknowledge(command)
    agent.progress(command)
    for _ in range(9):
        clock.advance(40)
        agent.progress(command)
    clock.advance(40)
    if word == "heartbeat":
        assert agent.heartbeat(running=[{"command_id": command}])["lost"] == [command]
    else:
        path = f"/commands/{command}/progress"
        assert agent.refused("POST", path) == (409, "COMMAND_FINISHED")
    whole = tenant.command(command)
    assert whole["status"] == "failed"
    assert "timeout_seconds" in whole["error_message"]


def test_a_lease_that_lapsed_before_the_deadline_is_a_lost_lease(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id, ttl_seconds=86400)
    agent.acknowledge(command)
    clock.advance(10_000)  # both are long past when somebody looks
    assert tenant.status(command) == "pending"


def test_heartbeats_hold_a_command_without_starting_it(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    for _ in range(3):
        agent.heartbeat(running=[{"command_id": command, "attempt": 1}])
        assert tenant.command(command)["lease_expires_at"] == clock.text(60)
        clock.advance(20)
    assert tenant.status(command) == "acknowledged"
    lost = agent.heartbeat(running=[{"command_id": command, "attempt": 7}])["lost"]
    assert lost == [command]


def test_an_unknown_running_command_is_lost(tenant: Tenant):
    agent = tenant.agent()
    assert agent.heartbeat(running=[{"command_id": "cmd_nobody"}])["lost"] == ["cmd_nobody"]


def test_much_that_is_overdue_is_settled_in_several_transactions(server: Server, tenant: Tenant):
    orders = {"commands": [{"type": "health_check", "payload": {}, "ttl_seconds": 1}] * 100}
    for _ in range(12):
        tenant.admin.ok("POST", "/commands/batch", orders)
    server.clock.advance(2)
    moves: list[int] = []
    database = server.app.extensions["rediver"]
    database.committed = lambda tx: moves.append(len(tx.info.get("moves", ())))
    tenant.admin.ok("GET", "/commands")
    assert [count for count in moves if count] == [500, 500, 200]
