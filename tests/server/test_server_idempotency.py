"""CONTRACT section 1, `Idempotency-Key`: however often a creating POST comes, it creates once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rediver_server_fixtures import Caller, Clock, Server, Tenant
from werkzeug.test import TestResponse

CHECK = {"type": "health_check", "payload": {}}
SOURCE = {"name": "agent", "type": "agent"}
THREADS = 16
DAY = 24 * 3600


def order(who: Caller, key: str = "k-1", **more: Any) -> TestResponse:
    return who.call("POST", "/commands", {**CHECK, **more}, Idempotency_Key=key)


def count(tenant: Tenant, what: str = "commands") -> int:
    return len(tenant.admin.ok("GET", f"/{what}?limit=100")[what])


def code(reply: TestResponse) -> tuple[int, str]:
    return reply.status_code, reply.json["error"]["code"]


def test_the_same_key_and_body_are_answered_the_same_and_create_nothing(
    tenant: Tenant, clock: Clock
):
    first = order(tenant.admin, payload={})
    agent = tenant.agent(command_types=["health_check"])
    agent.acknowledge(first.json["id"])
    clock.advance(600)
    again = order(tenant.admin, payload={})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json == first.json  # as it was then, not as the command is by now
    assert again.headers["Location"] == first.headers["Location"]
    assert count(tenant) == 1


def test_the_body_is_compared_by_what_it_means(tenant: Tenant):
    first = order(tenant.admin, priority="high")
    text = '{ "payload" : {}, "priority":"high", "type":"health_check" }'
    reply = tenant.admin.app.test_client().post(
        "/api/v1/commands",
        data=text,
        headers={
            "Authorization": f"Bearer {tenant.admin.key}",
            "Content-Type": "application/json",
            "Idempotency-Key": "k-1",
        },
    )
    assert reply.json == first.json


def test_another_body_under_the_same_key_is_a_mismatch(tenant: Tenant):
    order(tenant.admin)
    assert code(order(tenant.admin, priority="high")) == (409, "IDEMPOTENCY_MISMATCH")
    assert count(tenant) == 1


def test_a_key_is_forgotten_after_a_day(tenant: Tenant, clock: Clock):
    first = order(tenant.admin).json["id"]
    clock.advance(DAY - 1)
    assert order(tenant.admin).json["id"] == first
    clock.advance(1)
    second = order(tenant.admin, priority="high").json["id"]
    assert second != first
    assert order(tenant.admin, priority="high").json["id"] == second


@pytest.mark.parametrize("wrong", [{"payload": None}, {"source_id": "src_nobody"}])
def test_a_refused_request_is_not_remembered(tenant: Tenant, wrong: dict):
    assert order(tenant.admin, **wrong).status_code in (400, 404)
    assert order(tenant.admin).status_code == 201


def test_a_key_means_something_to_its_own_tenant_only(tenant: Tenant, server: Server):
    other = server.tenant()
    ids = {order(each.admin).json["id"] for each in (tenant, other)}
    assert len(ids) == 2
    operator = tenant.member("operator")  # another person of the same tenant
    assert order(operator).json["id"] in ids
    assert (count(tenant), count(other)) == (1, 1)


def test_a_key_means_something_to_its_own_route_only(tenant: Tenant):
    order(tenant.admin)
    made = tenant.admin.call("POST", "/sources", SOURCE, Idempotency_Key="k-1")
    assert made.status_code == 201
    keys = [
        tenant.admin.call("POST", f"/sources/{source}/keys", {}, Idempotency_Key="k-1")
        for source in (made.json["id"], tenant.agent().id)
    ]
    assert [reply.status_code for reply in keys] == [201, 201]


@pytest.mark.parametrize("key", ["", "k" * 256, "k\tk"])
def test_a_key_that_cannot_be_one_is_refused(tenant: Tenant, key: str):
    assert code(order(tenant.admin, key)) == (400, "INVALID_REQUEST")
    assert count(tenant) == 0


@pytest.mark.parametrize(
    ("path", "body", "secret"),
    [
        ("/sources", SOURCE, "api_key"),
        ("/sources/{source}/keys", {}, "api_key"),
        ("/enrollment-tokens", {}, "token"),
    ],
)
def test_a_reply_that_carried_a_key_is_not_said_again(
    tenant: Tenant, path: str, body: dict, secret: str
):
    path = path.format(source=tenant.agent().id)
    first, again = (tenant.admin.call("POST", path, body, Idempotency_Key="k") for _ in range(2))
    assert first.status_code == 201
    assert first.json[secret].startswith("rs_")
    assert code(again) == (409, "IDEMPOTENCY_REPLAY")
    assert again.json["error"]["details"] == {"id": first.json["id"]}
    assert first.json[secret] not in again.text
    other = tenant.admin.call("POST", path, {**body, "colour": 1}, Idempotency_Key="k")
    assert other.status_code == 400  # an unknown field is refused before anything is looked up


def test_a_source_and_a_key_are_made_once(tenant: Tenant):
    for _ in range(3):
        tenant.admin.call("POST", "/sources", SOURCE, Idempotency_Key="k")
    assert count(tenant, "sources") == 1
    (source,) = tenant.admin.ok("GET", "/sources")["sources"]
    for _ in range(3):
        path = f"/sources/{source['id']}/keys"
        tenant.admin.call("POST", path, {}, Idempotency_Key="k")
    assert len(tenant.admin.ok("GET", f"/sources/{source['id']}")["keys"]) == 2


def test_a_retried_enrollment_does_not_spend_the_token_twice(tenant: Tenant):
    token = tenant.admin.ok("POST", "/enrollment-tokens", {"max_uses": 2})["token"]
    newcomer = Caller(tenant.server.app, token)
    first, again = (
        newcomer.call("POST", "/enroll", {"name": "host"}, Idempotency_Key="k") for _ in range(2)
    )
    assert first.status_code == 201
    assert code(again) == (409, "IDEMPOTENCY_REPLAY")
    assert again.json["error"]["details"] == {"id": first.json["id"]}
    assert newcomer.ok("POST", "/enroll", {"name": "another"})["id"] != first.json["id"]


def test_of_many_twins_at_once_exactly_one_creates(tenant: Tenant):
    together = threading.Barrier(THREADS)

    def send(_: int) -> TestResponse:
        together.wait()
        return order(tenant.admin)

    with ThreadPoolExecutor(THREADS) as pool:
        replies = list(pool.map(send, range(THREADS)))
    made = [reply for reply in replies if reply.status_code == 201]
    assert made
    assert all(reply.json == made[0].json for reply in made)
    for reply in replies:
        if reply not in made:
            assert code(reply) == (409, "IDEMPOTENCY_IN_PROGRESS")
            assert int(reply.headers["Retry-After"]) >= 1
    assert order(tenant.admin).json == made[0].json
    assert count(tenant) == 1


def test_of_many_keys_for_a_source_at_once_it_gets_two(tenant: Tenant):
    source = tenant.agent().id  # with one key
    together = threading.Barrier(THREADS)

    def send(_: int) -> int:
        together.wait()
        return tenant.admin.call("POST", f"/sources/{source}/keys", {}).status_code

    with ThreadPoolExecutor(THREADS) as pool:
        statuses = sorted(pool.map(send, range(THREADS)))
    assert statuses == [201] + [409] * (THREADS - 1)
