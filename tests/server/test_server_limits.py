"""CONTRACT section 6: how often, who is told to wait, and for how long."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from rediver_server_fixtures import RATES, Caller, Clock, Server, Tenant, start

from rediver_server.app import create_app
from rediver_server.errors import ApiError
from rediver_server.limits import Buckets, Rates
from rediver_server.settings import Settings

ORDER = {"type": "health_check", "payload": {}}
REPORT = {
    "version": "1.0",
    "metadata": {"id": "r", "timestamp": "2026-01-16T10:00:00Z"},
    "tool": {"name": "semgrep"},
}
BEAT = {"name": "agent", "status": "running"}
LIMITS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


@pytest.fixture
def limited(database_url: str) -> Iterator[Callable[..., Server]]:
    """Starts servers over one database, with rates; all go by the first one's clock."""
    servers: list[Server] = []

    def begin(**settings: Any) -> Server:
        servers.append(start(database_url, **settings))
        return servers[-1]

    yield begin
    for server in servers:
        server.app.extensions["rediver"].close()


def create(who: Caller, **headers: str) -> tuple[int, tuple[str | None, ...]]:
    """The status, and what the reply says of the rate."""
    reply = who.call("POST", "/commands", ORDER, **headers)
    return reply.status_code, tuple(reply.headers.get(name) for name in LIMITS)


def batch(who: Caller, *items: dict[str, Any]) -> Any:
    return who.call("POST", "/commands/batch", {"commands": items})


def test_every_creation_says_what_is_left(limited: Callable[..., Server]):
    server = limited(creations_per_minute=30, creations_burst=3)
    admin = server.tenant().admin
    assert [create(admin) for _ in range(4)] == [
        (201, ("30", "2", "2")),
        (201, ("30", "1", "4")),
        (201, ("30", "0", "6")),
        (429, ("30", "0", "6")),
    ]
    server.clock.advance(3)
    assert create(admin) == (201, ("30", "0", "5"))
    server.clock.advance(3600)
    assert create(admin) == (201, ("30", "2", "2"))


def test_who_waits_as_long_as_it_was_told_is_served(limited: Callable[..., Server]):
    server = limited(creations_per_minute=7, creations_burst=2)
    admin = server.tenant().admin
    while (reply := admin.call("POST", "/commands", ORDER)).status_code == 201:
        pass
    assert (reply.status_code, reply.json["error"]["code"]) == (429, "RATE_LIMITED")
    assert reply.headers["Retry-After"] == "9"  # 60 / 7, rounded up
    assert "try again in 9 s" in reply.json["error"]["message"]
    server.clock.advance(8.5)
    assert create(admin)[0] == 429
    server.clock.advance(0.5)
    assert create(admin)[0] == 201


def test_a_batch_counts_what_it_creates_and_is_refused_whole(limited: Callable[..., Server]):
    server = limited(creations_per_minute=60, creations_burst=5)
    admin = server.tenant().admin
    made = batch(admin, ORDER, {"type": "scan", "payload": {}}, ORDER)
    assert [item["status"] for item in made.json["results"]] == [201, 400, 201]
    assert made.headers["X-RateLimit-Remaining"] == "3"
    refused = batch(admin, *[ORDER] * 4)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert refused.headers["X-RateLimit-Remaining"] == "3"
    assert len(admin.ok("GET", "/commands")["commands"]) == 2
    assert batch(admin, *[ORDER] * 3).headers["X-RateLimit-Remaining"] == "0"


def test_a_batch_that_never_fits_is_told_so(limited: Callable[..., Server]):
    admin = limited(creations_per_minute=60, creations_burst=5).tenant().admin
    refused = batch(admin, *[ORDER] * 6)
    assert refused.status_code == 429
    assert "6 never fit" in refused.json["error"]["message"]


def test_what_is_refused_or_replayed_does_not_count(limited: Callable[..., Server]):
    admin = limited(creations_per_minute=1, creations_burst=2).tenant().admin
    for _ in range(5):
        assert admin.refused("POST", "/commands", {"type": "scan", "payload": {}})[0] == 400
        nobody = {**ORDER, "source_id": "src_nobody"}
        assert admin.refused("POST", "/commands", nobody)[0] == 404
        assert create(admin, Idempotency_Key="k")[0] == 201
    assert [create(admin)[0] for _ in range(3)] == [201, 429, 429]


def test_tenants_do_not_spend_each_others_rate_and_none_is_no_limit(
    limited: Callable[..., Server], database_url: str
):
    server = limited(creations_per_minute=1, creations_burst=1)
    one, other = server.tenant().admin, server.tenant().admin
    assert [create(one)[0], create(one)[0], create(other)[0]] == [201, 429, 201]
    unlimited = Caller(limited(creations_per_minute=0).app, one.key)
    assert [create(unlimited) for _ in range(3)] == [(201, (None, None, None))] * 3


def test_racing_creations_spend_exactly_what_there_is(limited: Callable[..., Server]):
    rates = {"creations_per_minute": 1, "creations_burst": 7}
    servers = [limited(**rates)]
    if not servers[0].app.extensions["rediver"].is_sqlite:  # which one process serves
        servers.append(limited(**rates))
    key = servers[0].tenant().admin.key

    def attempt(number: int) -> int:
        return create(Caller(servers[number % len(servers)].app, key))[0]

    with ThreadPoolExecutor(16) as pool:
        assert Counter(pool.map(attempt, range(48))) == {201: 7, 429: 41}


