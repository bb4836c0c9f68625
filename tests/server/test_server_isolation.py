"""Every route, as the application lists them: without a key, with the wrong role, of a stranger."""

import pytest
from flask import Flask
from rediver_server_fixtures import Caller, Server, Tenant

OPEN = {"/healthz", "/readyz"}
BODIES = {
    "POST /api/v1/commands": {"type": "health_check", "payload": {}},
    "POST /api/v1/commands/<id:item>/result": {
        "status": "completed",
        "completed_at": "2026-01-16T10:05:00Z",
    },
    "POST /api/v1/sources": {"name": "n", "type": "agent"},
    "PATCH /api/v1/sources/<id:item>": {"paused": True},
    "PATCH /api/v1/findings/<id:item>": {"status": "open"},
    "POST /api/v1/ingest/heartbeat": {"name": "n", "status": "running"},
    "POST /api/v1/ingest/findings": {
        "version": "1.0",
        "metadata": {"id": "r", "timestamp": "2026-01-16T10:00:00Z"},
        "tool": {"name": "semgrep"},
        "assets": [{"id": "a", "type": "repository", "value": "app"}],
        "findings": [{"type": "secret", "title": "t", "severity": "high", "fingerprint": "f"}],
    },
}


def routes(app: Flask) -> list[tuple[str, str, frozenset[str]]]:
    """Method, rule and admitted roles of every route that takes a key."""
    found = []
    for rule in app.url_map.iter_rules():
        if rule.rule in OPEN:
            continue
        admitted = getattr(app.view_functions[rule.endpoint], "admitted", None)
        assert admitted, f"{rule.rule} names no role"
        found += [(method, rule.rule, admitted) for method in rule.methods - {"HEAD"}]
    return found


@pytest.fixture
def things(tenant: Tenant) -> dict[str, str]:
    """One of everything that a path can name."""
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    agent.ok("POST", "/ingest/findings", BODIES["POST /api/v1/ingest/findings"])
    (finding,) = tenant.admin.ok("GET", "/findings")["findings"]
    key = tenant.admin.ok("POST", f"/sources/{agent.id}/keys")["id"]
    known = {"commands": command, "sources": agent.id, "findings": finding["id"], "keys": key}
    return {**known, "pool": tenant.order()}


def call(who: Caller, method: str, rule: str, things: dict[str, str]) -> tuple[int, str]:
    path = rule.removeprefix("/api/v1")
    kind = path.split("/")[1]
    path = path.replace("<id:item>", things.get(kind, "")).replace("<id:key>", things["keys"])
    reply = who.call(method, path, BODIES.get(f"{method} {rule}"))
    return reply.status_code, reply.json["error"]["code"] if reply.status_code >= 400 else ""


def test_every_route_refuses_a_caller_without_a_key(server: Server, things: dict[str, str]):
    for key in ("", "rs_src_made_up", "rs_usr_made_up", "é"):
        for method, rule, _ in routes(server.app):
            answer = call(Caller(server.app, key), method, rule, things)
            assert answer == (401, "UNAUTHORIZED"), f"{method} {rule}"


def test_every_route_admits_the_roles_it_names_and_no_other(
    tenant: Tenant, server: Server, things: dict[str, str]
):
    callers = {role: tenant.member(role) for role in ("viewer", "operator", "admin")}
    callers["source"] = tenant.agent()
    for method, rule, admitted in routes(server.app):
        if method == "DELETE":
            continue  # it would end what the others are tried on; its roles are tried below
        for role, who in callers.items():
            status, code = call(who, method, rule, things)
            assert (code == "FORBIDDEN") == (role not in admitted), f"{role} {method} {rule}"
            assert status != 401


def test_the_roles_of_the_contract(server: Server):
    expected = {
        ("GET", "/api/v1/commands"): {"source", "viewer", "operator", "admin"},
        ("POST", "/api/v1/commands"): {"operator", "admin"},
        ("DELETE", "/api/v1/commands/<id:item>"): {"operator", "admin"},
        ("PATCH", "/api/v1/findings/<id:item>"): {"operator", "admin"},
    }
    for method, rule, admitted in routes(server.app):
        agents = rule.endswith(("acknowledge", "/ack", "/progress", "/result")) or "ingest" in rule
        default = {"viewer", "operator", "admin"} if method == "GET" else {"admin"}
        wanted = expected.get((method, rule), {"source"} if agents else default)
        assert admitted == wanted, f"{method} {rule}"


def test_what_belongs_to_another_tenant_does_not_exist(server: Server, things: dict[str, str]):
    stranger = server.tenant()
    agent = stranger.agent(scanners=["semgrep"], command_types=["scan", "health_check"])
    for method, rule, admitted in routes(server.app):
        who = agent if admitted == {"source"} else stranger.admin
        status, code = call(who, method, rule, things)
        if "<id:" in rule:
            assert (status, code) == (404, "NOT_FOUND"), f"{method} {rule}"
        elif method == "GET":
            path = rule.removeprefix("/api/v1")
            assert not set(things.values()) & set(ids(stranger.admin.ok("GET", path)))
            if "source" in admitted:
                assert ids(agent.ok("GET", path)) == []


def ids(listed: dict) -> list[str]:
    (rows,) = (value for value in listed.values() if isinstance(value, list))
    return [row["id"] for row in rows]


def test_filters_do_not_reach_into_another_tenant(server: Server, things: dict[str, str]):
    stranger = server.tenant()
    for query in (f"source_id={things['sources']}", f"command_id={things['commands']}"):
        assert stranger.admin.ok("GET", f"/findings?{query}")["findings"] == []


def test_a_report_for_another_tenants_command_is_doubted(server: Server, things: dict[str, str]):
    agent = server.tenant().agent()
    report = BODIES["POST /api/v1/ingest/findings"]
    metadata = {**report["metadata"], "command_id": things["commands"]}
    reply = agent.ok("POST", "/ingest/findings", {**report, "metadata": metadata})
    assert (reply["findings_created"], len(reply["errors"])) == (1, 1)


def test_a_source_header_of_another_source_is_forbidden(tenant: Tenant):
    agent, other = tenant.agent(), tenant.agent()
    for named, status in ((agent.id, 200), (other.id, 403), ("src_nobody", 403)):
        reply = agent.call("GET", "/commands", X_Rediver_Source_ID=named)
        assert reply.status_code == status
