"""What is pruned when, and that nothing which still stands ever is."""

import threading
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rediver_server_fixtures import ASSET, OTHER, SIDE, Scans, Server, Tenant, start, statuses
from sqlalchemy import func, insert, literal, select

from rediver_server import models as m
from rediver_server.retention import prune
from rediver_server.settings import Settings

DAY = 86_400
DEFAULTS = Settings()


def rows(server: Server, table: type[m.Base]) -> int:
    with server.app.extensions["rediver"].read() as tx:
        return tx.scalar(select(func.count()).select_from(table))


def pruned(server: Server, **days: int) -> dict[str, int]:
    """How many rows went, of the tables of which any did."""
    kept = Settings(**days)
    gone = prune(server.app.extensions["rediver"], kept)
    assert prune(server.app.extensions["rediver"], kept).keys() == gone.keys()
    return {table: count for table, count in gone.items() if count}


def test_a_finished_command_goes_with_its_events_after_its_days(server: Server, tenant: Tenant):
    agent = tenant.agent()
    done = tenant.order(source_id=agent.id)
    agent.acknowledge(done)
    agent.report(done)
    server.clock.advance(89 * DAY)
    late = tenant.order(source_id=agent.id, ttl_seconds=2 * DAY)
    assert "commands" not in pruned(server)
    server.clock.advance(DAY + 1)

    assert pruned(server) == {"commands": 1}
    assert tenant.admin.refused("GET", f"/commands/{done}") == (404, "NOT_FOUND")
    assert tenant.status(late) == "pending"
    assert rows(server, m.CommandEvent) == 1


def test_the_trail_can_go_before_the_command(server: Server, tenant: Tenant):
    agent = tenant.agent()
    done, held = (tenant.order(source_id=agent.id, ttl_seconds=60 * DAY) for _ in range(2))
    agent.acknowledge(done)
    agent.report(done)
    agent.acknowledge(held)
    server.clock.advance(8 * DAY)
    agent.progress(held)

    assert pruned(server, keep_audit_days=7) == {"command_events": 3}
    assert tenant.status(done) == "completed"
    assert len(tenant.admin.ok("GET", f"/commands/{held}/events")["events"]) == 3


def test_late_results_go_after_their_days_and_the_rest_of_the_trail_stays(
    server: Server, tenant: Tenant
):
    agent = tenant.agent()
    done = tenant.order(source_id=agent.id)
    agent.acknowledge(done)
    agent.report(done)
    answer = {"status": "failed", "completed_at": "2026-01-16T10:05:00Z"}
    assert agent.refused("POST", f"/commands/{done}/result", answer) == (409, "COMMAND_FINISHED")
    server.clock.advance(31 * DAY)

    assert pruned(server) == {"command_events": 1}
    reasons = [
        row["reason"] for row in tenant.admin.ok("GET", f"/commands/{done}/events")["events"]
    ]
    assert len(reasons) == 3
    assert "late result" not in reasons


def test_resolved_findings_go_once_nobody_sees_them_and_no_others(server: Server, tenant: Tenant):
    scans = Scans(tenant.agent(), server.clock)
    scans.send("open", "gone", "excused", "closed", "closed-but-seen")
    ids = {row["fingerprint"]: row["id"] for row in tenant.admin.ok("GET", "/findings")["findings"]}
    for fingerprint, status in (
        ("excused", "accepted_risk"),
        ("closed", "resolved"),
        ("closed-but-seen", "resolved"),
    ):
        patch = {"status": status, "reason": "said so"}
        tenant.admin.ok("PATCH", f"/findings/{ids[fingerprint]}", patch)
    scans.send("open", "closed-but-seen")
    server.clock.advance(364 * DAY)
    assert "findings" not in pruned(server)
    server.clock.advance(2 * DAY)
    scans.send("open", "closed-but-seen")

    assert pruned(server)["findings"] == 2
    assert statuses(tenant) == {
        "open": "open",
        "excused": "accepted_risk",
        "closed-but-seen": "resolved",
    }
    assert scans.send("closed-but-seen") == (0, 1, 1, 0)  # what people set still stands