@given(
    per_minute=st.integers(1, 10_000),
    burst=st.integers(1, 200),
    steps=st.lists(st.tuples(st.floats(0, 200), st.integers(1, 40)), max_size=30),
)
def test_no_more_than_burst_and_rate_ever_pass_and_the_wait_is_enough(per_minute, burst, steps):
    now, passed = 1_768_557_600.0, 0
    begun = now
    buckets = Buckets(per_minute, burst, lambda: now)
    for pause, tries in steps:
        now += pause
        for _ in range(tries):
            try:
                buckets.take("one")
            except ApiError as refused:
                now += int(refused.headers["Retry-After"])
                buckets.take("one")
            passed += 1
        assert passed <= burst + (now - begun + 0.001) * per_minute / 60


def test_buckets_that_are_full_again_are_forgotten():
    now = 0.0
    buckets = Buckets(60, 2, lambda: now)
    for name in range(10_000):
        buckets.take(str(name))
    now = 2.0
    buckets.take("last")
    assert len(buckets._full_at) == 1


def test_racing_uses_in_one_process_are_counted_exactly():
    buckets = Buckets(1, 500, lambda: 0.0)

    def attempt(_: int) -> bool:
        try:
            buckets.take("one")
        except ApiError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(4000))) == 500


@pytest.mark.parametrize(
    ("rates", "path", "body"),
    [
        ({"ingests_per_minute": 60, "ingests_burst": 3}, "/ingest/findings", REPORT),
        ({"heartbeats_per_minute": 60}, "/ingest/heartbeat", BEAT),
    ],
)
def test_a_source_that_says_too_much_is_told_to_wait(
    limited: Callable[..., Server], rates: dict[str, int], path: str, body: dict[str, Any]
):
    server = limited(**rates)
    tenant = server.tenant()
    noisy, quiet = tenant.agent(), tenant.agent()
    burst = rates.get("ingests_burst", 60)
    for _ in range(burst):
        noisy.ok("POST", path, body)
    refused = noisy.call("POST", path, body)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert refused.json["error"]["code"] == "RATE_LIMITED"
    quiet.ok("POST", path, body)
    for _ in range(3):  # one a second always passes
        server.clock.advance(1)
        noisy.ok("POST", path, body)
    assert noisy.refused("POST", path, body) == (429, "RATE_LIMITED")


def test_heartbeats_cannot_be_limited_below_one_a_second():
    with pytest.raises(ValueError, match="heartbeats_per_minute"):
        Settings(heartbeats_per_minute=59)


def knock(app: Flask, address: str, key: str = "rs_src_guess", path: str = "", **headers: str):
    """The status of a request from an address."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client().get(
        f"/api/v1/{path or 'commands'}",
        headers={"Authorization": f"Bearer {key}", **sent},
        environ_overrides={"REMOTE_ADDR": address},
    )


def test_an_address_that_guesses_keys_is_slowed_and_a_valid_key_still_passes(
    limited: Callable[..., Server],
):
    server = limited(failed_keys_per_minute=3)
    app, agent = server.app, server.tenant().agent()
    assert [knock(app, "192.0.2.1").status_code for _ in range(4)] == [401, 401, 401, 429]
    slowed = knock(app, "192.0.2.1", "rs_enr_guess", "sources")
    assert (slowed.status_code, slowed.headers["Retry-After"]) == (429, "20")
    assert knock(app, "192.0.2.1", agent.key).status_code == 200
    assert knock(app, "192.0.2.2").status_code == 401
    assert app.test_client().get("/api/v1/commands").status_code == 401  # no key is no guess
    server.clock.advance(20)
    assert [knock(app, "192.0.2.1").status_code for _ in range(2)] == [401, 429]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unknown", "", True),
    ],
)
def test_an_address_of_ipv6_is_its_64(tenant: Tenant, first: str, second: str, same: bool):
    rates = dict.fromkeys(RATES, 0) | {"failed_keys_per_minute": 1}
    app = tenant.server.app
    app.extensions["rediver.rates"] = Rates(Settings(**rates), tenant.server.clock)
    assert knock(app, first).status_code == 401
    assert knock(app, second).status_code == (429 if same else 401)


@pytest.mark.parametrize(
    ("proxies", "said", "slowed"),
    [
        (0, ["203.0.113.1", "203.0.113.2"], True),
        (1, ["203.0.113.1", "203.0.113.2"], False),
        (1, ["198.51.100.1, 203.0.113.1", "198.51.100.2, 203.0.113.1"], True),
        (2, ["203.0.113.1, 10.0.0.1", "203.0.113.2, 10.0.0.1"], False),
        (2, ["203.0.113.1", "203.0.113.2"], True),
    ],
)
def test_a_forwarded_address_is_believed_of_trusted_proxies_only(
    limited: Callable[..., Server], proxies: int, said: list[str], slowed: bool
):
    app = limited(failed_keys_per_minute=1, trusted_proxies=proxies).app
    answers = [knock(app, "10.0.0.9", X_Forwarded_For=each).status_code for each in said]
    assert answers == [401, 429 if slowed else 401]


def test_every_application_counts_for_itself(database_url: str):
    settings = Settings(database_url=database_url, failed_keys_per_minute=1)
    apps = [create_app(settings, Clock()) for _ in range(2)]
    assert [knock(app, "192.0.2.1").status_code for app in apps] == [401, 401]
    for app in apps:
        app.extensions["rediver"].close()


def test_without_a_clock_rates_go_by_real_time():
    rates = Rates(Settings(failed_keys_per_minute=1), None)
    rates.failed_keys.take("one")
    with pytest.raises(ApiError, match="try again in 60 s"):
        rates.failed_keys.take("one")
