"""What an agent did by itself stays for its operator, and for a server that comes later."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from rediver_agent.contract import CommandResult, Finding, Report
from rediver_agent.errors import DiskFull, SpoolError
from rediver_agent.spool import LocalWork, RecordedRun, Spool

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
SEMGREP = LocalWork("scan", "semgrep", "/srv/shop")


class Clock:
    def __init__(self):
        self.time = NOW

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opened(tmp_path, clock):
    """Opens the spool of one state directory; closes it at the end."""
    spools = []

    def open_(**how):
        spools.append(Spool(tmp_path, now=clock, **how))
        return spools[-1]

    yield open_
    for spool in spools:
        spool.close()


@pytest.fixture
def alone(opened):
    return opened(for_server=False)


@pytest.fixture
def under_server(opened):
    return opened(for_server=True)


def begun(spool, run_id="local_1", titles=("A thing",), work=SEMGREP, size=0):
    spool.begin_local(run_id, *work)
    spool.open_report(f"{run_id}.0", run_id)
    spool.add_findings(f"{run_id}.0", run_id, [finding(title, size) for title in titles])


def finding(title, size=0):
    about = "x" * size or None
    return Finding(type="vulnerability", title=title, severity="high", description=about)


def finished(spool, run_id="local_1", status="completed", *, at=NOW, **how):
    """A whole run with its report."""
    begun(spool, run_id, **how)
    metadata = {"id": f"{run_id}.0", "timestamp": at}
    report = Report(version="1.0", metadata=metadata, tool={"name": "semgrep"})
    spool.finish_local(run_id, result(status, at=at), [report])


def result(status="completed", at=NOW, **fields):
    return CommandResult(status=status, completed_at=at, duration_ms=1000, **fields)


def drain(spool):
    sent = []
    while (due := spool.next_due()) is not None:
        sent.append(json.loads(due[1]))
        spool.delivered(due[0])
    return sent


def kept(spool):
    return [run.id for run in spool.local_runs()]


def titles(spool, run_id="local_1"):
    (report,) = spool.local_reports(run_id)
    return [item.title for item in spool.findings(report.metadata.id)]


def test_a_run_is_known_from_its_beginning_and_then_by_its_outcome(alone, clock):
    begun(alone)
    (run,) = alone.local_runs()
    assert (run.work, run.started_at, run.result) == (SEMGREP, NOW, None)

    clock.time += timedelta(minutes=2)
    error = {"error": "it was not done", "metadata": {"reason": "timeout"}}
    alone.finish_local("local_1", result("failed", clock.time, **error), [])

    (run,) = alone.local_runs()
    assert (run.work, run.finished_at, run.delivery) == (SEMGREP, clock.time, "nothing")
    assert (run.result.error, run.result.metadata["reason"]) == ("it was not done", "timeout")
    assert alone.local_reports("local_1") == []


def test_without_a_server_reports_are_kept_and_wait_for_nobody(alone):
    finished(alone, titles=["a", "b"])

    assert titles(alone) == ["a", "b"]
    assert alone.entries() == []


def test_a_server_that_is_configured_later_gets_what_is_still_kept(alone, opened):
    finished(alone, titles=["a", "b"])
    alone.close()

    spool = opened(for_server=True)
    assert [run.delivery for run in spool.local_runs()] == ["waiting"]
    assert len(spool.entries()) == 1
    (sent,) = drain(spool)
    assert [item["title"] for item in sent["findings"]] == ["a", "b"]


def test_what_was_sent_stays_for_the_operator_and_is_not_sent_again(under_server):
    finished(under_server, titles=[str(number) for number in range(1500)])

    assert [sent["metadata"]["part"] for sent in drain(under_server)] == [0, 1]

    assert [run.delivery for run in under_server.local_runs()] == ["sent"]
    assert titles(under_server) == [str(number) for number in range(1500)]
    assert (under_server.entries(), under_server.next_try_at()) == ([], None)
    under_server.retry()
    under_server.hurry()
    assert under_server.next_due() is None


def test_what_the_server_refused_can_be_given_up_and_is_still_there_to_read(under_server):
    finished(under_server)
    entry, _ = under_server.next_due()
    under_server.park(entry, "no")
    assert [run.delivery for run in under_server.local_runs()] == ["refused"]

    assert under_server.drop(entry.seq) is True

    assert [run.delivery for run in under_server.local_runs()] == ["given_up"]
    assert under_server.entries() == []
    assert titles(under_server) == ["A thing"]


def test_runs_that_a_killed_agent_left_have_failed_and_leave_nothing_half(under_server, clock):
    finished(under_server, "local_1")
    begun(under_server, "local_2")
    under_server.record_run("local_2", RecordedRun("run", 123, 4.5))
    clock.time += timedelta(hours=1)

    assert under_server.fail_unfinished_local() == ["local_2"]

    newest, oldest = under_server.local_runs()
    assert newest.result.metadata["reason"] == "agent_restarted"
    assert (newest.finished_at, newest.delivery) == (clock.time, "nothing")
    assert oldest.result.status == "completed"
    assert (under_server.runs(), len(drain(under_server))) == ([], 1)
    assert under_server.fail_unfinished_local() == []


def test_when_work_was_last_begun_outlives_its_runs(alone, clock, opened):
    finished(alone)
    clock.time += timedelta(days=8)
    alone.prune(WEEK)
    alone.close()

    spool = opened(for_server=False)
    assert (kept(spool), spool.local_starts()) == ([], {SEMGREP: NOW})


def test_a_run_that_somebody_typed_is_kept_under_its_scanner(under_server):
    report = Report(
        version="1.0", metadata={"id": "scan_1.0", "timestamp": NOW}, tool={"name": "trivy"},
        assets=[{"id": "target", "type": "directory", "value": "file://host/srv"}],
    )  # fmt: skip
    under_server.open_report("scan_1.0", "scan_1")
    under_server.finish_local("scan_1", result(), [report])

    (run,) = under_server.local_runs()
    assert run.work == ("scan", "trivy", "file://host/srv")
    assert run.started_at == NOW - timedelta(seconds=1)


def test_runs_are_found_by_the_beginning_of_their_ids(alone):
    for run_id in ("local_ab1", "local_ab2", "local_c"):
        finished(alone, run_id)

    assert [run.id for run in alone.find_local_runs("ab", 9)] == ["local_ab2", "local_ab1"]
    assert [run.id for run in alone.find_local_runs("local_c", 9)] == ["local_c"]
    assert alone.find_local_runs("b", 9) == []
    assert alone.find_local_runs("%", 9) == []
    begun(alone, "local_d")
    assert alone.latest_local_run().id == "local_c"
    assert [run.id for run in alone.local_runs(2)] == ["local_d", "local_c"]
    assert alone.count_local_runs() == 4


def test_runs_older_than_max_age_go_with_all_that_was_kept_of_them(alone, clock):
    finished(alone, "local_1")
    alone.begin_local("local_2", *SEMGREP)
    alone.finish_local("local_2", result("failed"), [])
    clock.time += timedelta(days=6)
    finished(alone, "local_3", at=clock.time)
    clock.time += timedelta(days=1, hours=1)

    assert alone.prune(WEEK) == 0, "nothing was given up: nobody waited for it"

    assert kept(alone) == ["local_3"]
    with pytest.raises(ValueError, match="unpack"):
        titles(alone)


def test_what_a_server_was_never_asked_to_take_is_not_too_old_for_it(under_server, clock):
    finished(under_server, "local_1")
    clock.time += timedelta(days=20_000)

    assert (under_server.prune(WEEK), kept(under_server)) == (0, ["local_1"])

    under_server.postpone(under_server.next_due()[0], timedelta(0), "away")
    assert (under_server.prune(WEEK), kept(under_server)) == (1, [])


def test_what_was_sent_goes_by_age_too(under_server, clock):
    finished(under_server)
    drain(under_server)
    clock.time += timedelta(days=8)

    assert (under_server.prune(WEEK), kept(under_server)) == (0, [])


def test_what_a_killed_one_shot_command_left_goes_and_what_runs_stays(under_server, clock):
    under_server.open_report("scan_1.0", "scan_1")
    under_server.add_findings("scan_1.0", "scan_1", [finding("left")])
    begun(under_server, "local_1")
    under_server.claim("cmd_1")
    under_server.open_report("cmd_1.1", "cmd_1")
    under_server.add_findings("cmd_1.1", "cmd_1", [finding("held")])
    clock.time += timedelta(days=8)

    under_server.prune(WEEK)

    with pytest.raises(SpoolError, match="is gone, removed"):
        list(under_server.findings("scan_1.0"))
    assert [item.title for item in under_server.findings("cmd_1.1")] == ["held"]
    assert [item.title for item in under_server.findings("local_1.0")] == ["A thing"]


def filled(spool, count, size=100_000, deliver=False):
    """So many runs of 100 kB each."""
    for number in range(count):
        finished(spool, f"local_{number:03}", size=size)
        if deliver:
            drain(spool)


def test_the_oldest_runs_go_where_the_file_nears_its_cap(opened):
    spool = opened(for_server=False, max_bytes=1 << 20)

    filled(spool, 60, size=90_000)

    left = kept(spool)
    assert 5 <= len(left) < 12
    assert left == [f"local_{number:03}" for number in range(59, 59 - len(left), -1)]
    assert spool.local_starts() == {SEMGREP: NOW}


def test_what_waits_for_a_server_never_goes_for_room_and_what_it_has_does(opened):
    spool = opened(for_server=True, max_bytes=1 << 20)
    finished(spool, "local_waits", size=90_000)
    spool.postpone(spool.next_due()[0], timedelta(hours=1), "away")

    filled(spool, 30, size=90_000, deliver=True)

    assert kept(spool)[-1] == "local_waits"
    assert "local_000" not in kept(spool)


def test_a_spool_full_of_what_a_server_waits_for_takes_outcomes_and_empties_itself(opened):
    spool = opened(for_server=True, max_bytes=1 << 20)
    with pytest.raises(DiskFull):
        filled(spool, 60, size=90_000)
    (refused, *_) = spool.local_runs()

    bare = result("failed", metadata={"reason": "disk_full"})
    spool.finish_local(refused.id, bare, [])

    assert spool.local_runs()[0].result == bare
    assert {run.delivery for run in spool.local_runs()[1:]} == {"waiting"}
    spool.hurry()
    assert len(drain(spool)) == spool.count_local_runs() - 1


def test_a_report_that_goes_while_it_is_read_does_not_look_whole(alone, clock):
    finished(alone, titles=[str(number) for number in range(2500)])
    reading = alone.findings("local_1.0")
    next(reading)
    clock.time += timedelta(days=8)
    alone.prune(WEEK)

    for cut_off in (reading, alone.findings("local_1.0")):  # its header was read before
        with pytest.raises(SpoolError, match="is gone, removed"):
            list(cut_off)


def test_a_spool_of_the_first_version_is_used_on(tmp_path, opened):
    first = sqlite3.connect(tmp_path / "spool.sqlite3")
    first.executescript(FIRST_SCHEMA)
    first.execute("INSERT INTO reports VALUES ('r1', 'cmd_1', '{\"metadata\": {}}', 1)")
    first.execute(
        "INSERT INTO outbox (kind, command_id, report_id, part, body, ready, created_at) "
        "VALUES ('findings', 'cmd_1', 'r1', 0, '[]', 1, 0)"
    )
    first.commit()
    first.close()

    spool = opened(for_server=True)

    assert spool.local_runs() == []
    assert [sent["findings"] for sent in drain(spool)] == [[]]
    finished(spool)
    assert len(drain(spool)) == 1
    assert titles(spool) == ["A thing"]


def test_what_is_due_is_found_by_an_index_however_much_waits(under_server):
    finished(under_server)
    plans = []
    with under_server._database.reading() as db:  # how a query is answered shows at no other door
        db.set_trace_callback(plans.append)
        under_server.next_due()
        under_server.next_try_at()
        db.set_trace_callback(None)
        asked = [query for query in plans if "outbox AS o" in query]
        told = [str(row["detail"]) for q in asked for row in db.execute(f"EXPLAIN QUERY PLAN {q}")]
    assert len(asked) == 2
    assert not [line for line in told if line.startswith("SCAN") or "TEMP B-TREE" in line], told


FIRST_SCHEMA = """
CREATE TABLE commands (
    id TEXT PRIMARY KEY, attempt INTEGER, state TEXT NOT NULL, received_at REAL NOT NULL) STRICT;
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, command_id TEXT NOT NULL, pid INTEGER NOT NULL,
    create_time REAL NOT NULL) STRICT;
CREATE TABLE reports (
    id TEXT PRIMARY KEY, command_id TEXT, header TEXT, parts INTEGER NOT NULL) STRICT;
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, command_id TEXT, report_id TEXT,
    part INTEGER, body TEXT NOT NULL, ready INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    next_try_at REAL NOT NULL DEFAULT 0, last_error TEXT, parked INTEGER NOT NULL DEFAULT 0,
    holds_result INTEGER NOT NULL DEFAULT 1, created_at REAL NOT NULL) STRICT;
CREATE INDEX idx_outbox_due ON outbox(parked, ready, next_try_at);
"""
