"""A row leaves only after the server has said yes."""

import json
import sqlite3
import stat
from datetime import UTC, datetime, timedelta

import pytest

from rediver_agent.contract import CommandResult, Finding, Report
from rediver_agent.errors import DiskFull, SpoolError
from rediver_agent.masking import mask
from rediver_agent.spool import RecordedRun, Spool
from rediver_agent.state_dir import StateLock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.time = NOW

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def spool(tmp_path, clock):
    spool = Spool(tmp_path / "state", now=clock)
    yield spool
    spool.close()


def result(status="completed", **fields):
    return CommandResult(status=status, completed_at=NOW, attempt=1, **fields)


def report(report_id="r1"):
    metadata = {"id": report_id, "timestamp": NOW}
    return Report(version="1.0", metadata=metadata, tool={"name": "semgrep"})


def finding(title="A thing", **fields):
    return Finding(type="vulnerability", title=title, severity="high", **fields)


def with_findings(spool, count, command_id="cmd_1", report_id="r1"):
    spool.claim(command_id)
    spool.begin(command_id, 1)
    spool.open_report(report_id, command_id)
    spool.add_findings(report_id, command_id, [finding(str(number)) for number in range(count)])


def drain(spool):
    sent = []
    while (due := spool.next_due()) is not None:
        sent.append((due[0].kind, json.loads(due[1])))
        spool.delivered(due[0])
    return sent


def test_findings_go_in_parts_before_the_result_they_belong_to(spool):
    with_findings(spool, 2500)
    spool.finish("cmd_1", result(), [report()])

    sent = drain(spool)

    assert [kind for kind, _ in sent] == ["findings", "findings", "findings", "result"]
    parts = [body["metadata"] for _, body in sent[:3]]
    assert [(part["part"], part["last"]) for part in parts] == [(0, False), (1, False), (2, True)]
    titles = [item["title"] for _, body in sent[:3] for item in body["findings"]]
    assert titles == [str(number) for number in range(2500)]
    assert spool.held() == []


def test_nothing_of_a_report_goes_before_the_outcome_is_known(spool):
    with_findings(spool, 10)

    assert spool.next_due() is None
    assert spool.next_try_at() is None


def test_a_clean_report_is_sent_too(spool):
    with_findings(spool, 0)
    spool.finish("cmd_1", result(), [report()])

    (_, body), _ = drain(spool)
    assert body["findings"] == []
    assert body["metadata"]["last"] is True


def test_findings_of_a_report_that_is_not_in_the_outcome_are_void(spool):
    with_findings(spool, 10)
    spool.finish("cmd_1", result("failed"), [])

    assert [kind for kind, _ in drain(spool)] == ["result"]


def test_a_result_waits_while_its_findings_are_postponed(spool, clock):
    with_findings(spool, 1)
    spool.finish("cmd_1", result(), [report()])
    entry, _ = spool.next_due()
    spool.postpone(entry, timedelta(seconds=60), "the server is away")

    assert spool.next_due() is None
    clock.time += timedelta(seconds=60)
    again, _ = spool.next_due()
    assert (again.kind, again.attempts, again.last_error) == ("findings", 1, "the server is away")


def test_a_result_need_not_wait_for_findings_that_the_server_has_no_call_for(spool, clock):
    with_findings(spool, 1)
    spool.finish("cmd_1", result(), [report()])
    entry, _ = spool.next_due()
    spool.let_result_pass(entry)
    spool.postpone(entry, timedelta(hours=1), "404")

    assert [kind for kind, _ in drain(spool)] == ["result"]
    clock.time += timedelta(hours=1)
    assert [kind for kind, _ in drain(spool)] == ["findings"]


def test_the_findings_of_one_command_do_not_hold_back_another(spool):
    with_findings(spool, 1, "cmd_1", "r1")
    with_findings(spool, 1, "cmd_2", "r2")
    spool.finish("cmd_1", result(), [report("r1")])
    spool.finish("cmd_2", result(), [report("r2")])
    entry, _ = spool.next_due()
    spool.postpone(entry, timedelta(hours=1), "x")

    assert [kind for kind, _ in drain(spool)] == ["findings", "result"]


