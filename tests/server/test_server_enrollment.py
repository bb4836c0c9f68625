"""CONTRACT section 4: tokens with which agents make themselves a source, and nothing else."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rediver_server_fixtures import Agent, Caller, Clock, Server, Tenant
from sqlalchemy import select

from rediver_server.limits import Rates
from rediver_server.models import EnrollmentToken
from rediver_server.settings import Settings

TOKENS = "/enrollment-tokens"
UNAUTHORIZED = (401, "UNAUTHORIZED")
FORBIDDEN = (403, "FORBIDDEN")


def token(tenant: Tenant, **wanted: Any) -> Caller:
    """Somebody with a new token."""
    made = tenant.admin.ok("POST", TOKENS, wanted)
    return Caller(tenant.server.app, made["token"], made["id"])


def test_a_token_is_shown_once(tenant: Tenant, clock: Clock):
    reply = tenant.admin.call("POST", TOKENS)
    made = reply.json
    assert reply.status_code == 201
    assert made["token"].startswith("rs_enr_")
    assert len(made["token"]) >= 7 + 43  # 256 bits in base64
    assert (made["max_uses"], made["expires_at"]) == (1, clock.text(86_400))
    listed = tenant.admin.call("GET", TOKENS)
    assert made["token"] not in listed.text
    assert listed.json == {
        "enrollment_tokens": [
            {
                "id": made["id"],
                "token_prefix": made["token"][:14],
                "max_uses": 1,
                "uses": 0,
                "created_at": clock.text(),
                "expires_at": clock.text(86_400),
            }
        ],
        "next_cursor": None,
    }


def test_only_a_digest_of_a_token_is_kept(tenant: Tenant, server: Server):
    made = token(tenant)
    with server.app.extensions["rediver"].read() as tx:
        (row,) = tx.scalars(select(EnrollmentToken)).all()
    assert made.key not in str(vars(row))


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"max_uses": 0}, "max_uses"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 10**12}, "ttl_seconds"),
        ({"uses": 1}, "uses"),
    ],
)
def test_a_bad_token_is_refused(tenant: Tenant, wanted: dict[str, int], field: str):
    reply = tenant.admin.call("POST", TOKENS, wanted)
    assert reply.json["error"]["details"]["field"] == field


def test_enrolling_answers_like_creating_a_source(tenant: Tenant):
    reply = token(tenant).call("POST", "/enroll", {"name": "build-1", "hostname": "b1.example"})
    made = reply.json
    assert reply.status_code == 201
    assert reply.headers["Location"] == f"/api/v1/sources/{made['id']}"
    assert set(made) == set(tenant.admin.ok("POST", "/sources", {"name": "n", "type": "agent"}))
    source = tenant.admin.ok("GET", f"/sources/{made['id']}")
    assert (source["name"], source["type"]) == ("build-1", "agent")
    assert source["metadata"] == {"hostname": "b1.example"}
    agent = Agent(tenant.server.app, made["api_key"], made["id"])
    agent.heartbeat()
    assert agent.offered() == []


def test_a_token_is_good_for_its_uses_until_it_expires(tenant: Tenant, clock: Clock):
    twice, brief = token(tenant, max_uses=2), token(tenant, max_uses=9, ttl_seconds=60)
    for name in ("one", "two"):
        twice.ok("POST", "/enroll", {"name": name})
    assert twice.refused("POST", "/enroll", {"name": "three"}) == UNAUTHORIZED
    assert twice.refused("POST", "/enroll", {}) == UNAUTHORIZED
    clock.advance(59)
    brief.ok("POST", "/enroll", {"name": "four"})
    clock.advance(1)
    assert brief.refused("POST", "/enroll", {"name": "five"}) == UNAUTHORIZED
    uses = {row["id"]: row["uses"] for row in tenant.admin.ok("GET", TOKENS)["enrollment_tokens"]}
    assert uses == {twice.id: 2, brief.id: 1}


def test_a_deleted_token_enrolls_nobody_and_whom_it_enrolled_stays(tenant: Tenant):
    made = token(tenant, max_uses=2)
    enrolled = made.ok("POST", "/enroll", {"name": "one"})
    assert tenant.admin.call("DELETE", f"{TOKENS}/{made.id}").status_code == 204
    assert made.refused("POST", "/enroll", {"name": "two"}) == UNAUTHORIZED
    assert tenant.admin.ok("GET", TOKENS)["enrollment_tokens"] == []
    assert tenant.admin.refused("DELETE", f"{TOKENS}/{made.id}")[0] == 404
    assert Agent(tenant.server.app, enrolled["api_key"]).offered() == []


def test_a_token_only_enrolls_and_nothing_else_does(tenant: Tenant):
    made, agent = token(tenant), tenant.agent()
    for path in ("/commands", "/sources", TOKENS, "/findings"):
        assert made.refused("GET", path) == FORBIDDEN
    assert made.refused("POST", "/ingest/heartbeat", {"name": "n", "status": "s"}) == FORBIDDEN
    for other in (tenant.admin, tenant.member("viewer"), agent):
        assert other.refused("POST", "/enroll", {"name": "n"}) == FORBIDDEN
    for role in ("viewer", "operator"):
        assert tenant.member(role).refused("POST", TOKENS, {}) == FORBIDDEN
        assert tenant.member(role).refused("DELETE", f"{TOKENS}/{made.id}") == FORBIDDEN
    for key in ("", "rs_enr_guess"):
        nobody = Caller(tenant.server.app, key)
        assert nobody.refused("POST", "/enroll", {"name": "n"}) == UNAUTHORIZED


def test_a_token_is_its_tenants(server: Server):
    one, other = server.tenant(), server.tenant()
    made = token(one)
    assert other.admin.refused("DELETE", f"{TOKENS}/{made.id}") == (404, "NOT_FOUND")
    assert other.admin.ok("GET", TOKENS)["enrollment_tokens"] == []
    source = made.ok("POST", "/enroll", {"name": "n"})["id"]
    assert [row["id"] for row in one.admin.ok("GET", "/sources")["sources"]] == [source]
    assert other.admin.ok("GET", "/sources")["sources"] == []


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "n", "type": "scanner"}])
def test_a_bad_enrollment_spends_nothing(tenant: Tenant, body: dict[str, str]):
    made = token(tenant)
    assert made.refused("POST", "/enroll", body) == (400, "INVALID_REQUEST")
    made.ok("POST", "/enroll", {"name": "n"})


def test_a_repeated_enrollment_makes_one_source(tenant: Tenant):
    made = token(tenant, max_uses=5)
    calls = [made.call("POST", "/enroll", {"name": "n"}, Idempotency_Key="k") for _ in range(2)]
    assert [reply.status_code for reply in calls] == [201, 409]
    assert calls[1].json["error"]["code"] == "IDEMPOTENCY_REPLAY"
    assert [row["uses"] for row in tenant.admin.ok("GET", TOKENS)["enrollment_tokens"]] == [1]


def test_enrollments_that_fail_slow_their_address_and_a_token_still_passes(tenant: Tenant):
    app, made = tenant.server.app, token(tenant)
    settings = Settings(failed_keys_per_minute=2)
    app.extensions["rediver.rates"] = Rates(settings, tenant.server.clock)
    guess = Caller(app, "rs_enr_guess")
    assert [guess.refused("POST", "/enroll", {"name": "n"})[0] for _ in range(3)] == [401, 401, 429]
    made.ok("POST", "/enroll", {"name": "n"})
    assert made.refused("POST", "/enroll", {"name": "n"}) == (429, "RATE_LIMITED")


def racing(attempt: Callable[[int], int]) -> Counter[int]:
    """The statuses of 48 attempts in 16 threads."""
    with ThreadPoolExecutor(16) as pool:
        return Counter(pool.map(attempt, range(48)))


def test_of_racing_enrollments_exactly_max_uses_succeed(tenant: Tenant):
    made = token(tenant, max_uses=5)

    def enroll(number: int) -> int:
        return made.call("POST", "/enroll", {"name": f"agent-{number}"}).status_code

    assert racing(enroll) == {201: 5, 401: 43}
    assert len(tenant.admin.ok("GET", "/sources")["sources"]) == 5


def test_of_racing_rotations_exactly_one_gets_the_second_key(tenant: Tenant):
    agent = tenant.agent()

    def rotate(_: int) -> int:
        return tenant.admin.call("POST", f"/sources/{agent.id}/keys").status_code

    assert racing(rotate) == {201: 1, 409: 47}
    assert len(tenant.admin.ok("GET", f"/sources/{agent.id}")["keys"]) == 2


def test_no_key_outlives_its_source_however_they_race(tenant: Tenant):
    agents = [tenant.agent() for _ in range(8)]
    fresh: list[Agent] = []

    def end_or_rotate(number: int) -> int:
        path = f"/sources/{agents[number % 8].id}"
        if number >= 32:
            return tenant.admin.call("DELETE", path).status_code
        reply = tenant.admin.call("POST", f"{path}/keys")
        if reply.status_code == 201:
            fresh.append(Agent(agents[0].app, reply.json["api_key"]))
        return reply.status_code

    assert set(racing(end_or_rotate)) <= {201, 204, 404, 409}
    for agent in (*agents, *fresh):
        assert agent.refused("GET", "/commands") == UNAUTHORIZED
