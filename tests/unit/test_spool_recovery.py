"""A damaged spool is set aside whole, and what of it can be proven goes on."""

import json
import os
import random
import shutil
import sqlite3
import subprocess  # noqa: TID251 - another program has the file open
import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest

from rediver_agent.contract import CommandResult, Finding, Report
from rediver_agent.errors import SpoolDamaged, SpoolError
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.spool_recovery import damage, open_or_set_aside, set_aside

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 4096
HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("SELECT * FROM commands").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


def now():
    return NOW


class State:
    """A state directory with a spool in it."""

    def __init__(self, directory):
        self.directory = directory
        self.path = directory / "spool.sqlite3"
        self.settings = Settings(state_dir=directory)
        with closing(self.spool()) as spool:
            spool.claim_id()

    def spool(self):
        return Spool(self.directory, now=now)

    def begin(self, *ids):
        with closing(self.spool()) as spool:
            for id_ in ids:
                spool.claim(id_)
                spool.begin(id_, 1)

    def finish(self, id_, findings, size=10):
        """A finished scan whose findings and result wait."""
        self.begin(id_)
        with closing(self.spool()) as spool:
            spool.open_report(f"r.{id_}", id_)
            for number in range(findings):
                spool.add_findings(f"r.{id_}", id_, [finding(f"{id_} {number}", size)])
            metadata = {"id": f"r.{id_}", "timestamp": NOW, "command_id": id_}
            report = Report(version="1.0", metadata=metadata, tool={"name": "stub"})
            spool.finish(id_, result(findings_count=findings), [report])

    def local(self, id_, findings, *, sent):
        """A run of the agent's own schedule; the server has the first `sent` parts of it."""
        with closing(self.spool()) as spool:
            spool.begin_local(id_, "scan", "stub", "/srv/app")
            spool.open_report(f"r.{id_}", id_)
            for number in range(findings):
                spool.add_findings(f"r.{id_}", id_, [finding(f"{id_} {number}", 1500)])
            metadata = {"id": f"r.{id_}", "timestamp": NOW}
            report = Report(version="1.0", metadata=metadata, tool={"name": "stub"})
            spool.finish_local(id_, result(findings_count=findings), [report])
            for _ in range(sent):
                spool.delivered(spool.next_due()[0])

    def sql(self, statement, *values):
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            rows = db.execute(statement, values).fetchall()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return rows

    def break_index(self):
        """Damage that costs no row."""
        break_root(self, "idx_outbox_due")

    def recover(self):
        """The new spool's commands by id, and what it sends in order."""
        spool, aside = open_or_set_aside(self.settings, self.spool, now)
        with closing(spool):
            held = {command.id: command.state for command in spool.held()}
            sent = []
            while (due := spool.next_due()) is not None:
                sent.append((due[0].kind, due[0].command_id, json.loads(due[1])))
                spool.delivered(due[0])
        return held, sent, aside


def finding(title, size=10):
    return Finding(type="vulnerability", title=title, severity="high", message="x" * size)


def result(**fields):
    return CommandResult(status="completed", completed_at=NOW, attempt=1, **fields)


@pytest.fixture
def state(tmp_path):
    return State(tmp_path / "state")


def overwrite(path, offset, noise):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(noise)


def break_page(state, number):
    overwrite(state.path, (number - 1) * PAGE, b"\xff" * PAGE)


def break_root(state, name):
    """Damage the first page of a table or an index."""
    break_page(state, *state.sql("SELECT rootpage FROM sqlite_master WHERE name = ?", name)[0])


