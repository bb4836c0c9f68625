"""A server may hand a command over anew before the agent has heard that its answer arrived."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from rediver_agent.contract import CommandResult, Finding, Report
from rediver_agent.spool import Spool

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "state", now=lambda: NOW)
    yield spool
    spool.close()


def result(attempt=1, **fields):
    return CommandResult(status="completed", completed_at=NOW, attempt=attempt, **fields)


def report(report_id="r1"):
    metadata = {"id": report_id, "timestamp": NOW}
    return Report(version="1.0", metadata=metadata, tool={"name": "semgrep"})


def begun(spool, findings):
    """The first attempt of a command, with a report of so many findings."""
    spool.begin_claimed([("cmd_1", 1)])
    spool.open_report("r1", "cmd_1")
    found = [Finding(type="secret", title=str(n), severity="high") for n in range(findings)]
    spool.add_findings("r1", "cmd_1", found)


def drain(spool):
    sent = []
    while (due := spool.next_due()) is not None:
        sent.append((due[0].kind, json.loads(due[1])))
        spool.delivered(due[0])
    return sent


def test_a_newer_attempt_begins_while_the_answer_about_the_older_is_on_its_way(spool):
    begun(spool, findings=1)
    spool.finish("cmd_1", result(), [report()])
    spool.delivered(spool.next_due()[0])
    on_its_way, _ = spool.next_due()

    assert spool.begin_claimed([("cmd_1", 2)]) == {"cmd_1"}
    spool.delivered(on_its_way)

    (held,) = spool.held()
    assert (held.attempt, held.state) == (2, "begun")
    spool.finish("cmd_1", result(attempt=2), ())
    ((kind, body),) = drain(spool)
    assert (kind, body["attempt"]) == ("result", 2)
    assert spool.held() == []


def test_findings_of_an_older_attempt_are_sent_and_hold_nobody_back(spool):
    begun(spool, findings=1)
    spool.finish("cmd_1", result(findings_count=1), [report()])
    older, _ = spool.next_due()

    spool.begin_claimed([("cmd_1", 2)])
    spool.postpone(older, timedelta(hours=1), "away")
    spool.open_report("r2", "cmd_1")
    spool.finish("cmd_1", result(attempt=2), [report("r2")])

    assert [(kind, body["metadata"].get("id")) for kind, body in drain(spool)] == [
        ("findings", "r2"),
        ("result", None),
    ]
    spool.park(older, "too old")
    spool.retry()
    assert [body["metadata"]["id"] for _, body in drain(spool)] == ["r1"]


@pytest.mark.parametrize("attempt", [1, None])
def test_an_attempt_that_is_answered_already_is_not_begun_again(spool, attempt):
    begun(spool, findings=0)
    spool.finish("cmd_1", result(), [report()])

    assert spool.begin_claimed([("cmd_1", attempt)]) == set()
    assert [kind for kind, _ in drain(spool)] == ["findings", "result"]


def test_a_newer_attempt_waits_for_the_older_one_to_end(spool):
    begun(spool, findings=0)

    assert spool.begin_claimed([("cmd_1", 2)]) == set()
    assert [held.attempt for held in spool.held()] == [1]