def test_everything_survives_a_restart(tmp_path, clock):
    first = Spool(tmp_path, now=clock)
    with_findings(first, 3)
    first.finish("cmd_1", result(), [report()])
    first.claim("cmd_2")
    first.begin("cmd_2", 4)
    first.record_run("cmd_2", RecordedRun("run", 123, 4.5))
    first.close()

    second = Spool(tmp_path, now=clock)

    assert [(item.id, item.attempt, item.state) for item in second.held()] == [
        ("cmd_1", 1, "finished"),
        ("cmd_2", 4, "begun"),
    ]
    assert second.runs() == [RecordedRun("run", 123, 4.5)]
    assert [kind for kind, _ in drain(second)] == ["findings", "result"]
    second.close()


def test_a_known_command_is_not_claimed_twice(spool):
    assert spool.claim("cmd_1") is True
    assert spool.claim("cmd_1") is False
    spool.forget("cmd_1")
    assert spool.claim("cmd_1") is True


def test_a_result_whose_findings_were_refused_is_a_failure(spool):
    with_findings(spool, 1)
    spool.finish("cmd_1", result(findings_count=1), [report()])
    entry, _ = spool.next_due()
    spool.park(entry, "finding 0 has no title")

    ((kind, body),) = drain(spool)

    assert kind == "result"
    assert body["status"] == "failed"
    assert body["metadata"]["reason"] == "findings_rejected"
    assert "finding 0 has no title" in body["error"]
    (parked,) = spool.entries()
    assert (parked.kind, parked.parked) == ("findings", True)


def test_a_parked_row_can_be_retried_or_dropped(spool):
    with_findings(spool, 1)
    spool.finish("cmd_1", None, [report()])
    entry, _ = spool.next_due()
    spool.park(entry, "no")

    assert spool.next_due() is None
    assert spool.retry() == 1
    entry, _ = spool.next_due()
    assert spool.drop(entry.seq) is False, "only what is parked may be dropped"
    spool.park(entry, "no again")
    assert spool.drop(entry.seq) is True
    assert spool.entries() == []


def test_what_is_too_old_is_given_up_and_never_leaves_a_clean_result(spool, clock):
    with_findings(spool, 1)
    spool.finish("cmd_1", result(), [report()])
    spool.postpone(spool.next_due()[0], timedelta(0), "away")
    clock.time += timedelta(days=1)
    with_findings(spool, 1, "cmd_2", "r2")
    spool.finish("cmd_2", result(), [report("r2")])
    spool.postpone(spool.next_due()[0], timedelta(0), "away")
    clock.time += timedelta(days=6, hours=1)

    assert spool.prune(timedelta(days=7)) == 1
    assert len(spool.entries()) == 3
    due, body = spool.next_due()
    assert (due.command_id, json.loads(body)["status"]) == ("cmd_1", "failed")


def test_what_was_never_tried_is_not_too_old_when_the_clock_is_set(spool, clock):
    with_findings(spool, 1)
    spool.finish("cmd_1", result(), [report()])
    clock.time += timedelta(days=20_000)

    assert spool.prune(timedelta(days=7)) == 0
    assert [kind for kind, _ in drain(spool)] == ["findings", "result"]


def test_a_clock_that_is_set_back_does_not_hold_a_row_for_years(spool, clock):
    with_findings(spool, 0)
    spool.finish("cmd_1", None, [report()])
    spool.postpone(spool.next_due()[0], timedelta(seconds=60), "away")
    clock.time -= timedelta(days=3650)

    assert spool.next_due() is not None


def test_a_command_whose_result_was_given_up_is_held_no_longer(spool, clock):
    spool.claim("cmd_1")
    spool.finish("cmd_1", result(), [])
    spool.postpone(spool.next_due()[0], timedelta(0), "away")
    clock.time += timedelta(days=8)

    assert spool.prune(timedelta(days=7)) == 1
    assert spool.held() == []


def test_a_result_that_waits_for_its_findings_wakes_nobody(spool, clock):
    with_findings(spool, 1)
    spool.finish("cmd_1", result(), [report()])
    spool.postpone(spool.next_due()[0], timedelta(seconds=60), "away")

    assert spool.next_try_at() == (clock.time + timedelta(seconds=60)).timestamp()


