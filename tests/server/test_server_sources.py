"""Sources and keys: made, watched, paused, rotated and ended."""

import pytest
from rediver_server_fixtures import Agent, Clock, Server, Tenant
from sqlalchemy import select

from rediver_server.models import Base


def test_a_source_is_answered_with_its_key_once(tenant: Tenant, clock: Clock):
    wanted = {"name": "build-1", "type": "agent", "capabilities": ["semgrep"], "metadata": {"a": 1}}
    reply = tenant.admin.call("POST", "/sources", wanted)
    made = reply.json
    assert reply.status_code == 201
    assert reply.headers["Location"] == f"/api/v1/sources/{made['id']}"
    key = made.pop("api_key")
    assert made == {
        "id": made["id"],
        "api_key_prefix": key[:14],
        "name": "build-1",
        "type": "agent",
        "status": "pending",
        "created_at": clock.text(),
    }
    seen = tenant.admin.call("GET", f"/sources/{made['id']}")
    assert key not in seen.text
    assert (seen.json["capabilities"], seen.json["metadata"]) == (["semgrep"], {"a": 1})
    (listed,) = tenant.admin.ok("GET", "/sources")["sources"]
    assert listed == seen.json


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"type": "agent"}, "name"),
        ({"name": "", "type": "agent"}, "name"),
        ({"name": "n", "type": "robot"}, "type"),
        ({"name": "n", "type": "agent", "paused": True}, "paused"),
    ],
)
def test_a_bad_source_is_refused(tenant: Tenant, wanted: dict, field: str):
    reply = tenant.admin.call("POST", "/sources", wanted)
    assert reply.json["error"]["details"]["field"] == field


def test_a_source_is_online_then_stale_then_offline(tenant: Tenant, clock: Clock):
    agent = tenant.agent()

    def status() -> str:
        return tenant.admin.ok("GET", f"/sources/{agent.id}")["status"]

    assert status() == "pending"
    agent.heartbeat(version="1.2", hostname="build-1")
    seen = [status()]
    for seconds in (89, 1, 89, 1):
        clock.advance(seconds)
        seen.append(status())
    assert seen == ["online", "online", "stale", "stale", "offline"]
    heartbeat = tenant.admin.ok("GET", f"/sources/{agent.id}")["heartbeat"]
    assert heartbeat == {
        "name": "agent",
        "status": "running",
        "version": "1.2",
        "hostname": "build-1",
    }


def test_two_live_instances_of_one_source_are_a_conflict(tenant: Tenant, clock: Clock):
    agent = tenant.agent()

    def conflict() -> bool:
        return tenant.admin.ok("GET", f"/sources/{agent.id}")["conflict"]

    agent.heartbeat(instance_id="one")
    assert not conflict()
    agent.heartbeat(instance_id="two")
    assert conflict()
    agent.heartbeat(instance_id="one", status="stopped")
    assert not conflict()
    agent.heartbeat(instance_id="one")
    clock.advance(60)
    agent.heartbeat(instance_id="two")
    assert conflict()
    clock.advance(30)
    assert not conflict()


def test_a_heartbeat_with_absurdly_long_lists_is_refused(tenant: Tenant):
    agent = tenant.agent()
    said = {"name": "n", "status": "running", "scanners": ["x"] * 1001}
    assert agent.refused("POST", "/ingest/heartbeat", said) == (400, "INVALID_REQUEST")


def test_keys_rotate_without_downtime(tenant: Tenant):
    agent = tenant.agent()
    path = f"/sources/{agent.id}/keys"
    made = tenant.admin.ok("POST", path)
    assert set(made) == {"id", "api_key", "api_key_prefix", "created_at", "expires_at"}
    fresh = Agent(agent.app, made["api_key"], agent.id)
    assert agent.offered() == fresh.offered() == []
    assert tenant.admin.refused("POST", path) == (409, "CONFLICT")
    keys = tenant.admin.ok("GET", f"/sources/{agent.id}")["keys"]
    (old,) = [key["id"] for key in keys if key["id"] != made["id"]]
    for _ in range(2):
        assert tenant.admin.call("DELETE", f"{path}/{old}").status_code == 204
    assert agent.refused("GET", "/commands") == (401, "UNAUTHORIZED")
    assert fresh.offered() == []
    tenant.admin.ok("POST", path)


def test_a_key_expires(tenant: Tenant, clock: Clock):
    source = tenant.agent()
    path = f"/sources/{source.id}/keys"
    past = {"expires_at": clock.text()}
    assert tenant.admin.refused("POST", path, past) == (400, "INVALID_REQUEST")
    made = tenant.admin.ok("POST", path, {"expires_at": clock.text(60)})
    agent = Agent(source.app, made["api_key"], source.id)
    clock.advance(59)
    assert agent.offered() == []
    clock.advance(1)
    assert agent.refused("GET", "/commands") == (401, "UNAUTHORIZED")
    tenant.admin.ok("POST", path)  # an expired key is not counted as live


def test_the_use_of_a_key_is_noted_by_the_minute(tenant: Tenant, clock: Clock):
    agent = tenant.agent()

    def last_used() -> str | None:
        return tenant.admin.ok("GET", f"/sources/{agent.id}")["keys"][0]["last_used_at"]

    assert last_used() is None
    first = clock.text()
    agent.offered()
    clock.advance(59)
    agent.offered()
    assert last_used() == first
    clock.advance(1)
    agent.offered()
    assert last_used() == clock.text()


def test_only_a_digest_of_a_key_is_kept(tenant: Tenant, server: Server):
    agent = tenant.agent()
    agent.offered()
    with server.app.extensions["rediver"].read() as tx:
        rows = [tx.execute(select(table)).all() for table in Base.metadata.sorted_tables]
    stored = repr(rows)
    assert agent.id in stored
    for key in (agent.key, tenant.admin.key):
        assert key not in stored
        assert len(key) >= 7 + 43  # 256 bits in base64


def test_a_deleted_source_gives_back_what_it_held(tenant: Tenant):
    agent = tenant.agent(scanners=["semgrep"])
    other = tenant.agent(scanners=["semgrep"])
    addressed, held = tenant.order(source_id=agent.id), tenant.order(source_id=agent.id)
    pool, unwanted = tenant.order(), tenant.order()
    for command in (held, pool, unwanted):
        agent.acknowledge(command)
    tenant.admin.ok("DELETE", f"/commands/{unwanted}")

    path = f"/sources/{agent.id}"
    assert tenant.admin.call("DELETE", path).status_code == 204
    for command in (addressed, held, unwanted):
        assert tenant.status(command) == "cancelled"
    assert other.offered() == [pool]
    assert other.acknowledge(pool)["attempt"] == 2
    assert agent.refused("GET", "/commands") == (401, "UNAUTHORIZED")
    assert tenant.admin.refused("GET", path) == (404, "NOT_FOUND")
    assert tenant.admin.refused("DELETE", path) == (404, "NOT_FOUND")
    assert [row["id"] for row in tenant.admin.ok("GET", "/sources")["sources"]] == [other.id]
    order = {"type": "health_check", "payload": {}, "source_id": agent.id}
    assert tenant.admin.refused("POST", "/commands", order) == (404, "NOT_FOUND")
