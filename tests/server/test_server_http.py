"""CONTRACT section 1: bodies, errors and headers, whatever is sent."""

import gzip
import json
import tracemalloc

import pytest
import sqlalchemy as sa
from rediver_server_fixtures import Server, Tenant
from werkzeug.test import TestResponse

MIB = 1024 * 1024


def send(tenant: Tenant, body: bytes, path: str = "/sources", **headers: str) -> TestResponse:
    sent = {"Content-Type": "application/json", **headers}
    return tenant.server.app.test_client().post(
        f"/api/v1{path}",
        data=body,
        headers={"Authorization": f"Bearer {tenant.admin.key}", **sent},
    )


def source(**extra: object) -> bytes:
    return json.dumps({"name": "n", "type": "agent", **extra}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"name": NaN}',
        b'{"name": "n", "type": "agent", "metadata": {"x": 1e400}}',
        b'{"name": "n", "type": "agent", "metadata": {"x": -1e400}}',
        b'{"name": "n", "type": "agent", "metadata": {"x": ' + b"9" * 400 + b"}}",
        b'{"name": "\xff", "type": "agent"}',
        b'\xef\xbb\xbf{"name": "n", "type": "agent"}',
        '{"name": "n", "type": "agent"}'.encode("utf-16"),
        b'{"name": "n\\u0000", "type": "agent"}',
        b'{"name": "n", "type": "agent", "metadata": {"a\\u0000": 1}}',
        b'{"name": "\\ud800", "type": "agent"}',
        source(metadata={"x": 1}) + b"}",
        source().replace(b"}", b', "metadata": {"x": ' + b"[" * 99 + b"]" * 99 + b"}}"),
        source().replace(b"}", b', "metadata": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"),
    ],
)
def test_what_json_or_a_database_forbids_is_400(tenant: Tenant, body: bytes):
    reply = send(tenant, body)
    assert (reply.status_code, reply.json["error"]["code"]) == (400, "INVALID_REQUEST")


def test_a_body_may_be_nested_a_hundred_deep_and_have_large_numbers(tenant: Tenant):
    deep = b', "metadata": {"y": ' + b"9" * 300 + b', "x": ' + b"[" * 98 + b"]" * 98 + b"}}"
    assert send(tenant, source().replace(b"}", deep)).status_code == 201


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json; charset=UTF-8"}, 201),
        ({"Content-Encoding": "zstd"}, 415),
        ({"Content-Encoding": "gzip, gzip"}, 415),
        ({"Content-Encoding": "gzip"}, 400),
        ({"Content-Encoding": "identity"}, 201),
    ],
)
def test_the_headers_of_a_body_decide(tenant: Tenant, headers: dict[str, str], status: int):
    assert send(tenant, source(), **headers).status_code == status


def test_gzip_is_read(tenant: Tenant):
    reply = send(tenant, gzip.compress(source()), **{"Content-Encoding": "gzip"})
    assert reply.status_code == 201


@pytest.mark.parametrize(
    "damage", [lambda body: body[:-9], lambda body: body + b"more", lambda _: b"x"]
)
def test_damaged_gzip_is_400(tenant: Tenant, damage):
    body = damage(gzip.compress(source()))
    assert send(tenant, body, **{"Content-Encoding": "gzip"}).status_code == 400


