"""Schedules: what operators may write, and which commands come of them as time passes."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from rediver_server_fixtures import Clock, Server, Tenant, start
from sqlalchemy import update

from rediver_server.models import ScanSchedule
from rediver_server.schedules import fire_due

NIGHTLY = {
    "name": "nightly",
    "scanner": "semgrep",
    "target": "/srv/app",
    "cron_expression": "0 2 * * *",
}
HOURLY = {**NIGHTLY, "name": "hourly", "cron_expression": "0 * * * *"}
DAY, HOUR = 86_400, 3600


@pytest.fixture
def fire(server: Server) -> Callable[[], int]:
    """One round of what every server does about once a second."""
    return lambda: fire_due(server.app.extensions["rediver"])


def make(tenant: Tenant, **fields: Any) -> str:
    return tenant.admin.ok("POST", "/scan-schedules", {**HOURLY, **fields})["id"]


def get(tenant: Tenant, schedule: str) -> Any:
    return tenant.admin.ok("GET", f"/scan-schedules/{schedule}")


def made_by(tenant: Tenant, schedule: str) -> list[Any]:
    """The commands of a schedule, oldest first."""
    listed = tenant.admin.ok("GET", f"/commands?limit=100&schedule_id={schedule}")["commands"]
    return listed[::-1]


def test_a_schedule_is_answered_whole_with_its_next_fire_time(tenant: Tenant):
    reply = tenant.admin.call(
        "POST", "/scan-schedules", {**NIGHTLY, "timezone": "America/New_York"}
    )
    made = reply.json
    assert reply.status_code == 201
    assert reply.headers["Location"] == f"/api/v1/scan-schedules/{made['id']}"
    assert made == get(tenant, made["id"])
    assert made | {"id": ""} == {
        **NIGHTLY,
        "id": "",
        "tenant_id": tenant.id,
        "source_id": None,
        "description": None,
        "config": None,
        "timezone": "America/New_York",
        "enabled": True,
        "priority": "normal",
        "timeout_seconds": None,
        "ttl_seconds": None,
        "missed_run": "run_once",
        "overlap": "skip",
        "jitter_seconds": 0,
        "last_run_at": None,
        "next_run_at": "2026-01-17T07:00:00Z",
        "created_at": "2026-01-16T10:00:00Z",
        "updated_at": "2026-01-16T10:00:00Z",
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"scanner": None}, "scanner"),
        ({"target": "x" * 501}, "target"),
        ({"cron_expression": "0 0 30 2 *"}, "cron_expression"),
        ({"cron_expression": "0 0 2 * * *"}, "cron_expression"),
        ({"cron_expression": "@daily   "}, "cron_expression"),
        ({"timezone": "Europe/Nowhere"}, "timezone"),
        ({"timezone": None}, "timezone"),
        ({"config": ["p/ci"]}, "config"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": 86_401}, "timeout_seconds"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"jitter_seconds": -1}, "jitter_seconds"),
        ({"overlap": "queue"}, "overlap"),
        ({"missed_run": "run_all"}, "missed_run"),
        ({"priority": "urgent"}, "priority"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_field_is_refused_by_name_when_created_and_when_changed(
    tenant: Tenant, fields: dict, field: str
):
    known = make(tenant)
    before = get(tenant, known)
    for method, path in (("POST", "/scan-schedules"), ("PATCH", f"/scan-schedules/{known}")):
        body = {**HOURLY, **fields} if method == "POST" else fields
        reply = tenant.admin.call(method, path, body)
        assert reply.status_code == 400, method
        assert reply.json["error"]["details"]["field"] == field
    assert tenant.admin.ok("GET", "/scan-schedules")["schedules"] == [before]


def test_a_source_has_to_be_a_live_one_of_the_tenant(server: Server, tenant: Tenant):
    gone, foreign = tenant.agent().id, server.tenant().agent().id
    tenant.admin.call("DELETE", f"/sources/{gone}")
    known = make(tenant)
    for source in (gone, foreign, "src_nobody"):
        body = {**HOURLY, "source_id": source}
        assert tenant.admin.refused("POST", "/scan-schedules", body) == (404, "NOT_FOUND")
        path = f"/scan-schedules/{known}"
        patch = {"source_id": source}
        assert tenant.admin.refused("PATCH", path, patch) == (404, "NOT_FOUND")
    assert get(tenant, known)["source_id"] is None


def test_a_patch_changes_what_it_names_and_null_empties(tenant: Tenant, clock: Clock):
    known = make(tenant, config={"rules": ["p/ci"]}, ttl_seconds=60, description="d")
    before = get(tenant, known)
    clock.advance(5)
    patch = {"config": None, "ttl_seconds": None, "description": None, "priority": "high"}
    after = tenant.admin.ok("PATCH", f"/scan-schedules/{known}", patch)
    assert after == before | patch | {"updated_at": clock.text()} == get(tenant, known)


def test_a_new_expression_zone_or_switch_sets_the_next_fire_time_anew(tenant: Tenant):
    known = make(tenant)

    def next_run_after(**patch: Any) -> str | None:
        return tenant.admin.ok("PATCH", f"/scan-schedules/{known}", patch)["next_run_at"]

    assert next_run_after(cron_expression="0 2 * * *") == "2026-01-17T02:00:00Z"
    assert next_run_after(timezone="Asia/Tokyo") == "2026-01-16T17:00:00Z"
    assert next_run_after(enabled=False) is None
    assert next_run_after(cron_expression="0 3 * * *") is None
    assert next_run_after(enabled=True) == "2026-01-16T18:00:00Z"


def test_a_patch_that_changes_no_time_loses_no_fire_time(
    tenant: Tenant, clock: Clock, fire: Callable
):
    known = make(tenant)
    clock.advance(HOUR)
    patch = {"enabled": True, "cron_expression": HOURLY["cron_expression"], "name": "renamed"}
    tenant.admin.ok("PATCH", f"/scan-schedules/{known}", patch)
    assert fire() == 1
    assert len(made_by(tenant, known)) == 1


def test_pages_of_schedules_are_newest_first(tenant: Tenant, clock: Clock):
    made = []
    for number in range(3):
        made.append(make(tenant, name=f"s{number}"))
        clock.advance(1)
    first = tenant.admin.ok("GET", "/scan-schedules?limit=2")
    rest = tenant.admin.ok("GET", f"/scan-schedules?limit=2&cursor={first['next_cursor']}")
    ids = [row["id"] for page in (first, rest) for row in page["schedules"]]
    assert (ids, rest["next_cursor"]) == (made[::-1], None)


def test_upcoming_fire_times(tenant: Tenant):
    known = make(tenant, timezone="Europe/Berlin", cron_expression="30 2 * * *", enabled=False)
    path = f"/scan-schedules/{known}/upcoming"
    assert tenant.admin.ok("GET", f"{path}?count=2") == {
        "upcoming": ["2026-01-17T01:30:00Z", "2026-01-18T01:30:00Z"]
    }
    assert len(tenant.admin.ok("GET", path)["upcoming"]) == 5
    for count in ("0", "101", "many"):
        assert tenant.admin.refused("GET", f"{path}?count={count}")[0] == 400


def test_a_fire_time_makes_one_command(tenant: Tenant, clock: Clock, fire: Callable):
    agent = tenant.agent()
    known = make(
        tenant,
        source_id=agent.id,
        config={"rules": ["p/ci"]},
        timeout_seconds=600,
        priority="critical",
    )
    clock.advance(HOUR - 1)
    assert (fire(), made_by(tenant, known)) == (0, [])
    clock.advance(3)
    assert (fire(), fire()) == (1, 0)
    (command,) = made_by(tenant, known)
    assert {name: command[name] for name in ("type", "priority", "source_id", "schedule_id")} == {
        "type": "scan",
        "priority": "critical",
        "source_id": agent.id,
        "schedule_id": known,
    }
    assert command["payload"] == {
        "scanner": "semgrep",
        "target": "/srv/app",
        "config": {"rules": ["p/ci"]},
        "timeout_seconds": 600,
    }
    assert command["scheduled_at"] == "2026-01-16T11:00:00Z"
    assert command["expires_at"] == "2026-01-16T12:00:00Z"
    (event,) = tenant.admin.ok("GET", f"/commands/{command['id']}/events")["events"]
    assert event["actor"] == f"schedule:{known}"
    schedule = get(tenant, known)
    assert (schedule["last_run_at"], schedule["next_run_at"]) == (
        "2026-01-16T11:00:02Z",
        "2026-01-16T12:00:00Z",
    )
    assert agent.offered() == [command["id"]]


def test_a_disabled_or_deleted_schedule_makes_nothing_and_its_commands_stay(
    tenant: Tenant, clock: Clock, fire: Callable
):
    disabled, deleted = make(tenant, enabled=False), make(tenant)
    run = tenant.admin.ok("POST", f"/scan-schedules/{deleted}/run")["id"]
    assert tenant.admin.call("DELETE", f"/scan-schedules/{deleted}").status_code == 204
    assert tenant.admin.refused("DELETE", f"/scan-schedules/{deleted}") == (404, "NOT_FOUND")
    clock.advance(DAY)
    assert fire() == 0
    assert made_by(tenant, disabled) == []
    assert [command["id"] for command in made_by(tenant, deleted)] == [run]


def test_run_makes_a_command_now_even_of_a_disabled_busy_schedule(tenant: Tenant):
    known = make(tenant, enabled=False)
    for _ in range(2):
        reply = tenant.admin.call("POST", f"/scan-schedules/{known}/run")
        assert reply.status_code == 201
        assert reply.headers["Location"] == f"/api/v1/commands/{reply.json['id']}"
        assert reply.json == tenant.command(reply.json["id"])
    assert reply.json["schedule_id"] == known
    assert reply.json["scheduled_at"] is None
    assert get(tenant, known)["last_run_at"] == "2026-01-16T10:00:00Z"
    assert len(made_by(tenant, known)) == 2


@pytest.mark.parametrize(("missed_run", "made"), [("run_once", 1), ("skip", 0)])
def test_missed_fire_times(
    tenant: Tenant, clock: Clock, fire: Callable, missed_run: str, made: int
):
    known = make(tenant, missed_run=missed_run)
    clock.advance(5 * HOUR + 61)  # nobody ran at 11, 12, 13, 14 and 15 o'clock
    assert fire() == 1
    commands = made_by(tenant, known)
    assert [command["scheduled_at"] for command in commands] == ["2026-01-16T15:00:00Z"] * made
    assert get(tenant, known)["next_run_at"] == "2026-01-16T16:00:00Z"
    assert fire() == 0


def test_a_minute_late_is_on_time(tenant: Tenant, clock: Clock, fire: Callable):
    known = make(tenant, missed_run="skip")
    clock.advance(HOUR + 60)
    fire()
    assert len(made_by(tenant, known)) == 1


@pytest.mark.parametrize(("overlap", "made"), [("skip", 1), ("allow", 2)])
def test_while_an_earlier_command_runs(
    tenant: Tenant, clock: Clock, fire: Callable, overlap: str, made: int
):
    agent = tenant.agent(scanners=["semgrep"])
    known = make(tenant, overlap=overlap)
    clock.advance(HOUR)
    fire()
    agent.acknowledge(made_by(tenant, known)[0]["id"])
    clock.advance(HOUR - 30)
    agent.progress(made_by(tenant, known)[0]["id"])
    clock.advance(30)
    fire()
    assert len(made_by(tenant, known)) == made


def test_once_it_is_over_the_next_fire_time_counts(tenant: Tenant, clock: Clock, fire: Callable):
    agent = tenant.agent(scanners=["semgrep"])
    known = make(tenant)
    for _ in range(3):
        clock.advance(HOUR)
        fire()
        (command,) = agent.offered()
        agent.acknowledge(command)
        agent.report(command)
    assert len(made_by(tenant, known)) == 3


def test_a_command_that_nobody_took_expires_and_does_not_hold_up_the_next(
    tenant: Tenant, clock: Clock, fire: Callable
):
    known = make(tenant)
    for _ in range(3):
        clock.advance(HOUR)
        fire()
    statuses = [command["status"] for command in made_by(tenant, known)]
    assert statuses == ["expired", "expired", "pending"]


def test_a_command_waits_for_at_most_a_day_unless_the_schedule_says_more(
    tenant: Tenant, clock: Clock, fire: Callable
):
    weekly = {"cron_expression": "0 0 * * SAT"}
    usual, patient = make(tenant, **weekly), make(tenant, ttl_seconds=3 * DAY, **weekly)
    clock.advance(14 * HOUR + 5)
    fire()
    assert made_by(tenant, usual)[0]["expires_at"] == "2026-01-18T00:00:05Z"
    assert made_by(tenant, patient)[0]["expires_at"] == "2026-01-20T00:00:05Z"


def test_jitter_is_the_same_for_the_same_fire_time_and_spreads_schedules(
    tenant: Tenant, clock: Clock, fire: Callable
):
    schedules = [make(tenant, jitter_seconds=600, overlap="allow") for _ in range(20)]
    clock.advance(HOUR)
    assert fire() == 20
    starts = []
    for known in schedules:
        (command,) = made_by(tenant, known)
        start = datetime.fromisoformat(command["scheduled_at"])
        assert timedelta(0) <= start - clock.now <= timedelta(minutes=10)
        assert datetime.fromisoformat(command["expires_at"]) - start == timedelta(hours=1)
        starts.append(start)
    assert len(set(starts)) > 10


def test_what_a_schedule_makes_does_not_count_against_the_rate(database_url: str):
    server = start(database_url, creations_per_minute=1, creations_burst=1)
    tenant = server.tenant()
    known = [make(tenant) for _ in range(5)]
    server.clock.advance(HOUR)
    assert fire_due(server.app.extensions["rediver"]) == 5
    tenant.admin.ok("POST", f"/scan-schedules/{known[0]}/run")  # what people run does
    path = f"/scan-schedules/{known[0]}/run"
    assert tenant.admin.refused("POST", path) == (429, "RATE_LIMITED")
    assert len(made_by(tenant, known[0])) == 2
    server.app.extensions["rediver"].close()


def test_a_schedule_whose_source_was_deleted_is_disabled_and_the_others_go_on(
    tenant: Tenant, clock: Clock, fire: Callable
):
    agent = tenant.agent()
    orphan, other = make(tenant, source_id=agent.id), make(tenant)
    tenant.admin.call("DELETE", f"/sources/{agent.id}")
    clock.advance(HOUR)
    assert (fire(), fire()) == (2, 0)
    assert (made_by(tenant, orphan), len(made_by(tenant, other))) == ([], 1)
    shown = get(tenant, orphan)
    assert (shown["enabled"], shown["next_run_at"]) == (False, None)
    path = f"/scan-schedules/{orphan}"
    assert tenant.admin.refused("POST", f"{path}/run") == (404, "NOT_FOUND")
    assert tenant.admin.refused("PATCH", path, {"enabled": True}) == (404, "NOT_FOUND")
    mended = tenant.admin.ok("PATCH", path, {"enabled": True, "source_id": None})
    assert mended["next_run_at"] == "2026-01-16T12:00:00Z"


def test_a_schedule_that_cannot_be_computed_waits_and_the_others_go_on(
    server: Server, tenant: Tenant, clock: Clock, fire: Callable
):
    broken, other = make(tenant, name="a"), make(tenant, name="b")
    with server.app.extensions["rediver"].write() as tx:  # as by a server with more zones
        of_it = update(ScanSchedule).where(ScanSchedule.id == broken)
        tx.execute(of_it.values(timezone="Mars/Olympus"))
    clock.advance(HOUR)
    assert (fire(), fire()) == (2, 0)
    assert (made_by(tenant, broken), len(made_by(tenant, other))) == ([], 1)
    tenant.admin.ok("PATCH", f"/scan-schedules/{broken}", {"timezone": "UTC"})
    clock.advance(HOUR)
    fire()
    assert len(made_by(tenant, broken)) == 1


def test_a_fire_time_that_comes_again_makes_no_second_command(
    tenant: Tenant, clock: Clock, fire: Callable
):
    known = make(tenant, overlap="allow")
    clock.advance(HOUR)
    fire()
    clock.advance(-60)  # the database's clock is set back, and the schedule planned anew
    for enabled in (False, True):
        tenant.admin.ok("PATCH", f"/scan-schedules/{known}", {"enabled": enabled})
    assert get(tenant, known)["next_run_at"] == "2026-01-16T11:00:00Z"
    clock.advance(60)
    assert (fire(), fire()) == (1, 0)
    assert len(made_by(tenant, known)) == 1
    assert get(tenant, known)["next_run_at"] == "2026-01-16T12:00:00Z"
