"""The application does what the published document says, and the document says all that it does.

Requests are made up from the document, good ones and bad ones; ids of real things stand in half of
the good ones. Every reply has a status, a type, headers and a body that the document names.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from click.testing import CliRunner
from depth import DEPTH
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rediver_server_fixtures import Caller, Scans, Server, Tenant, finding
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

from rediver_agent.contract import routes
from rediver_agent.contract.openapi import openapi_document
from rediver_server.cli import commands

DOCUMENT = openapi_document()
PATHS = DOCUMENT["paths"]
NIGHTLY = {
    "name": "nightly",
    "scanner": "semgrep",
    "target": "/srv/app",
    "cron_expression": "0 2 * * *",
}
# No schema says that a time lies ahead, that a cursor is one of ours, or that text has no NUL.
BEYOND_SCHEMAS = [positive_data_acceptance]
CALM = settings(
    max_examples=8 * DEPTH,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def people(tenant: Tenant) -> dict[str, Caller]:
    token = tenant.admin.ok("POST", "/enrollment-tokens", {"max_uses": 1000})["token"]
    return {
        "admin": tenant.admin,
        "source": tenant.agent(scanners=["semgrep"]),
        "enroll": Caller(tenant.server.app, token),
    }


@pytest.fixture
def real(tenant: Tenant, people: dict[str, Caller]) -> dict[str, str]:
    """One of everything that a path can name, by the path's first word."""
    agent = people["source"]
    command = tenant.order(source_id=agent.id)
    agent.ok("POST", f"/commands/{command}/acknowledge")
    Scans(agent, tenant.server.clock).send("f1")
    (found,) = tenant.admin.ok("GET", "/findings")["findings"]
    return {
        "commands": command,
        "findings": found["id"],
        "sources": tenant.agent("another").id,
        "scan-schedules": tenant.admin.ok("POST", "/scan-schedules", NIGHTLY)["id"],
    }


def operations(server: Server, role: str, who: Caller) -> Iterator[Any]:
    """What a role may call, with its key."""
    schema = schemathesis.openapi.from_wsgi(routes.OPENAPI, app=server.app)
    schema.config.update(headers={"Authorization": f"Bearer {who.key}"})
    for found in schema.get_all_operations():
        operation = found.ok()
        if role in operation.definition.raw["x-roles"] and operation.path != routes.WEBSOCKET:
            yield operation


def try_out(operation: Any, mode: GenerationMode, key: str, real_id: str | None) -> list[str]:
    """What is wrong with the replies to made-up requests."""
    wrong: list[str] = []
    auth = {"Authorization": f"Bearer {key}"}

    @CALM
    @given(case=operation.as_strategy(generation_mode=mode), is_real=st.booleans())
    def send(case: Any, is_real: bool) -> None:
        if mode is GenerationMode.POSITIVE:
            case.headers.pop(routes.SOURCE_ID_HEADER, None)  # of another source, it is 403
            if is_real and real_id and "id" in case.path_parameters:
                case.path_parameters["id"] = real_id
        reply = case.call(headers=auth)
        try:
            case.validate_response(reply, headers=auth, excluded_checks=BEYOND_SCHEMAS)
        except FailureGroup as group:
            wrong.extend(f"{operation.label}: {fault}\n{reply.text}" for fault in group.exceptions)

    send()
    return wrong


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("role", ["admin", "source", "enroll"])
def test_whatever_is_sent_the_reply_is_one_that_the_document_names(
    server: Server, people: dict[str, Caller], real: dict[str, str], role: str, mode: GenerationMode
):
    wrong: list[str] = []
    for operation in operations(server, role, people[role]):
        if mode is GenerationMode.NEGATIVE and operation.path == routes.METRICS:
            continue  # it takes nothing that could be wrong
        kind = operation.path.removeprefix(f"{routes.API}/").split("/")[0]
        ends = operation.method == "delete" and kind == "sources"
        wrong += try_out(operation, mode, people[role].key, None if ends else real.get(kind))
    assert wrong == []


def test_every_path_refuses_other_methods_and_says_which_it_takes(server: Server):
    client, taken = server.app.test_client(), {path: set(said) for path, said in PATHS.items()}
    for path in (routes.COMMANDS_CLAIM, routes.COMMANDS_RESULTS, routes.COMMANDS_BATCH):
        taken[path] |= taken[routes.COMMAND]  # what looks like an id could be one
    taken[routes.COMMANDS_CANCEL] |= taken[routes.COMMAND]
    for path, methods in taken.items():
        for method in {"get", "post", "put", "patch", "delete", "options", "trace"} - methods:
            reply = client.open(path.format(id="a", key_id="b", file="c"), method=method)
            answer = (reply.status_code, reply.json["error"]["code"])
            assert answer == (405, "METHOD_NOT_ALLOWED"), f"{method} {path}"
            allowed = {name.strip().lower() for name in reply.headers["Allow"].split(",")}
            assert allowed - {"head"} == methods, path


