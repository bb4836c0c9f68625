"""What one request costs inside the server: statements, and time in and outside the database.

    .venv/bin/python tests/benchmarks/anatomy.py DATABASE_URL TIMES

The application answers in this process, one request at a time, without sockets: HTTP's own cost is
not in it. The database is new and has no schema yet. Prints one JSON document.
"""

import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from rediver_process import UNLIMITED
from reports import report
from sqlalchemy import event

from rediver_server import schema
from rediver_server.app import create_app
from rediver_server.auth import new_key
from rediver_server.db import Database
from rediver_server.models import Role, Tenant
from rediver_server.settings import Settings

_COMMAND = {"type": "scan", "payload": {"scanner": "noop", "target": "."}}


@dataclass
class Counts:
    """Of the database, since they were last cleared."""

    statements: int = 0
    seconds: float = 0
    commit_seconds: float = 0

    def watch(self, engine: Any) -> None:
        """Count what this engine does from now on."""
        began: list[float] = []

        def before(*_arguments: Any) -> None:
            began.append(time.perf_counter())

        def after(*_arguments: Any) -> None:
            self.statements += 1
            self.seconds += time.perf_counter() - began.pop()

        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)
        engine.dialect.do_commit = self._timed(engine.dialect.do_commit)

    def _timed(self, commit: Callable[[Any], None]) -> Callable[[Any], None]:
        def timed(connection: Any) -> None:
            began = time.perf_counter()
            commit(connection)
            self.commit_seconds += time.perf_counter() - began

        return timed


class Office:
    """The application, and who calls it."""

    def __init__(self, url: str, times: int) -> None:
        db = Database(url)
        schema.upgrade(db)
        with db.write() as tx:
            tenant = Tenant(id="ten_bench", name="bench", created_at=tx.now)
            tx.add(tenant)
            tx.flush()
            row, self.admin = new_key(tenant.id, Role.ADMIN, tx.now)
            tx.add(row)
        db.close()
        self.app: Flask = create_app(Settings(database_url=url))
        self.counts, self.times = Counts(), times
        self.counts.watch(self.app.extensions["rediver"].engine)
        source = self.call(self.admin, "/sources", {"name": "bench", "type": "agent"})
        self.agent, self.source_id = source["api_key"], source["id"]

    def call(self, key: str, path: str, body: object = None) -> Any:
        """POST, or GET where there is no body."""
        document = {} if body is None else {"data": json.dumps(body)}
        reply = self.app.test_client().open(
            f"/api/v1{path}", method="GET" if body is None else "POST",
            headers={"Authorization": f"Bearer {key}"}, content_type="application/json", **document,
        )  # fmt: skip
        if reply.status_code >= 300:
            raise RuntimeError(f"{path}: {reply.status_code} {reply.text[:500]}")
        return reply.json

    def order(self) -> dict[str, Any]:
        return {**_COMMAND, "source_id": self.source_id}

    def claim(self, limit: int) -> list[dict[str, Any]]:
        body = {"claim_id": uuid.uuid4().hex, "limit": limit}
        return self.call(self.agent, "/commands/claim", body)["commands"]

    def cost(self, request: Callable[[], Any]) -> dict[str, float]:
        """Of the median one of many such requests."""
        request()  # statements are compiled, and keys noted as used
        rows: list[tuple[float, float, float, float]] = []
        for _ in range(self.times):
            counts = self.counts
            counts.statements, counts.seconds, counts.commit_seconds = 0, 0, 0
            began = time.perf_counter()
            request()
            took = time.perf_counter() - began
            rows.append((counts.statements, took, counts.seconds, counts.commit_seconds))
        names = ("statements", "ms", "query_ms", "commit_ms")
        scales = (1, 1e3, 1e3, 1e3)
        columns = zip(names, scales, zip(*rows, strict=True), strict=True)
        return {name: scale * statistics.median(column) for name, scale, column in columns}


def requests(office: Office) -> dict[str, Callable[[], Any]]:
    """The requests that matter, by what the page calls them; in an order that feeds the later."""
    call, agent, admin = office.call, office.agent, office.admin
    hundred = {"commands": [office.order()] * 100}
    held: list[dict[str, Any]] = []
    beat = {"name": "bench", "status": "running", "scanners": ["noop"]}
    done = {"status": "completed", "completed_at": "2026-01-16T10:05:00Z"}

    def results(count: int) -> Any:
        named = [
            {"command_id": each["id"], "attempt": each["attempt"], **done}
            for each in (held.pop() for _ in range(count))
        ]
        return call(agent, "/commands/results", {"results": named})

    return {
        "heartbeat": lambda: call(agent, "/ingest/heartbeat", beat),
        "poll, nothing there": lambda: call(agent, "/commands"),
        "create": lambda: call(admin, "/commands", office.order()),
        "poll": lambda: call(agent, "/commands"),
        "claim 1": lambda: held.extend(office.claim(1)),
        "results 1": lambda: results(1),
        "create 100": lambda: call(admin, "/commands/batch", hundred),
        "claim 100": lambda: held.extend(office.claim(100)),
        "results 100": lambda: results(100),
        "ingest 1,000 new findings": lambda: call(agent, "/ingest/findings", report(1000)),
        "ingest 1,000 known findings": lambda: call(
            agent, "/ingest/findings", report(1000, first=0)
        ),
    }


def main() -> None:
    """Measure each kind of request."""
    os.environ |= UNLIMITED
    url, times = sys.argv[1], int(sys.argv[2])
    office = Office(url, times)
    found: dict[str, dict[str, float]] = {}
    for name, request in requests(office).items():
        found[name] = office.cost(request)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