def test_a_report_goes_when_no_finding_names_it_and_a_newer_scan_stands(
    server: Server, tenant: Tenant
):
    scans = Scans(tenant.agent(), server.clock)
    for _ in range(3):
        scans.send()
    scans.send("side-only", branch=SIDE)
    unfinished = scans.body(last=False)
    scans.counts(unfinished)
    before = tenant.admin.ok("GET", "/assets")
    server.clock.advance(400 * DAY)

    assert pruned(server) == {"reports": 2}
    assert tenant.admin.ok("GET", "/assets") == before
    assert rows(server, m.Report) == 3


def test_an_old_report_sent_again_after_it_was_pruned_changes_nothing(
    server: Server, tenant: Tenant
):
    scans = Scans(tenant.agent(), server.clock)
    old = scans.body()
    scans.counts(old)
    scans.send("still-there")
    server.clock.advance(400 * DAY)
    assert pruned(server) == {"reports": 1}
    assets = tenant.admin.ok("GET", "/assets")

    assert scans.counts(old) == (0, 0, 0, 0)
    assert statuses(tenant) == {"still-there": "open"}
    assert tenant.admin.ok("GET", "/assets") == assets


def test_a_late_part_of_a_lost_attempt_resolves_nothing_after_its_command_was_pruned(
    server: Server, tenant: Tenant
):
    loser, winner = tenant.agent("one", scanners=["semgrep"]), tenant.agent("two")
    command = tenant.order(ttl_seconds=DAY)
    loser.acknowledge(command)
    loser.progress(command)
    scans = Scans(loser, server.clock)
    scans.send("still-there")
    of_it = {"command_id": command, "attempt": 1}
    first = scans.body(last=False, **of_it)
    scans.counts(first)
    server.clock.advance(100)
    winner.acknowledge(command)
    winner.report(command)
    server.clock.advance(100 * DAY)
    assert pruned(server)["commands"] == 1

    last = {**first, "metadata": {**first["metadata"], "part": 1, "last": True}}
    assert scans.refused(last) == "metadata.coverage_type"
    assert statuses(tenant) == {"still-there": "open"}


def test_old_sightings_go_of_what_is_still_seen_and_of_nothing_else(server: Server, tenant: Tenant):
    scans = Scans(tenant.agent(), server.clock)
    for _ in range(5):
        scans.send("open", "gone")
    scans.send("open")
    server.clock.advance(100 * DAY)
    before = tenant.admin.ok("GET", "/findings")
    assert pruned(server) == {}
    scans.send("open")

    assert pruned(server) == {"sightings": 6}
    assert rows(server, m.Sighting) == 1 + 5
    after = tenant.admin.ok("GET", "/findings")
    assert len(after["findings"]) == len(before["findings"]) == 2
    assert statuses(tenant) == {"open": "open", "gone": "resolved"}
    assert all(row["source_ids"] == [scans.agent.id] for row in after["findings"])
    assert scans.send("gone") == (0, 1, 1, 0)


def test_memories_of_requests_and_dead_tokens_go_after_a_day(server: Server, tenant: Tenant):
    agent = tenant.agent(scanners=["semgrep"])
    order = {"type": "scan", "payload": {"scanner": "semgrep", "target": "/srv"}}
    tenant.admin.call("POST", "/commands", order, Idempotency_Key="k")
    agent.ok("POST", "/commands/claim", {"claim_id": "c"})
    dead = tenant.admin.ok("POST", "/enrollment-tokens", {"ttl_seconds": 60})
    live = tenant.admin.ok("POST", "/enrollment-tokens", {"ttl_seconds": 3 * DAY})
    server.clock.advance(DAY - 1)
    assert pruned(server) == {}
    server.clock.advance(120)
    assert pruned(server) == {"idempotent_requests": 2, "enrollment_tokens": 1}
    left = tenant.admin.ok("GET", "/enrollment-tokens")["enrollment_tokens"]
    assert [row["id"] for row in left] == [live["id"]] != [dead["id"]]


def test_zero_days_keep_everything(server: Server, tenant: Tenant):
    agent = tenant.agent()
    done = tenant.order(source_id=agent.id)
    agent.acknowledge(done)
    agent.report(done)
    Scans(agent, server.clock).send("x")
    Scans(agent, server.clock).send(id="r-9")
    server.clock.advance(5000 * DAY)
    never = dict.fromkeys((name for name in Settings.model_fields if name.startswith("keep_")), 0)
    assert pruned(server, **never) == {}


