"""The page's chapters about the server: goals, figures, and what limits each."""

from collections.abc import Iterator, Mapping
from typing import Final

from figures import Figure, Goal, Results, cell, table

AGENT: Final = "Rediver's agent"
CELERY: Final = "Celery on Redis"
HUEY: Final = "Huey on Redis"
STARLETTE: Final = "starlette on uvicorn"
DATABASES: Final = {"SQLite": "gthread", "PostgreSQL": "gevent"}
POLL_SECONDS: Final = 20  # of plain_queue.py

ROUND_TRIP: Final = """\
## How long does a command take, there and back?

A no-op, {queue_rounds} rounds of {plain_jobs:,} commands ({jobs} with Rediver's own agent), one
producer, one worker.

- **Rediver on …**: the server, with a plain client of the contract as its agent: woken by
  WebSocket, then `POST /commands/claim` of up to 100 and `POST /commands/results`. The producer
  sends one scan a call, or **batches** of 100. With each come keys, validation, tenants, fencing
  and the audit trail; every commit is synced to disk (`synchronous=FULL`, PostgreSQL's defaults).
- **Rediver's agent**: the server on SQLite and our agent, with its own record of every step.
- **Celery** and **Huey**: one call a job, one solo worker; they have no batches. Redis keeps
  nothing on disk, but in the last row, where it syncs every write.

*One after another*: the next is sent when the last is done. *Idle*: from sending a command to a
quiet queue until the first line of its work.
"""
ROUND_TRIP_METRICS: Final = {
    "done a second": "jobs_s",
    "sent a second meanwhile": "enq_s",
    "one after another, ms": "serial_ms_p50",
    "idle, ms": "idle_ms_p50",
    "idle, the longest, ms": "idle_ms_max",
    "idle worker, MiB": "worker_mib",
}
ROUND_TRIP_LIMITS: Final = """\
What limits it: with one create a call, the producer waits for one whole request each time; with
batches, Python's time for each command in one server process (see *What does a request cost?*).
A plain client polls every {poll} s, and our agent every 30 s, if nobody wakes them: no probe may
come near that. Our agent writes to its disk, with fsync, before and after each command.
"""
CALLS: Final = """\
## How many claims and creates a second?

One command a call, {http_rounds} rounds of {http_seconds:g} s. The bare Flask app (the shared
bench's) claims by one statement, without keys, tenants, leases, checks or audit trail: on the same
versions, the same kind of gunicorn worker with as many threads, and the same database with every
commit synced; on SQLite with one writer at a time. *Processor*: of the server, for each request.
"""
CALLS_LIMITS: Final = """\
What limits it: one process of Python. It is busy nearly all the time, with the statements that a
claim needs above all: the bare claim is one, ours are counted below.
"""
ANATOMY: Final = """\
## What does a request cost?

Inside the server's process, without HTTP, the median of {anatomy_times}. *In queries* and *in the
commit* is time in the database's driver, the rest is Python: checking, deciding, building SQL and
rows. Statements include those of the key's check.
"""
BACKLOG: Final = """\
## Does a long queue slow an agent down?

Polls of up to 10 and claims of one, one after another: with 100 commands pending, then with 100
more for each of {backlog_sources:,} other sources.
"""
INGEST: Final = """\
## How fast are findings taken in?

{findings:,} findings of one agent in reports of 1,000, each of about 800 bytes, one after another;
then the same findings once more. How many statements that takes is in the table above.
"""
INGEST_LIMITS: Final = """\
What limits it: Python, not the database: its time for a report of 1,000 is in the table above.
"""
SOCKETS: Final = """\
## What does an idle agent cost the server?

{sockets:,} WebSockets in one server process, rounds: {socket_rounds}; pings every 25 s everywhere.
Memory is PSS, without what the first 50 sockets brought; CPU is of one core, over
{socket_idle_seconds:g} s. *To the last*: from sending the word until the last socket has it, median
of 9. Rediver's word is a command: checked, stored and synced before it is passed on. That of the
bare servers is a loop over their sockets.
"""
SOCKETS_LIMITS: Final = """\
What limits it: under gthread each socket has two threads, and a word to all wakes one of each;
under gevent they are greenlets of one thread. flask-sock has the same of both.
"""


def server_goals(results: Results) -> Iterator[Goal]:
    """What was aimed at for the server."""

    def queue(name: str, metric: str, peer: str) -> list[float]:
        return results.ratio(("queues", name, metric), ("queues", peer, metric))

    for name in DATABASES:
        batches, one = f"Rediver on {name}, batches", f"Rediver on {name}"
        ratio = queue(batches, "jobs_s", CELERY)
        yield Goal(f"{name}: batches at least 5 times {CELERY}'s jobs a second", ratio, at_least=5)
        ratio = queue(batches, "jobs_s", HUEY)
        yield Goal(f"{name}: batches at least 1.5 times {HUEY}'s", ratio, at_least=1.5)
        ratio = queue(one, "jobs_s", CELERY)
        yield Goal(f"{name}: one create a call at least 0.8 times {CELERY}'s", ratio, at_least=0.8)
        ratio = queue(one, "idle_ms_p50", CELERY)
        yield Goal(f"{name}: idle dispatch at most 2 times {CELERY}'s", ratio, at_most=2)
        waits = results.values("queues", one, "idle_ms_max").values()
        says = f"{name}: the longest of all far from the poll interval of {POLL_SECONDS} s"
        longest = [max(waits) / 1e3] if waits else []
        yield Goal(says, longest, at_most=POLL_SECONDS / 10, unit=" s")
    yield from _call_goals(results)
    yield from _socket_goals(results)


