"""Many servers, one schedule: exactly one command for each fire time, whoever is killed."""

import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from house import Program, wait_for
from real_postgresql import RealPostgresql
from rediver_server_fixtures import TEMPLATE, Clock, Server, Tenant, start
from sqlalchemy import func, select

from rediver_server.models import Command, CommandEvent, ScanSchedule
from rediver_server.schedules import fire_due

SCHEDULES, ROUNDS, THREADS, PROCESSES = 12, 10, 8, 3
HOUR = 3600

# What every server process does about once a second; the time is read from a file.
LOOP = """
import sys, time
from datetime import datetime
from pathlib import Path
from rediver_server.db import Database
from rediver_server.schedules import fire_due

url, clock = sys.argv[1], Path(sys.argv[2])
db = Database(url, clock=lambda: datetime.fromisoformat(clock.read_text()))
print("ready")
while True:
    fire_due(db)
    time.sleep(0.005)
"""

STOPS_BEFORE_COMMIT = """
import sys, time
from datetime import datetime
from sqlalchemy import event
from rediver_server.db import Database
from rediver_server.schedules import fire_due

def stop(connection):
    print("about to commit")
    time.sleep(3600)

db = Database(sys.argv[1], clock=lambda: datetime.fromisoformat(sys.argv[2]))
event.listen(db.engine, "commit", stop)
fire_due(db)
"""


def hourly(tenant: Tenant, count: int) -> None:
    for number in range(count):
        tenant.admin.ok(
            "POST",
            "/scan-schedules",
            {
                "name": f"s{number}",
                "scanner": "semgrep",
                "target": "/srv/app",
                "cron_expression": "0 * * * *",
                "overlap": "allow",
            },
        )


def commands(server: Server) -> Counter[tuple[str, datetime]]:
    """How many commands there are for each schedule and fire time."""
    each = (Command.schedule_id, Command.fire_at)
    with server.app.extensions["rediver"].read() as tx:
        rows = tx.execute(select(*each, func.count()).group_by(*each)).all()
    return Counter({(schedule, fire): count for schedule, fire, count in rows})


def test_of_racing_threads_exactly_one_makes_each_command(
    server: Server, tenant: Tenant, clock: Clock
):
    hourly(tenant, SCHEDULES)
    together = threading.Barrier(THREADS)

    def race(_: int) -> int:
        together.wait()
        return fire_due(server.app.extensions["rediver"])

    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(1, ROUNDS + 1):
            clock.advance(HOUR)
            assert sum(pool.map(race, range(THREADS))) == SCHEDULES
            assert set(commands(server).values()) == {1}
            assert len(commands(server)) == number * SCHEDULES


@pytest.fixture
def shared(postgresql: RealPostgresql) -> Server:
    return start(postgresql.new_database(template=TEMPLATE))


def test_of_three_processes_one_is_killed_in_the_middle_and_nothing_is_lost_or_doubled(
    shared: Server, tmp_path: Path
):
    hourly(shared.tenant(), SCHEDULES)
    clock = tmp_path / "clock"

    def pass_time(seconds: int) -> None:
        shared.clock.advance(seconds)
        (tmp_path / "next").write_text(shared.clock.now.isoformat())
        (tmp_path / "next").replace(clock)

    pass_time(0)
    processes = [
        Program(tmp_path / f"{number}.log", sys.executable, "-c", LOOP, shared.url, str(clock))
        for number in range(PROCESSES)
    ]
    try:
        for process in processes:
            wait_for(lambda at=process: "ready" in at.text(), "a process runs")
        for number in range(1, ROUNDS + 1):
            done, wanted = (number - 1) * SCHEDULES, number * SCHEDULES
            pass_time(HOUR)
            if number == ROUNDS // 2:
                wait_for(lambda least=done: len(commands(shared)) > least, "a round has begun")
                processes[0].crash()
            wait_for(lambda all_of=wanted: len(commands(shared)) >= all_of, f"round {number}")
        assert [each.process.poll() is None for each in processes] == [False, True, True]
    finally:
        for process in processes:
            if process.process.poll() is None:
                process.crash()
    assert_each_once(shared)
    shared.app.extensions["rediver"].close()


def assert_each_once(server: Server) -> None:
    found = commands(server)
    assert set(found.values()) == {1}
    assert set(Counter(schedule for schedule, _ in found).values()) == {ROUNDS}
    with server.app.extensions["rediver"].read() as tx:
        events = tx.scalars(select(CommandEvent.reason)).all()
        planned = set(tx.scalars(select(ScanSchedule.next_run_at)).all())
    assert events == ["created"] * ROUNDS * SCHEDULES
    assert [moment - server.clock.now for moment in planned] == [min(planned) - server.clock.now]
    assert min(planned) > server.clock.now


def test_what_a_server_was_killed_over_just_before_its_commit_is_done_by_another(
    shared: Server, tmp_path: Path
):
    hourly(shared.tenant(), 2)
    shared.clock.advance(HOUR)
    db, log = shared.app.extensions["rediver"], tmp_path / "doomed.log"
    now = shared.clock.now.isoformat()
    doomed = Program(log, sys.executable, "-c", STOPS_BEFORE_COMMIT, shared.url, now)
    try:
        wait_for(lambda: "about to commit" in doomed.text(), "it has made a command")
        assert fire_due(db) == 1  # the other schedule, at once
        assert fire_due(db) == 0
    finally:
        doomed.crash()
    wait_for(lambda: fire_due(db) == 1, "the database has let go of the schedule")
    assert list(commands(shared).values()) == [1, 1]
    db.close()
