"""Every call that the published document names: without a key, with a wrong role, of a stranger.

The calls, their roles and their bodies are the document's own. A route that it does not name, or
one that it names and nobody serves, fails here.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from rediver_server_fixtures import Caller, Server, Tenant
from werkzeug.test import TestResponse

from rediver_agent.contract import routes
from rediver_agent.contract.openapi import openapi_document

NIGHTLY = {
    "name": "nightly",
    "scanner": "semgrep",
    "target": "/srv/app",
    "cron_expression": "0 2 * * *",
}
NOBODYS = {"source_id": None}  # examples name things that are not there
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}


class Call(NamedTuple):
    """One method of one path, as the document has it."""

    method: str
    path: str
    roles: frozenset[str]
    body: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def calls() -> Iterator[Call]:
    for path, methods in openapi_document()["paths"].items():
        for method, said in methods.items():
            content = said.get("requestBody", {}).get("content", {})
            examples = content.get("application/json", {}).get("examples", {"": {"value": None}})
            (body, *_) = (example["value"] for example in examples.values())
            yield Call(method.upper(), path, frozenset(said["x-roles"]), body)


CALLS = list(calls())
KEYED = [call for call in CALLS if call.roles]


class Things(dict[str, str]):
    """One of everything that a path can name: its id, by the path's first word."""

    def path(self, call: Call) -> str:
        """The path of a call to these."""
        kind = call.path.removeprefix(f"{routes.API}/").split("/")[0]
        known = {"id": self.get(kind, ""), "key_id": self["keys"], "file": "start.js"}
        return call.path.format_map(known)


NOTHING = Things(
    {
        "commands": "cmd_nothing",
        "sources": "src_nothing",
        "keys": "key_nothing",
        "findings": "fnd_nothing",
        "scan-schedules": "sch_nothing",
        "enrollment-tokens": "enr_nothing",
    }
)


@pytest.fixture
def things(tenant: Tenant) -> Things:
    agent, admin = tenant.agent(), tenant.admin
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    report = next(call.body for call in CALLS if call.path == routes.INGEST_FINDINGS)
    agent.ok("POST", "/ingest/findings", report)
    (finding,) = admin.ok("GET", "/findings")["findings"]
    return Things(
        {
            "commands": command,
            "sources": agent.id,
            "keys": admin.ok("POST", f"/sources/{agent.id}/keys")["id"],
            "findings": finding["id"],
            "scan-schedules": admin.ok("POST", "/scan-schedules", NIGHTLY)["id"],
            "enrollment-tokens": admin.ok("POST", "/enrollment-tokens")["id"],
            "pool": tenant.order(),
        }
    )


def everybody(tenant: Tenant) -> dict[str, Caller]:
    """One caller of each role."""
    people = {role: tenant.member(role) for role in ("viewer", "operator", "admin")}
    token = tenant.admin.ok("POST", "/enrollment-tokens", {"max_uses": 1000})["token"]
    return {**people, "source": tenant.agent(), "enroll": Caller(tenant.server.app, token)}


def send(who: Caller, call: Call, things: Things) -> TestResponse:
    body = call.body
    if isinstance(body, dict) and "source_id" in body:
        body = {**body, **NOBODYS}
    auth = {"Authorization": f"Bearer {who.key}"} if who.key else {}
    document = {} if body is None else {"json": body}
    upgrade = UPGRADE if call.path == routes.WEBSOCKET else {}
    client = who.app.test_client()
    return client.open(things.path(call), method=call.method, headers=auth | upgrade, **document)


def refusal(reply: TestResponse) -> tuple[int, str]:
    """Status, and the code of an error."""
    return reply.status_code, reply.json["error"]["code"] if reply.status_code >= 400 else ""


def test_the_document_names_every_route_and_no_other(server: Server):
    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", "{}", rule.rule))
        for rule in server.app.url_map.iter_rules()
        for method in (rule.methods or {"GET"}) - {"HEAD", "OPTIONS"}
    }
    named = {(call.method, re.sub(r"\{\w+\}", "{}", call.path)) for call in CALLS}
    assert named - served == set(), "named, but not served"
    assert served - named == set(), "served, but not named"


def test_every_call_refuses_a_caller_without_a_key(server: Server, things: Things):
    wrong = []
    for key in ("", "rs_src_made_up", "rs_usr_made_up", "rs_enr_made_up", "é"):
        for call in KEYED:
            reply = send(Caller(server.app, key), call, things)
            answer = (*refusal(reply), reply.headers.get("WWW-Authenticate"))
            if answer != (401, "UNAUTHORIZED", "Bearer"):
                wrong.append((str(call), key, answer))
    assert wrong == []


