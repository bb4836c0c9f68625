"""What a run says once and its results point at, on disk: any number of rules costs no memory.

A private temporary database, gone with the parser. Rows are reached by the run's number and either
their place (as results name them) or, for rules, their id or guid.
"""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

_TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -2048;
CREATE TABLE rule (key INTEGER PRIMARY KEY, run, component, place, id, guid, body);
CREATE TABLE part (run, kind, place, body, PRIMARY KEY (run, kind, place)) WITHOUT ROWID;
BEGIN;
"""
# Each in the order that is asked for: or SQLite takes the first for that, and reads every rule.
_INDEXES: Final = """
CREATE INDEX rule_place ON rule (run, component, place);
CREATE INDEX rule_id ON rule (run, id, component, place);
CREATE INDEX rule_guid ON rule (run, guid, component, place);
"""

Body = Mapping[str, Any]
Row = tuple[int, Body, int]
"""A rule's key in the store, its body, and how long that is as text."""


class Store:
    """Filled first, then `indexed`, then asked."""

    def __init__(self) -> None:
        # "" is a database of SQLite's own temporary file. A worker thread may change between items.
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.executescript(_TABLES)

    def close(self) -> None:
        self._db.close()

    def add_rule(self, run: int, component: int, place: int, body: Body) -> None:
        row = (run, component, place, body.get("id"), body.get("guid"), json.dumps(body))
        self._db.execute(
            "INSERT INTO rule (run, component, place, id, guid, body) VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )

    def add_part(self, run: int, kind: str, place: int, body: Body) -> None:
        row = (run, kind, place, json.dumps(body))
        self._db.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?)", row)

    def indexed(self) -> None:
        self._db.executescript(_INDEXES)

    def rule_at(self, run: int, component: int, place: int) -> Row | None:
        """The rule at a place of a component."""
        return self._rule("component = ? AND place = ?", run, component, place)

    def rule_by_guid(self, run: int, guid: str) -> Row | None:
        return self._rule("guid = ?", run, guid)

    def rule_by_id(self, run: int, rule_id: str, component: int | None) -> Row | None:
        """The first rule of that id; of that component if one has it, else the driver first."""
        if component is not None:
            found = self._rule("id = ? AND component = ?", run, rule_id, component)
            if found:
                return found
        return self._rule("id = ?", run, rule_id)

    def part(self, run: int, kind: str, place: int) -> Body:
        """The part at a place, or an empty one."""
        row = self._db.execute(
            "SELECT body FROM part WHERE run = ? AND kind = ? AND place = ?", (run, kind, place)
        ).fetchone()
        return json.loads(row[0]) if row else {}

    def _rule(self, where: str, *values: int | str) -> Row | None:
        query = f"SELECT key, body FROM rule WHERE run = ? AND {where} ORDER BY component, place"  # noqa: S608 - one of the texts above
        row = self._db.execute(query, values).fetchone()
        return (row[0], json.loads(row[1]), len(row[1])) if row else None