def test_more_than_a_batch_goes_with_several_processes_at_it(server: Server, tenant: Tenant):
    agent = tenant.agent()
    done = tenant.order(source_id=agent.id)
    agent.acknowledge(done)
    agent.report(done)
    database = server.app.extensions["rediver"]
    with database.write() as tx:
        copied = m.Command.__table__.columns
        source = select(
            *(column for column in copied if column.name != "id"), literal("").label("id")
        )
        row = tx.execute(source.where(m.Command.id == done)).one()._asdict()
        tx.execute(insert(m.Command.__table__), [{**row, "id": f"cmd_{n}"} for n in range(1200)])
    server.clock.advance(91 * DAY)
    counts: list[int] = []
    others = [start(server.url) for _ in range(2)]

    def work(other: Server) -> None:
        other.clock.now = server.clock.now
        counts.append(prune(other.app.extensions["rediver"], DEFAULTS)["commands"])

    threads = [threading.Thread(target=work, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.app.extensions["rediver"].close()
    rest = prune(database, DEFAULTS)["commands"]
    assert sum(counts) + rest == 1201
    assert rows(server, m.Command) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["order", "finish", "cancel", "scan", "clean", "part", "patch", "prune"]),
        st.integers(0, 4),
        st.sampled_from([1, DAY, 40 * DAY, 200 * DAY, 400 * DAY]),
    ),
    max_size=25,
)


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_nothing_that_stands_is_ever_pruned(server: Server, steps: list[tuple[str, int, int]]):
    tenant = server.tenant()
    agent = tenant.agent(scanners=["semgrep"])
    scans = Scans(agent, server.clock)
    commands: list[str] = []
    for step, number, seconds in steps:
        server.clock.advance(seconds)
        if step == "order":
            commands.append(tenant.order(source_id=agent.id, ttl_seconds=365 * DAY))
        elif step in ("finish", "cancel") and commands:
            command = commands.pop(number % len(commands))
            if step == "cancel":
                tenant.admin.call("DELETE", f"/commands/{command}")
            elif agent.call("POST", f"/commands/{command}/acknowledge").status_code == 200:
                agent.report(command)
        elif step == "scan":
            scans.send(*(f"f{n}" for n in range(number)), coverage_key=str(number % 2))
        elif step in ("clean", "part"):
            body = scans.body(last=step == "clean")
            scans.counts({**body, "assets": [ASSET, OTHER]})
        elif step == "patch":
            _patch(tenant, number)
        else:
            before = _standing(server, tenant)
            prune(server.app.extensions["rediver"], DEFAULTS)
            assert _standing(server, tenant) == before


def _patch(tenant: Tenant, number: int) -> None:
    found = tenant.admin.ok("GET", "/findings")["findings"]
    if found:
        status = ("resolved", "false_positive", "accepted_risk", "open")[number % 4]
        patch = {"status": status, "reason": "r"}
        tenant.admin.ok("PATCH", f"/findings/{found[number % len(found)]['id']}", patch)


def _standing(server: Server, tenant: Tenant) -> Any:
    """Whatever a prune must leave: as people see it, and what later reports are judged by."""
    young = server.clock.now - timedelta(days=30)
    commands = tenant.admin.ok("GET", "/commands?limit=100")["commands"]
    ended = ("completed", "failed", "cancelled", "expired")
    shown = [
        row for row in commands if row["status"] not in ended or row["created_at"] > str(young)
    ]
    findings = tenant.admin.ok("GET", "/findings?limit=100")["findings"]
    with server.app.extensions["rediver"].read() as tx:
        whole = select(m.ReportPart.report_id).join(m.Report, m.Report.id == m.ReportPart.report_id)
        unfinished = tx.scalars(whole.where(m.Report.last_part.is_(None))).all()
    return (
        shown,
        [row for row in findings if row["status"] != "resolved"],
        tenant.admin.ok("GET", "/assets?limit=100"),
        unfinished,
    )
