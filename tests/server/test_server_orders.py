"""Creating, offering and listing commands: what is accepted, and who is offered what."""

import pytest
from rediver_server_fixtures import Clock, Server, Tenant

SCAN = {"scanner": "semgrep", "target": "/srv/app"}


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({}, "type"),
        ({"type": "scan"}, "payload"),
        ({"type": "scan", "payload": None}, "payload"),
        ({"type": "Scan", "payload": SCAN}, "type"),
        ({"type": "scan", "payload": {"target": "/x"}}, "payload.scanner"),
        ({"type": "scan", "payload": {**SCAN, "colour": 1}}, "payload.colour"),
        ({"type": "scan", "payload": {**SCAN, "timeout_seconds": 0}}, "payload.timeout_seconds"),
        (
            {"type": "scan", "payload": {**SCAN, "timeout_seconds": 86401}},
            "payload.timeout_seconds",
        ),
        ({"type": "scan", "payload": {**SCAN, "config": []}}, "payload.config"),
        ({"type": "collect", "payload": {}}, "payload.collector"),
        ({"type": "config_update", "payload": {}}, "payload.config_data"),
        ({"type": "upgrade", "payload": {}}, "payload.target_version"),
        ({"type": "cancel", "payload": {}}, "payload.command_id"),
        ({"type": "health_check", "payload": {"x": 1}}, "payload.x"),
        ({"type": "scan", "payload": SCAN, "priority": "urgent"}, "priority"),
        ({"type": "scan", "payload": SCAN, "colour": "red"}, "colour"),
        ({"type": "scan", "payload": SCAN, "ttl_seconds": 0}, "ttl_seconds"),
        ({"type": "scan", "payload": SCAN, "expires_at": "2026-01-16T10:00:00"}, "expires_at"),
        ({"type": "scan", "payload": SCAN, "expires_at": 1800000000}, "expires_at"),
        ({"type": "scan", "payload": SCAN, "expires_at": "2026-01-16T09:59:59Z"}, "expires_at"),
        (
            {
                "type": "scan",
                "payload": SCAN,
                "expires_at": "2026-01-17T10:00:00Z",
                "scheduled_at": "2026-01-18T10:00:00Z",
            },
            "expires_at",
        ),
        (
            {
                "type": "scan",
                "payload": SCAN,
                "expires_at": "2026-01-17T10:00:00Z",
                "ttl_seconds": 5,
            },
            "ttl_seconds",
        ),
        ({"type": "scan", "payload": SCAN, "scheduled_at": "9999-12-31T23:59:59Z"}, "scheduled_at"),
        (
            {"type": "scan", "payload": SCAN, "scheduled_at": "0001-01-01T00:00:00+01:00"},
            "scheduled_at",
        ),
    ],
)
def test_a_bad_order_is_refused_naming_the_field(tenant: Tenant, order: dict, field: str):
    reply = tenant.admin.call("POST", "/commands", order)
    assert (reply.status_code, reply.json["error"]["code"]) == (400, "INVALID_REQUEST")
    assert reply.json["error"]["details"]["field"] == field
    assert tenant.admin.ok("GET", "/commands")["commands"] == []


def test_an_order_is_answered_with_the_whole_command(tenant: Tenant, clock: Clock):
    reply = tenant.admin.call("POST", "/commands", {"type": "scan", "payload": SCAN})
    made = reply.json
    assert reply.status_code == 201
    assert reply.headers["Location"] == f"/api/v1/commands/{made['id']}"
    assert made == tenant.command(made["id"])
    assert made | {"id": ""} == {
        "id": "",
        "tenant_id": tenant.id,
        "source_id": None,
        "type": "scan",
        "priority": "normal",
        "payload": SCAN,
        "status": "pending",
        "created_at": clock.text(),
        "expires_at": clock.text(3600),
        "acknowledged_at": None,
        "started_at": None,
        "completed_at": None,
        "result": None,
        "error_message": None,
        "scheduled_at": None,
        "schedule_id": None,
        "attempt": 0,
        "max_attempts": 3,
        "lease_expires_at": None,
        "cancel_requested": False,
        "progress": None,
        "waiting_reason": "no_capable_source",
    }


def test_a_plugins_own_type_is_accepted_and_offered_to_those_that_know_it(tenant: Tenant):
    knows = tenant.agent("knows", command_types=["scan", "sbom_export"])
    plain = tenant.agent("plain", scanners=["semgrep"])
    command = tenant.order(type="sbom_export", payload={"anything": [1]})
    assert (knows.offered(), plain.offered()) == ([command], [])