def test_a_nul_that_a_tool_printed_is_replaced_for_the_server_refuses_it(spool):
    spool.claim("cmd_1")
    spool.open_report("r1", "cmd_1")
    spool.add_findings("r1", "cmd_1", [finding("a\0\0b", description="\\u0000 \\\0")])
    spool.finish("cmd_1", result("failed", error="\0x", metadata={"\0": 1}), [report()])

    (_, findings), (_, outcome) = drain(spool)

    assert findings["findings"][0]["title"] == "a\ufffd\ufffdb"
    assert findings["findings"][0]["description"] == "\\u0000 \\\ufffd"
    assert (outcome["error"], outcome["metadata"]) == ("\ufffdx", {"\ufffd": 1})


def test_a_full_spool_says_so_and_keeps_what_it_has(tmp_path, clock):
    spool = Spool(tmp_path, now=clock, max_bytes=1 << 20)
    with_findings(spool, 1)
    spool.finish("cmd_1", result(), [report()])
    with_findings(spool, 0, "cmd_2", "r2")

    with pytest.raises(DiskFull):
        spool.add_findings("r2", "cmd_2", [finding(description="x" * 50_000) for _ in range(40)])

    spool.finish("cmd_2", result("failed"), [])
    assert [kind for kind, _ in drain(spool)] == ["findings", "result", "result"]
    spool.close()


def test_a_configured_secret_never_reaches_the_disk(tmp_path, clock):
    key = "rs_src_topsecret"
    spool = Spool(tmp_path, now=clock, mask=lambda text: mask(text, key))
    spool.claim("cmd_1")
    spool.open_report("r1", "cmd_1")
    spool.add_findings("r1", "cmd_1", [finding(f"the key is {key}")])
    spool.finish("cmd_1", result("failed", error=f"401 for {key}"), [report()])
    spool.postpone(spool.next_due()[0], timedelta(0), f"refused {key}")
    spool.close()

    assert all(key.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_the_spool_is_for_its_user_alone(tmp_path, clock):
    spool = Spool(tmp_path / "state", now=clock)
    spool.claim("cmd_1")

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    for file in (tmp_path / "state").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    spool.close()


def test_a_directory_that_is_there_keeps_its_mode_unless_everybody_may_write_to_it(tmp_path, clock):
    (tmp_path / "state").mkdir(mode=0o755)
    Spool(tmp_path / "state", now=clock).close()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o755
    with pytest.raises(SpoolError, match="everybody may write"):
        Spool(tmp_path / "open", now=clock)


def test_a_damaged_spool_is_an_error_and_is_left_as_it_was(tmp_path, clock):
    file = tmp_path / "spool.sqlite3"
    file.write_bytes(b"this is no database" * 100)

    with pytest.raises(SpoolError, match=r"spool\.sqlite3"):
        Spool(tmp_path, now=clock)
    assert file.read_bytes() == b"this is no database" * 100


def test_a_state_directory_that_cannot_be_made_is_an_error(tmp_path, clock):
    (tmp_path / "file").write_text("x")

    with pytest.raises(SpoolError, match="state_dir"):
        Spool(tmp_path / "file" / "state", now=clock)


def test_a_failed_transaction_leaves_nothing_behind(spool):
    with_findings(spool, 1)
    with pytest.raises(SpoolError):
        spool.open_report("r1", "cmd_1")  # the id is taken
    spool.finish("cmd_1", result(), [report()])

    assert [kind for kind, _ in drain(spool)] == ["findings", "result"]


def test_two_agents_do_not_share_a_state_directory(tmp_path):
    with StateLock(tmp_path), pytest.raises(SpoolError, match="another agent"), StateLock(tmp_path):
        pass
    with StateLock(tmp_path):
        pass


def test_a_part_stays_within_the_cap_of_a_request_body(spool):
    spool.claim("cmd_1")
    spool.open_report("r1", "cmd_1")
    spool.add_findings("r1", "cmd_1", [finding(description="ü" * 99_000) for _ in range(60)])
    spool.finish("cmd_1", None, [report()])

    sizes = []
    while (due := spool.next_due()) is not None:
        sizes.append(len(due[1].encode()))
        spool.delivered(due[0])
    assert len(sizes) > 1
    assert max(sizes) < 10_000_000


def test_the_findings_of_a_report_can_be_read_back_while_they_wait(spool):
    with_findings(spool, 1200)
    spool.finish("cmd_1", None, [report()])

    assert [item.title for item in spool.findings("r1")] == [str(n) for n in range(1200)]


def test_the_database_is_written_through_to_the_disk(spool):
    with spool._database.reading() as db:  # the one promise that no other door shows
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert isinstance(db, sqlite3.Connection)
