"""The server's processes: how they start, stop, die, and hear of one another."""

import os
import signal
import threading
from contextlib import contextmanager

import httpx
import psycopg
import pytest
from house import alive, wait_for
from rediver_server_fixtures import RESULT, TEMPLATE
from served import AVAILABLE, Served
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from rediver_server.background import Background
from rediver_server.db import Database
from rediver_server.models import Command, CommandEvent

PATIENCE = 9.5  # seconds; gunicorn kills a worker after ten


@pytest.fixture
def served(database_url, tmp_path):
    """One process of it."""
    running = Served(database_url, tmp_path)
    yield running
    running.close()


@pytest.fixture
def url(postgresql):
    return postgresql.new_database(template=TEMPLATE)


@pytest.fixture
def lone(url, tmp_path):
    """One process on PostgreSQL."""
    running = Served(url, tmp_path)
    yield running
    running.close()


@pytest.fixture
def pair(url, tmp_path):
    """Two processes on PostgreSQL."""
    running = Served(url, tmp_path, "--workers", "2")
    yield running
    running.close()


@contextmanager
def heartbeat_that_waits(served):
    """A heartbeat whose query waits for a row, until this ends. Then its reply is here."""
    agent, replies = served.tenant().agent(), []
    said = {"name": "agent", "status": "running"}
    thread = threading.Thread(
        target=lambda: replies.append(agent.ok("POST", "/ingest/heartbeat", said))
    )
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with psycopg.connect(served.url) as other:
        other.execute("SELECT 1 FROM sources FOR UPDATE")
        thread.start()
        wait_for(lambda: other.execute(waiting).fetchone() > (0,), "the heartbeat waits")
        yield replies
    thread.join()


def ends_by_itself(program, signal_number=signal.SIGTERM):
    """Signal it and see it end before gunicorn loses its patience with a worker."""
    program.process.send_signal(signal_number)
    wait_for(lambda: program.process.poll() is not None, "it ends", PATIENCE)
    assert program.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_goodbye_and_stops_promptly_with_a_hundred_sockets_open(served, number):
    tenant = served.tenant()
    agents = [tenant.agent() for _ in range(5)]
    ears = [agents[n % 5].listen() for n in range(100)]

    ends_by_itself(served.program, number)
    for each in ears:
        assert each.closed.wait(30)
        assert each.heard == [{"type": "closing", "reason": "this server is stopping"}]


def test_idle_and_deaf_connections_do_not_hold_up_the_stop(served):
    agent = served.tenant().agent()
    with served.connect(), served.upgraded(agent.key) as deaf:
        assert deaf.recv(4096).startswith(b"HTTP/1.1 101")
        agent.ok("GET", "/commands")  # its connection is kept alive
        ends_by_itself(served.program)


def test_workers_whose_master_was_killed_end_and_free_the_port(served):
    agent = served.tenant().agent()
    ears = agent.listen()
    workers = served.workers()

    served.program.process.kill()
    assert ears.closed.wait(30)
    wait_for(lambda: not any(map(alive, workers)), "the workers end", PATIENCE)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{served.port}/healthz")


def test_a_killed_worker_is_replaced_and_the_address_is_said_once(served):
    (worker,) = served.workers()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: served.workers() not in ([], [worker]), "another worker")

    with httpx.Client(base_url=str(served.http.base_url)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200, "it answers")
    assert served.log.read_text().count("listening on") == 1


def test_a_query_that_waits_blocks_no_other_request(lone):
    with heartbeat_that_waits(lone) as replies:
        assert httpx.get(f"{lone.http.base_url}/healthz").status_code == 200
        assert replies == []
    assert replies[0]["success"]


def test_a_request_that_is_being_answered_is_answered_before_the_end(lone):
    (worker,) = lone.workers()
    with heartbeat_that_waits(lone) as replies:
        lone.program.process.terminate()
        wait_for(lambda: refuses(lone), "it accepts no more")
    assert replies[0]["success"]
    assert lone.program.stop() == 0
    assert not alive(worker)


def refuses(served):
    try:
        served.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_nudge_reaches_the_sockets_of_every_process(pair):
    tenant = pair.tenant()
    agents = [tenant.agent() for _ in range(12)]
    ears = [agent.listen() for agent in agents]

    for agent, each in zip(agents, ears, strict=True):
        tenant.order(agent)
        each.hear(AVAILABLE)