def break_page_with(state, text):
    break_page(state, state.path.read_bytes().index(text) // PAGE + 1)


def test_a_healthy_spool_is_left_alone(state):
    state.finish("cmd_done", 2)
    state.sql("INSERT INTO runs VALUES ('not started yet', 'cmd_done', 0, 0)")
    before = state.path.stat().st_ino

    held, sent, aside = state.recover()

    assert (held, aside, state.path.stat().st_ino) == ({"cmd_done": "finished"}, [], before)
    assert len(sent) == 3


def test_a_spool_of_an_older_version_and_one_just_begun_are_no_damage(state):
    state.begin("cmd_begun")
    state.sql("DROP TABLE local_starts")
    assert state.recover()[::2] == ({"cmd_begun": "begun"}, [])

    state.path.write_bytes(b"")
    assert state.recover() == ({}, [], [])


def test_what_is_no_database_is_set_aside_whole_and_said(state, caplog):
    state.finish("cmd_done", 2)
    overwrite(state.path, 0, b"this is no database at all")
    content = state.path.read_bytes()

    held, sent, aside = state.recover()

    assert (held, sent) == ({}, [])
    assert aside == ["spool.corrupt-20260101T000000Z.sqlite3"]
    assert (state.directory / aside[0]).read_bytes() == content
    assert "file is not a database" in caplog.text
    assert "nothing in it could be read" in caplog.text
    assert state.recover()[2] == aside, "it is the operator's to delete"


def test_the_write_ahead_log_goes_aside_with_its_file(state):
    spool = state.spool()
    spool.claim("cmd_begun")
    shutil.copytree(state.directory, twin := state.directory.with_name("twin"))  # as if killed
    spool.close()
    overwrite(twin / "spool.sqlite3", 0, b"no database")
    log = (twin / "spool.sqlite3-wal").read_bytes()

    aside = recovered(twin)

    assert (twin / f"{aside[0]}-wal").read_bytes() == log
    assert not (twin / "spool.sqlite3-wal").exists()


def recovered(directory):
    """The names of what stands aside after a start."""
    spool, aside = open_or_set_aside(
        Settings(state_dir=directory), lambda: Spool(directory, now=now), now
    )
    spool.close()
    return aside


def test_an_emptied_spool_does_not_take_its_log_with_it(state):
    spool = state.spool()
    spool.claim("cmd_begun")
    shutil.copytree(state.directory, twin := state.directory.with_name("twin"))
    spool.close()
    os.truncate(twin / "spool.sqlite3", 0)
    log = (twin / "spool.sqlite3-wal").read_bytes()

    with pytest.raises(SpoolDamaged, match="its write-ahead log is not"):
        Spool(twin, now=now)
    aside = recovered(twin)

    assert (twin / f"{aside[0]}-wal").read_bytes() == log


def test_a_database_of_something_else_is_set_aside(state):
    state.path.unlink()
    state.sql("CREATE TABLE cookies (id)")

    with pytest.raises(SpoolDamaged, match="database of something else, with a table cookies"):
        state.spool()
    assert state.recover() == ({}, [], ["spool.corrupt-20260101T000000Z.sqlite3"])
    assert state.sql("SELECT name FROM sqlite_master WHERE name = 'cookies'") == []


def test_a_table_of_other_columns_is_set_aside_and_its_rows_are_not_believed(state):
    state.begin("cmd_begun")
    state.sql("ALTER TABLE runs ADD COLUMN more TEXT")

    held, _, aside = state.recover()

    assert (held, len(aside)) == ({"cmd_begun": "begun"}, 1)


def test_a_whole_outcome_beside_a_broken_page_is_still_sent(state, caplog):
    state.begin("cmd_begun")
    state.finish("cmd_done", 3)
    state.finish("cmd_clean", 0)
    state.break_index()

    held, sent, aside = state.recover()

    assert held == {"cmd_begun": "begun", "cmd_done": "finished", "cmd_clean": "finished"}
    assert [kind for kind, *_ in sent].count("findings") == 4
    assert {id_ for kind, id_, _ in sent if kind == "result"} == {"cmd_done", "cmd_clean"}
    assert (len(aside), caplog.records[0].levelname) == (1, "ERROR")
    assert "1 commands are reported as failed (agent_restarted), 6 rows" in caplog.text


def test_an_outcome_that_has_lost_findings_is_no_outcome(state, caplog):
    """A result without its findings would be a silent clean."""
    state.finish("cmd_lost", 30, size=1500)
    state.finish("cmd_done", 2)
    break_page_with(state, b'"title":"cmd_lost 12"')

    held, sent, _ = state.recover()

    assert held == {"cmd_lost": "begun", "cmd_done": "finished"}
    assert {id_ for _, id_, _ in sent} == {"cmd_done"}
    assert "1 outcomes are not all there" in caplog.text


def test_a_command_is_known_by_the_index_where_its_table_is_broken(state):
    state.begin("cmd_1", "cmd_2")
    break_root(state, "commands")

    held, _, _ = state.recover()

    assert held == {"cmd_1": "begun", "cmd_2": "begun"}


def test_a_row_that_makes_no_sense_is_refused_by_itself(state, caplog):
    state.finish("cmd_bad", 1)
    state.finish("cmd_done", 1)
    state.sql("UPDATE outbox SET body = CAST(x'5bff' AS TEXT) WHERE seq = 1")
    state.sql("INSERT INTO commands VALUES ('no id at all', 1, 'begun', 0)")

    held, sent, _ = state.recover()

    # The findings, and the command twice: as its table has it and as the index does.
    assert held == {"cmd_bad": "begun", "cmd_done": "finished"}
    assert {id_ for _, id_, _ in sent} == {"cmd_done"}
    assert "3 rows make no sense" in caplog.text


def test_local_runs_stay_with_their_reports(state):
    state.local("scan_1", 3, sent=2)
    state.break_index()

    spool, aside = open_or_set_aside(state.settings, state.spool, now)

    with closing(spool):
        assert aside
        (run,) = spool.local_runs()
        assert (run.result.findings_count, run.delivery) == (3, "waiting")
        (report,) = spool.local_reports("scan_1")
        assert len(list(spool.findings(report.metadata.id))) == 3
        assert len(spool.local_starts()) == 1


def test_a_local_run_that_has_lost_findings_counts_as_killed(state):
    state.local("scan_1", 30, sent=30)
    break_page_with(state, b'"title":"scan_1 12"')

    spool, aside = open_or_set_aside(state.settings, state.spool, now)

    with closing(spool):
        assert (len(aside), spool.fail_unfinished_local()) == (1, ["scan_1"])
        assert spool.local_reports("scan_1") == []


def test_a_claim_under_way_keeps_its_name(state):
    with closing(state.spool()) as spool:
        name = spool.claim_id()
    state.sql("CREATE TABLE runs2 (x)")
    state.sql("DROP TABLE runs")
    state.sql("ALTER TABLE runs2 RENAME TO runs")

    spool, aside = open_or_set_aside(state.settings, state.spool, now)

    with closing(spool):
        assert spool.claim_id() == name
    assert aside


@pytest.mark.parametrize("seed", range(40))
def test_no_noise_makes_a_clean_result_of_a_lost_finding(state, seed):
    """Whatever is overwritten: a result that is sent has all its findings sent before it."""
    counts = {"cmd_a": 3, "cmd_b": 12, "cmd_c": 0, "cmd_d": 1}
    for id_, count in counts.items():
        state.finish(id_, count, size=900)
    state.begin("cmd_e")
    noise = random.Random(seed)
    size = state.path.stat().st_size
    for _ in range(noise.randrange(1, 5)):
        length = noise.choice([16, 64, 512, PAGE])
        offset = noise.randrange(100, size - length)
        overwrite(state.path, offset, noise.randbytes(length))
    content, damaged = state.path.read_bytes(), damage(state.path) is not None

    held, sent, aside = state.recover()

    assert bool(aside) == damaged
    if damaged:
        assert (state.directory / aside[0]).read_bytes() == content
    for position, (kind, id_, body) in enumerate(sent):
        if kind == "result":
            before = [b for k, i, b in sent[:position] if (k, i) == ("findings", id_)]
            assert sum(len(b["findings"]) for b in before) == body["findings_count"], id_
    assert set(held) >= {id_ for kind, id_, _ in sent if kind == "result"}
    assert damage(state.path) is None


@pytest.mark.parametrize("steps", range(8))
def test_killed_while_it_is_set_aside_the_next_start_goes_on(state, steps):
    """Every change of a name is a step; the process ends before one of them."""
    state.begin("cmd_begun")
    state.finish("cmd_done", 2)
    state.break_index()
    content = state.path.read_bytes()
    killed = pytest.MonkeyPatch()
    left = [steps]
    for name in ("rename", "link", "rmdir", "mkdir"):
        real = getattr(os, name)

        def step(*arguments, real=real, **named):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*arguments, **named)

        killed.setattr(os, name, step)
    try:
        recovered(state.directory)
    except KeyboardInterrupt:
        pass
    finally:
        killed.undo()

    held, sent, aside = state.recover()

    assert held == {"cmd_begun": "begun", "cmd_done": "finished"}
    assert [kind for kind, *_ in sent] == ["findings", "findings", "result"]
    assert len(aside) == 1
    assert (state.directory / aside[0]).read_bytes() == content
    assert not [path for path in state.directory.iterdir() if "successor" in path.name]


def test_a_spool_that_another_command_uses_is_not_moved_under_it(state):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout.readline() == b"open\n"
        state.break_index()
        with pytest.raises(SpoolError, match="in use by another command"):
            open_or_set_aside(state.settings, state.spool, now)
        holder.stdin.close()
    assert len(state.recover()[2]) == 1


def test_two_damages_in_one_second_have_two_names(state):
    for _ in range(2):
        overwrite(state.path, 0, b"no database")
        state.recover()

    names = ["spool.corrupt-20260101T000000Z-2.sqlite3", "spool.corrupt-20260101T000000Z.sqlite3"]
    assert set_aside(state.directory) == names
