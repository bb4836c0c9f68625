"""Claims and creates beside a bare Flask claim; polls in front of a long queue; ingest."""

import itertools
import json
import statistics
import uuid
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from bare import flask_claims
from load import Request, http_request, load, times
from programs import BIN, SHARED, cpu_seconds, said
from record import Run
from rediver_process import Database, Rediver, rediver
from reports import report

_CONNECTIONS: Final = 16
_OURS_A_SECOND: Final = 1_500  # commands that are laid down: no claim must find none
_BARE_A_SECOND: Final = 8_000
_EMPTY: Final = b'"commands":[]'
_A_PART: Final = 1_000  # findings
_NONE_TAKEN: Final = b'"findings_created":0,"findings_updated":0'
_FEW: Final = 100  # commands


def claims_and_creates(bench: Run, databases: Iterable[Database]) -> None:
    """One command a call, of one source, by several connections at once."""
    seconds = bench.size.http_seconds
    for number, database in itertools.product(range(1, bench.size.http_rounds + 1), databases):
        with rediver(database) as server:
            bench.add("claims", f"Rediver on {database.name}", number, _calls(server, seconds))
        rows = int(seconds * _BARE_A_SECOND)
        bare = f"bare Flask on {database.name}"
        if not SHARED.is_dir():
            bench.miss(f"{bare}: ../shared/bench is not there")
            continue
        with bench.peer(bare), flask_claims(database, rows) as port:
            claim = partial(http_request, "POST", "/claim")
            load(port, claim, _CONNECTIONS, 0.5)
            row = load(port, claim, _CONNECTIONS, seconds, unless=_EMPTY)
            bench.add("claims", bare, number, row)


def _calls(server: Rediver, seconds: float) -> dict[str, float]:
    beat = {"name": "bench", "status": "running", "scanners": ["noop"]}  # so it may use the pool
    server.call("POST", "/api/v1/ingest/heartbeat", beat, server.source["api_key"])
    server.create(int(seconds * _OURS_A_SECOND))
    row = _loaded(server, partial(_claim, server, 1), _CONNECTIONS, seconds, unless=_EMPTY)
    create = http_request("POST", "/api/v1/commands", server.order(), server.tenant["api_key"])
    for count in (1, _CONNECTIONS):
        found = _loaded(server, lambda: create, count, seconds)
        row |= {f"creates_{count}_{name}": value for name, value in found.items()}
    return row


def _loaded(
    server: Rediver, request: Request, connections: int, seconds: float, unless: bytes = b"\0"
) -> dict[str, float]:
    """As `load`, with the processor time that the server took for each."""
    before = cpu_seconds(server.process.pid)
    row = load(server.port, request, connections, seconds, unless=unless)
    spent = cpu_seconds(server.process.pid) - before
    return row | {"cpu_ms": spent / (row["req_s"] * seconds) * 1e3}


def _claim(server: Rediver, limit: int) -> bytes:
    body = {"claim_id": uuid.uuid4().hex, "limit": limit}
    return http_request("POST", "/api/v1/commands/claim", body, server.source["api_key"])


def backlogs(bench: Run, databases: Iterable[Database]) -> None:
    """Polls and claims of one source with few commands pending, then with very many of others."""
    for database in databases:
        with rediver(database) as server:
            server.create(_FEW)
            few = _polls_and_claims(bench, server)
            server.create(bench.size.polls // 4)  # as many as were claimed
            fill = Path(__file__).with_name("fill.py")
            sources = bench.size.backlog_sources
            said(BIN / "python", fill, server.url, server.tenant["tenant_id"], sources, _FEW)
            many = _polls_and_claims(bench, server)
        row = {f"{name}_few": value for name, value in few.items()}
        row |= {f"{name}_many": value for name, value in many.items()}
        bench.add("backlog", f"Rediver on {database.name}", 1, row)


def _polls_and_claims(bench: Run, server: Rediver) -> dict[str, float]:
    poll = http_request("GET", "/api/v1/commands?limit=10", key=server.source["api_key"])
    polls = times(server.port, lambda: poll, bench.size.polls, unless=_EMPTY)
    count = bench.size.polls // 4  # each takes one away
    claims = times(server.port, lambda: _claim(server, 1), count, unless=_EMPTY)
    return {"poll_ms": statistics.median(polls), "claim_ms": statistics.median(claims)}


def ingest(bench: Run, databases: Iterable[Database]) -> None:
    """Findings of one agent in parts of a thousand, all new, then all seen again."""
    for database in databases:
        with rediver(database) as server:
            row: dict[str, float] = {}
            for what in ("new", "known"):
                before = cpu_seconds(server.process.pid)
                sent = [_part(server, first) for first in range(0, bench.size.findings, _A_PART)]
                took = times(server.port, iter(sent).__next__, len(sent), unless=_NONE_TAKEN)
                row[f"{what}_s"] = bench.size.findings / sum(took) * 1e3
                spent = cpu_seconds(server.process.pid) - before
                row[f"{what}_cpu_us"] = spent / bench.size.findings * 1e6
            bench.add("ingest", f"Rediver on {database.name}", 1, row)


def _part(server: Rediver, first: int) -> bytes:
    body = report(_A_PART, first=first)
    return http_request("POST", "/api/v1/ingest/findings", body, server.source["api_key"])


def anatomy(bench: Run, databases: Iterable[Database], scratch: Path) -> None:
    """What single requests cost, without HTTP."""
    program = Path(__file__).with_name("anatomy.py")
    for database in databases:
        (scratch / "server.sqlite3").unlink(missing_ok=True)
        url = database.new(scratch)
        found: dict[str, Any] = json.loads(
            said(BIN / "python", program, url, bench.size.anatomy_times)
        )
        for name, row in found.items():
            bench.add(f"anatomy on {database.name}", name, 1, row)