def _call_goals(results: Results) -> Iterator[Goal]:
    for name in DATABASES:
        ours, bare = f"Rediver on {name}", f"bare Flask on {name}"
        ratio = results.ratio(("claims", ours, "p99_ms"), ("claims", ours, "p50_ms"))
        yield Goal(
            f"{name}: a claim at 16 connections has p99 at most 5 times p50", ratio, at_most=5
        )
        ratio = results.ratio(("claims", ours, "req_s"), ("claims", bare, "req_s"))
        yield Goal(f"{name}: at least 0.6 times the claims of bare Flask", ratio, at_least=0.6)
        for what in ("poll", "claim"):
            many: Figure = ("backlog", ours, f"{what}_ms_many")
            ratio = results.ratio(many, ("backlog", ours, f"{what}_ms_few"))
            long = f"{results.facts['size']['backlog_sources'] * 100:,}"
            says = f"{name}: a {what} before {long} pending commands at most 2 times before 100"
            yield Goal(says, ratio, at_most=2)


def _socket_goals(results: Results) -> Iterator[Goal]:
    count = f"{results.facts['size']['sockets']:,}"
    for name, kind in DATABASES.items():
        ours = f"Rediver on {name} ({kind})"
        ratio = results.ratio(("sockets", ours, "kib"), ("sockets", f"flask-sock ({kind})", "kib"))
        says = f"{name}: memory of each of {count} idle agents at most 1.2 times bare flask-sock's"
        yield Goal(says, ratio, at_most=1.2)
        ratio = results.ratio(("sockets", ours, "last_ms"), ("sockets", STARLETTE, "last_ms"))
        yield Goal(f"{name}: a word to the last within 1.5 times {STARLETTE}'s", ratio, at_most=1.5)


def server_sections(results: Results) -> Iterator[str]:
    """The chapters."""
    size = results.facts["size"]
    yield ROUND_TRIP.format(**size)
    yield _by_name(results, "queues", ROUND_TRIP_METRICS)
    yield ROUND_TRIP_LIMITS.format(poll=POLL_SECONDS)
    yield CALLS.format(**size)
    each = {"a second": "req_s", "p50, ms": "p50_ms", "p99, ms": "p99_ms"}
    each |= {"processor, ms": "cpu_ms"}
    yield "Claims, 16 connections:\n"
    yield _by_name(results, "claims", each)
    for count, title in {1: "1 connection", 16: "16 connections"}.items():
        of_creates = {name: f"creates_{count}_{metric}" for name, metric in each.items()}
        yield f"Creates, {title}:\n"
        yield _by_name(results, "claims", of_creates, only="Rediver")
    yield CALLS_LIMITS
    yield ANATOMY.format(**size)
    yield _anatomy(results)
    yield BACKLOG.format(**size)
    ways = {"few": "100 pending", "many": f"{size['backlog_sources'] * 100 + 100:,}"}
    waits = {
        f"{what}, ms, {ways[way]}": f"{what}_ms_{way}" for what in ("poll", "claim") for way in ways
    }
    yield _by_name(results, "backlog", waits)
    yield INGEST.format(**size)
    yield _by_name(results, "ingest", {"new, a second": "new_s", "seen again, a second": "known_s"})
    yield INGEST_LIMITS
    yield SOCKETS.format(**size)
    metrics = {"KiB each": "kib", "CPU, %": "idle_cpu_percent", "to the last, ms": "last_ms"}
    yield _by_name(
        results, "sockets", metrics | {"all connected, s": "connect_s", "threads": "threads"}
    )
    yield SOCKETS_LIMITS


def _by_name(results: Results, group: str, metrics: Mapping[str, str], only: str = "") -> str:
    rows = [
        (name, *(results.cell(group, name, metric) for metric in metrics.values()))
        for name in results.names(group)
        if name.startswith(only)
    ]
    return table(("", *metrics), *rows)


def _anatomy(results: Results) -> str:
    metrics = {"statements": "statements", "ms": "ms", "in queries": "query_ms"}
    metrics |= {"in the commit": "commit_ms"}
    first, *_ = (f"anatomy on {name}" for name in DATABASES)
    rows = [
        (
            name,
            *(
                cell(list(results.values(f"anatomy on {database}", name, metric).values()))
                for database in DATABASES
                for metric in metrics.values()
            ),
        )
        for name in results.names(first)
    ]
    return table(("", *(f"{name}: {title}" for name in DATABASES for title in metrics)), *rows)