def test_an_order_for_another_tenants_source_is_not_found(tenant: Tenant, server: Server):
    stranger = server.tenant().agent()
    order = {"type": "health_check", "payload": {}, "source_id": stranger.id}
    assert tenant.admin.refused("POST", "/commands", order) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("heartbeat", "types"),
    [
        (None, set()),
        ({}, {"health_check"}),
        ({"scanners": ["trivy"]}, {"health_check"}),
        ({"scanners": ["semgrep"]}, {"scan", "health_check"}),
        ({"collectors": ["github"]}, {"collect", "health_check"}),
        ({"scanners": ["semgrep"], "command_types": ["scan", "restart"]}, {"scan", "restart"}),
        ({"scanners": ["semgrep"], "command_types": []}, set()),
    ],
)
def test_the_pool_is_offered_by_what_the_last_heartbeat_says(
    tenant: Tenant, heartbeat: dict | None, types: set[str]
):
    agent = tenant.agent()
    if heartbeat is not None:
        agent.heartbeat(scanners=["never"], command_types=["upgrade"])
        agent.heartbeat(**heartbeat)
    tenant.order()
    tenant.order(type="collect", payload={"collector": "github"})
    tenant.order(type="health_check", payload={})
    tenant.order(type="restart", payload={})
    commands = agent.ok("GET", "/commands")["commands"]
    assert {command["type"] for command in commands} == types


def test_a_poll_has_the_highest_priority_first_then_the_oldest(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    orders = {}
    for priority in ("low", "normal", "critical", "high", "critical", "normal"):
        clock.advance(1)
        made = tenant.order(source_id=agent.id, priority=priority)
        orders.setdefault(priority, []).append(made)
    ranked = [*orders["critical"], *orders["high"], *orders["normal"], *orders["low"]]
    assert agent.offered() == ranked
    assert agent.offered("?limit=2&status=pending") == ranked[:2]


def test_a_poll_says_only_what_an_agent_needs(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    assert agent.ok("GET", "/commands") == {
        "commands": [
            {
                "id": command,
                "type": "scan",
                "priority": "normal",
                "payload": SCAN,
                "created_at": clock.text(),
                "expires_at": clock.text(3600),
            }
        ],
        "poll_interval_seconds": 30,
    }


def test_a_poll_can_ask_for_some_types_only(tenant: Tenant):
    agent = tenant.agent()
    tenant.order(source_id=agent.id)
    check = tenant.order(source_id=agent.id, type="health_check", payload={})
    assert agent.offered("?types=health_check,restart") == [check]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "status=running",
        "types=",
        "types=A",
        "colour=red",
        "limit=1&limit=2",
    ],
)
def test_a_bad_poll_is_refused(tenant: Tenant, query: str):
    agent = tenant.agent()
    assert agent.refused("GET", f"/commands?{query}") == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "status=new", "created_after=1", "cursor=x", "type=%00"]
)
def test_a_bad_list_is_refused(tenant: Tenant, query: str):
    assert tenant.admin.refused("GET", f"/commands?{query}") == (400, "INVALID_REQUEST")


def test_operators_page_through_their_commands_newest_first(tenant: Tenant, clock: Clock):
    made = []
    for _ in range(7):
        clock.advance(1)
        made.append(tenant.order())
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        page = tenant.admin.ok("GET", f"/commands?limit=3{cursor and '&cursor=' + cursor}")
        seen += [command["id"] for command in page["commands"]]
        cursor, pages = page["next_cursor"], pages + 1
        tenant.order()  # what is added meanwhile moves nothing
    assert (seen, pages) == (made[::-1], 3)


def test_operators_filter_their_commands(tenant: Tenant, clock: Clock):
    agent = tenant.agent()
    old = tenant.order(source_id=agent.id)
    agent.acknowledge(old)
    clock.advance(10)
    check = tenant.order(type="health_check", payload={})

    def listed(query: str) -> list[str]:
        commands = tenant.admin.ok("GET", f"/commands?{query}")["commands"]
        return [command["id"] for command in commands]

    assert listed("status=acknowledged") == listed("type=scan") == [old]
    assert listed(f"source_id={agent.id}") == [old]
    assert listed(f"created_after={clock.text(-5)}") == [check]
    assert listed(f"created_before={clock.text(-5)}") == [old]
    assert listed("schedule_id=sch_none") == []


def test_a_pending_command_says_why_it_waits(tenant: Tenant, clock: Clock):
    command = tenant.order()
    assert tenant.command(command)["waiting_reason"] == "no_capable_source"
    agent = tenant.agent(scanners=["semgrep"])
    assert tenant.command(command)["waiting_reason"] is None
    clock.advance(180)
    assert tenant.command(command)["waiting_reason"] == "source_offline"
    agent.heartbeat(scanners=["trivy"])
    assert tenant.command(command)["waiting_reason"] == "no_capable_source"
    addressed = tenant.order(source_id=tenant.agent().id)
    assert tenant.command(addressed)["waiting_reason"] == "source_offline"