def test_every_creation_says_where_the_new_one_is(tenant: Tenant):
    made = tenant.admin.call("POST", "/scan-schedules", NIGHTLY)
    assert made.headers["Location"] == f"{routes.SCHEDULES}/{made.json['id']}"


def test_the_document_is_served_to_anybody(server: Server):
    reply = server.app.test_client().get(routes.OPENAPI)
    assert (reply.status_code, reply.mimetype) == (200, "application/json")
    assert reply.json == DOCUMENT


def test_the_command_line_prints_it_without_a_database():
    done = CliRunner().invoke(commands, ["openapi", "--database-url", "anything"])
    assert (done.exit_code, json.loads(done.output)) == (0, DOCUMENT)


def test_the_page_loads_only_what_lies_beside_it(server: Server):
    client = server.app.test_client()
    page = client.get(routes.DOCS, buffered=True)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "http" not in policy
    named = [each.split('"')[0] for each in page.text.replace('src="', 'href="').split('href="')]
    files = [name for name in named[1:] if name.startswith("docs/")]
    assert len(files) == 4
    for name in files:
        reply = client.get(f"{routes.API}/{name}", buffered=True)
        assert reply.status_code == 200
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "<script>" not in page.text
    assert client.get(f"{routes.DOCS}/../app.py").status_code == 404
    assert client.get(f"{routes.DOCS}/index.css").status_code == 404


def test_findings_are_exported_as_sarif(tenant: Tenant, server: Server):
    scans = Scans(tenant.agent(), server.clock)
    where = {"path": "src/a b.py", "start_line": 3}
    body = scans.body("f1", "f2")
    body["findings"][0] |= {"rule_id": "sql", "location": where, "severity": "critical"}
    scans.counts(body)
    scans.send("t1", tool="trivy")
    reply = tenant.admin.call("GET", "/findings.sarif")
    assert reply.mimetype == "application/sarif+json"
    assert reply.headers["Content-Disposition"] == "attachment; filename=findings.sarif"
    runs = {run["tool"]["driver"]["name"]: run for run in reply.json["runs"]}
    assert list(runs) == ["semgrep", "trivy"]
    found = {each["fingerprints"]["rediver/v1"]: each for each in runs["semgrep"]["results"]}
    assert found.keys() == {"f1", "f2"}
    assert found["f1"]["ruleId"] == "sql"
    assert found["f1"]["level"] == "error"
    assert found["f1"]["properties"]["security-severity"] == "9.5"
    (place,) = found["f1"]["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "src/a%20b.py"
    about = {"fullyQualifiedName": "git.example/app", "kind": "repository"}
    assert place["logicalLocations"] == [about]
    assert found["f2"]["locations"] == [{"logicalLocations": [about]}]
    rules = {rule["id"] for rule in runs["semgrep"]["tool"]["driver"]["rules"]}
    assert rules == {"sql", "vulnerability"}


def test_an_export_has_what_the_filters_say_and_by_default_what_is_open(tenant: Tenant):
    scans = Scans(tenant.agent(), tenant.server.clock)
    scans.send("open", "excused", "gone")
    rows = {row["fingerprint"]: row for row in tenant.admin.ok("GET", "/findings")["findings"]}
    said = {"status": "accepted_risk", "reason": "test data"}
    tenant.admin.ok("PATCH", f"/findings/{rows['excused']['id']}", said)
    scans.send("open", "excused")

    def exported(query: str = "") -> list[Any]:
        runs = tenant.admin.ok("GET", f"/findings.sarif{query}")["runs"]
        return [result for run in runs for result in run["results"]]

    assert [each["fingerprints"]["rediver/v1"] for each in exported()] == ["open"]
    (excused,) = exported("?status=accepted_risk")
    assert excused["suppressions"] == [{"kind": "external", "justification": "test data"}]
    (gone,) = exported("?status=resolved")
    assert gone["baselineState"] == "absent"
    assert exported("?severity=low") == []
    assert tenant.admin.refused("GET", "/findings.sarif?limit=5")[0] == 400


def test_an_export_has_every_finding_once_however_many_pages_it_takes(tenant: Tenant):
    scans = Scans(tenant.agent(), tenant.server.clock)
    for part in range(3):
        scans.send(*(f"f{part}-{number}" for number in range(90)), coverage_key=str(part))
    (run,) = tenant.admin.ok("GET", "/findings.sarif")["runs"]
    names = [result["fingerprints"]["rediver/v1"] for result in run["results"]]
    assert len(names) == len(set(names)) == 270


def test_an_export_keeps_no_transaction_open_while_a_client_reads(tenant: Tenant):
    scans = Scans(tenant.agent(), tenant.server.clock)
    whole = scans.body()
    whole["findings"] = [finding(f"f{number}", message="x" * 1000) for number in range(250)]
    scans.counts(whole)
    reply = tenant.admin.call("GET", "/findings.sarif")
    pool = tenant.server.app.extensions["rediver"].engine.pool
    pieces = iter(reply.response)
    first = next(pieces)
    assert pool.checkedout() == 0
    assert len(first) < 200_000 < len(b"".join(pieces))