def test_a_lost_listening_connection_is_opened_again_and_everybody_nudged(lone):
    tenant = lone.tenant()
    agent = tenant.agent()
    query = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE query ~ '^(LISTEN|SELECT 1$)' AND datname = current_database()"
    )
    with psycopg.connect(lone.url, autocommit=True) as other:
        (listening,) = wait_for(lambda: other.execute(query).fetchone(), "it listens")
        ears = agent.listen()
        other.execute("SELECT pg_terminate_backend(%s)", [listening])

        ears.hear(AVAILABLE)
        tenant.order(agent)
        ears.hear(AVAILABLE)
        assert other.execute(query).fetchone() != (listening,)


def insistently(caller, method, path, body=None, **headers):
    """One call, until it is answered by a server that lives. Every one of them may be repeated."""

    def answer():
        with httpx.Client(base_url=str(caller.served.http.base_url), timeout=30) as http:
            try:
                auth = {"Authorization": f"Bearer {caller.key}"}
                reply = http.request(
                    method, f"/api/v1{path}", json=body, headers={**auth, **headers}
                )
            except httpx.TransportError:
                return None
        busy = reply.status_code >= 500 or "IN_PROGRESS" in reply.text
        return None if busy else reply

    reply = wait_for(answer, f"{method} {path} is answered")
    assert reply.status_code < 300, reply.text
    return reply.json()


def goes_on(done):
    so_far = len(done)
    wait_for(lambda: len(done) >= so_far + 5, "the work goes on")


def test_killing_workers_under_load_loses_no_command_and_no_result(pair):
    tenant = pair.tenant()
    agents = [tenant.agent("semgrep") for _ in range(4)]
    done, enough = [], threading.Event()

    def work(n):
        agent, count = agents[n], 0
        while not enough.is_set():
            order = {
                "type": "scan", "payload": {"scanner": "semgrep", "target": "/srv/app"},
                "source_id": agent.id,
            }  # fmt: skip
            once = {"Idempotency-Key": f"{n}-{count}"}
            command = insistently(tenant, "POST", "/commands", order, **once)["id"]
            insistently(agent, "POST", f"/commands/{command}/acknowledge", {})
            insistently(agent, "POST", f"/commands/{command}/result", RESULT)
            done.append(command)
            count += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for kill in range(4):
        goes_on(done)
        before = wait_for(lambda: found if len(found := pair.workers()) == 2 else None, "two")
        os.kill(before[kill % 2], signal.SIGKILL)
    goes_on(done)
    enough.set()
    for thread in threads:
        thread.join()

    db = Database(pair.url)
    with db.read() as tx:
        commands = {row.id: row for row in tx.scalars(select(Command))}
        moves = tx.execute(
            select(CommandEvent.command_id, CommandEvent.to_status, func.count()).group_by(
                CommandEvent.command_id, CommandEvent.to_status
            )
        ).all()
    db.close()
    assert commands.keys() == set(done)
    assert {(row.status, row.attempt) for row in commands.values()} == {("completed", 1)}
    states = ("pending", "acknowledged", "completed")
    assert {tuple(move) for move in moves} == {(key, state, 1) for key in done for state in states}


def test_a_database_that_is_away_is_one_sentence_in_the_log_and_a_defect_is_a_traceback(caplog):
    def ends():
        raise SystemExit

    def away():
        raise OperationalError("SELECT 1", None, ConnectionError("it is away"))

    def wrong():
        raise ZeroDivisionError

    with pytest.raises(SystemExit):
        Background({away: 0, wrong: 0, ends: 0}).run()
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]
    assert "it is away" in caplog.text


def test_a_background_job_that_fails_ends_neither_itself_nor_the_others():
    runs = []

    def fails():
        runs.append("fails")
        raise ZeroDivisionError

    def works():
        runs.append("works")
        if len(runs) == 4:
            raise SystemExit  # nothing else ends it

    background = Background({fails: 0, works: 0})
    began = background.last_round
    with pytest.raises(SystemExit):
        background.run()
    assert runs == ["fails", "works"] * 2
    assert background.last_round > began