def test_a_body_over_the_limit_is_413(tenant: Tenant):
    padding = "x" * (10 * MIB)
    reply = send(tenant, source(description=padding))
    assert (reply.status_code, reply.json["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_a_body_at_the_limit_is_read(tenant: Tenant):
    body = source()
    padded = body + b" " * (10 * MIB - len(body))
    assert send(tenant, padded).status_code == 201
    assert send(tenant, padded + b" ").status_code == 413
    assert send(tenant, gzip.compress(padded), **{"Content-Encoding": "gzip"}).status_code == 201


def test_a_gzip_bomb_is_cut_off_while_it_inflates(tenant: Tenant):
    bomb = gzip.compress(bytes(250 * MIB))
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        assert send(tenant, bomb, **{"Content-Encoding": "gzip"}).status_code == 413
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()


def test_an_empty_body_counts_as_an_empty_object(tenant: Tenant):
    agent = tenant.agent()
    command = tenant.order(source_id=agent.id)
    client = tenant.server.app.test_client()
    for headers in ({"Content-Type": "application/json"}, {}):
        key = {"Authorization": f"Bearer {agent.key}"}
        reply = client.post(f"/api/v1/commands/{command}/acknowledge", headers=key | headers)
        assert reply.status_code == 200
    assert send(tenant, b"").json["error"]["details"] == {"field": "name", "reason": "required"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/api/v1/nothing", 404, "NOT_FOUND"),
        ("GET", "/api/v1/commands/", 404, "NOT_FOUND"),
        ("GET", "//api/v1/commands", 404, "NOT_FOUND"),
        ("GET", "/api/v1/commands/a%00b", 404, "NOT_FOUND"),
        ("PUT", "/api/v1/commands", 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/api/v1/commands", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/healthz", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/v1/commands", 401, "UNAUTHORIZED"),
    ],
)
def test_every_error_is_json_with_a_request_id(
    server: Server, method: str, path: str, status: int, code: str
):
    reply = server.app.test_client().open(path, method=method)
    assert (reply.status_code, reply.mimetype) == (status, "application/json")
    assert reply.json["error"]["code"] == code
    assert set(reply.json["error"]) == {"code", "message", "details"}
    assert reply.headers["X-Request-ID"]
    assert reply.headers["X-Rediver-Contract"] == "1"
    assert (reply.headers.get("Allow") is not None) == (status == 405)


def test_a_crash_is_answered_without_a_traceback_and_logged_with_its_request(
    server: Server, caplog: pytest.LogCaptureFixture
):
    @server.app.get("/crash")
    def crash() -> None:
        raise ZeroDivisionError("secret detail")

    reply = server.app.test_client().get("/crash", headers={"X-Request-ID": "abc-1"})
    assert (reply.status_code, reply.json["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in reply.text
    assert reply.headers["X-Request-ID"] == "abc-1"
    assert "abc-1" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_request_id_that_could_forge_a_log_line_is_replaced(server: Server):
    sent = {"X-Request-ID": "a b"}
    reply = server.app.test_client().get("/healthz", headers=sent)
    assert reply.headers["X-Request-ID"] != "a b"


def test_numbers_larger_than_any_column_do_no_harm(tenant: Tenant):
    agent, huge = tenant.agent(), 10**30
    command = tenant.order(source_id=agent.id)
    agent.acknowledge(command)
    said = {"command_id": command, "attempt": huge}
    assert agent.heartbeat(total_scans=huge, running=[said])["lost"] == [command]
    path = f"/commands/{command}"
    result = {"status": "failed", "completed_at": "2026-01-16T10:05:00Z", "duration_ms": huge}
    stale = (409, "STALE_ATTEMPT")
    assert agent.refused("POST", f"{path}/progress", {"attempt": huge}) == stale
    assert agent.refused("POST", f"{path}/result", {**result, "attempt": huge}) == stale
    assert agent.ok("POST", f"{path}/result", result)["accepted"]
    metadata = {"id": "r", "timestamp": "2026-01-16T10:00:00Z", "attempt": huge}
    report = {"version": "1.0", "metadata": {**metadata, "command_id": command}}
    agent.ok("POST", "/ingest/findings", {**report, "tool": {"name": "t"}})


def test_health_and_readiness(server: Server):
    client = server.app.test_client()
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json["status"] == "ready"


def test_a_server_without_its_schema_is_not_ready(server: Server):
    with server.app.extensions["rediver"].engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    reply = server.app.test_client().get("/readyz")
    assert (reply.status_code, reply.json["error"]["code"]) == (503, "UNAVAILABLE")
    assert "migrate" in reply.json["error"]["message"]


GONE = {
    "sqlite": "DROP TABLE command_events",
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
}


def test_a_database_that_fails_is_503_and_to_be_tried_again(server: Server, tenant: Tenant):
    tenant.order()  # so that a connection is open
    engine = sa.create_engine(server.app.extensions["rediver"].engine.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(GONE[engine.dialect.name])
    engine.dispose()
    reply = tenant.admin.call("POST", "/commands", {"type": "health_check", "payload": {}})
    assert (reply.status_code, reply.json["error"]["code"]) == (503, "UNAVAILABLE")
    assert reply.headers["Retry-After"] == "1"
