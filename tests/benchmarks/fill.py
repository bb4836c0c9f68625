"""Fills a server's queue at once, with rows as the server itself writes them.

.venv/bin/python tests/benchmarks/fill.py DATABASE_URL TENANT_ID SOURCES COMMANDS_OF_EACH
"""

import sys
from datetime import timedelta

from sqlalchemy import insert

from rediver_agent.contract import Priority
from rediver_server.db import Database
from rediver_server.models import Command, Source, new_id


def main() -> None:
    """Add sources, and to each its pending commands."""
    url, tenant_id = sys.argv[1:3]
    sources, commands = map(int, sys.argv[3:])
    db = Database(url)
    for number in range(sources):
        with db.write() as tx:
            source = Source(
                id=new_id("src"), tenant_id=tenant_id, name=f"bench {number}", type="agent",
                capabilities=[], properties={}, instances={}, created_at=tx.now,
            )  # fmt: skip
            tx.add(source)
            tx.flush()
            row = {
                "tenant_id": tenant_id, "source_id": source.id, "type": "scan", "tool": "noop",
                "priority": Priority.NORMAL, "payload": {"scanner": "noop", "target": "."},
                "created_at": tx.now, "expires_at": tx.now + timedelta(hours=1),
                "due_at": tx.now + timedelta(hours=1),
            }  # fmt: skip
            tx.execute(insert(Command), [{**row, "id": new_id("cmd")} for _ in range(commands)])
    if not db.is_sqlite:
        with db.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")  # what autovacuum does within a minute
            connection.commit()
    db.close()


if __name__ == "__main__":
    main()