def test_every_call_admits_the_roles_that_the_document_names_and_no_other(
    tenant: Tenant, things: Things
):
    wrong = []
    for role, who in everybody(tenant).items():
        for call in KEYED:
            admitted = role in call.roles
            if admitted and call.path == routes.WEBSOCKET:
                continue  # it would stay open; its own tests go on from here
            target = NOTHING if call.method == "DELETE" and admitted else things
            reply = send(who, call, target)
            if (reply.status_code in (401, 403)) == admitted or reply.status_code >= 500:
                wrong.append((role, str(call), refusal(reply)))
    assert wrong == []


def test_the_roles_of_the_contract():
    """Every GET is the viewer's; what changes things is the operator's, what opens doors the
    admin's; what an agent says is a source's alone."""
    people = {"viewer", "operator", "admin"}
    by_call = {str(call): set(call.roles) for call in KEYED}
    assert by_call.pop(f"GET {routes.COMMANDS}") == {"source", *people}
    assert by_call.pop(f"GET {routes.WEBSOCKET}") == {"source"}
    assert by_call.pop(f"POST {routes.ENROLL}") == {"enroll"}
    said_by_agents = ("acknowledge", "/ack", "/progress", "/result", "/claim", "/results")
    for call, roles in by_call.items():
        if call.endswith(said_by_agents) or "/ingest/" in call:
            assert roles == {"source"}, call
        elif call.startswith("GET"):
            assert roles == people, call
        elif "/sources" in call or "enrollment" in call:
            assert roles == {"admin"}, call
        else:
            assert roles == {"operator", "admin"}, call


def test_what_belongs_to_another_tenant_does_not_exist(server: Server, things: Things):
    callers = everybody(server.tenant())
    wrong = []
    for call in KEYED:
        who = callers["admin" if "admin" in call.roles else min(call.roles)]
        if "{" not in call.path:
            continue
        theirs, nobodys = send(who, call, things), send(who, call, NOTHING)
        if (refusal(theirs), theirs.json) != ((404, "NOT_FOUND"), nobodys.json):
            wrong.append((str(call), refusal(theirs), refusal(nobodys)))
    assert wrong == []


def test_no_list_and_no_export_has_anything_of_another_tenant(server: Server, things: Things):
    stranger = server.tenant()
    agent = stranger.agent(scanners=["semgrep"], command_types=["scan", "health_check"])
    asset = next(call.body for call in CALLS if call.path == routes.INGEST_FINDINGS)["assets"][0]
    theirs = {*things.values(), asset["value"]}
    for call in KEYED:
        if call.method != "GET" or "{" in call.path or call.path == routes.WEBSOCKET:
            continue
        who = (stranger.admin, agent) if "source" in call.roles else (stranger.admin,)
        for each in who:
            reply = send(each, call, NOTHING)
            assert reply.status_code == 200, call
            assert [thing for thing in theirs if thing in reply.text] == [], call


def test_no_call_of_a_stranger_changes_anything(tenant: Tenant, server: Server, things: Things):
    def seen() -> str:
        lists = ("/commands", "/scan-schedules", "/sources", "/findings", "/enrollment-tokens")
        return json.dumps([tenant.admin.ok("GET", path) for path in lists])

    before, callers = seen(), everybody(server.tenant())
    for call in KEYED:
        if call.path not in (routes.WEBSOCKET, routes.METRICS):
            send(callers["admin" if "admin" in call.roles else min(call.roles)], call, things)
    assert seen() == before


def test_filters_do_not_reach_into_another_tenant(server: Server, things: Things):
    stranger = server.tenant()
    for query in (f"source_id={things['sources']}", f"command_id={things['commands']}"):
        assert stranger.admin.ok("GET", f"/findings?{query}")["findings"] == []
        assert stranger.admin.ok("GET", f"/findings.sarif?{query}")["runs"] == []


def test_a_report_for_another_tenants_command_is_doubted(server: Server, things: Things):
    agent = server.tenant().agent()
    report = next(call.body for call in CALLS if call.path == routes.INGEST_FINDINGS)
    metadata = {**report["metadata"], "command_id": things["commands"]}
    reply = agent.ok("POST", "/ingest/findings", {**report, "metadata": metadata})
    assert (reply["findings_created"], len(reply["errors"])) == (1, 1)


def test_a_source_header_of_another_source_is_forbidden(tenant: Tenant):
    agent, other = tenant.agent(), tenant.agent()
    for named, status in ((agent.id, 200), (other.id, 403), ("src_nobody", 403)):
        reply = agent.call("GET", "/commands", X_Rediver_Source_ID=named)
        assert reply.status_code == status
