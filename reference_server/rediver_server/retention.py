"""Forgets what is old, a batch a transaction, and only what nothing stands on any more.

What is not finished stays, what is open or excused, what scans still see, and each report that
could change something if it were sent again. Any number of processes may do this at once.
"""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Table, and_, delete, func, select, text, tuple_, update

from rediver_agent.contract import CoverageType, FindingStatus
from rediver_server import models as m
from rediver_server.db import Database
from rediver_server.settings import Settings

_BATCH: Final = 500
_BREATH: Final = 0.02  # seconds in which others get SQLite's writer lock
_NAMED_BY: Final[dict[type[m.Base], tuple[Any, ...]]] = {  # what goes with a row
    m.Command: (m.CommandEvent.command_id,),
    m.Finding: (m.Sighting.finding_id,),
    m.Report: (m.ReportPart.report_id, m.ReportAsset.report_id),
}


def prune(db: Database, settings: Settings) -> dict[str, int]:
    """Forget what the settings do not keep. Returns how many rows of which table."""
    gone: Counter[str] = Counter()
    with db.read() as tx:
        rules = list(_rules(tx.now, settings))
    for days, table, old in rules:
        count = _BATCH if days else 0
        while count == _BATCH:
            count = _forget(db, table, old)
            gone[table.__tablename__] += count
            time.sleep(_BREATH)
    return dict(gone)


def _forget(db: Database, table: type[m.Base], old: ColumnElement[bool]) -> int:
    """Found by reading, then locked and looked at again: to search takes no writer's time."""
    key = tuple_(*cast("Table", table.__table__).primary_key)
    with db.read() as tx:
        found = [tuple(row) for row in tx.execute(select(*key.clauses).where(old).limit(_BATCH))]
    with db.write() as tx:
        free = select(*key.clauses).where(key.in_(found), old).with_for_update(skip_locked=True)
        rows = [tuple(row) for row in tx.execute(free)]
        ids = [row[0] for row in rows]
        for column in _NAMED_BY.get(table, ()):
            tx.execute(delete(column.class_).where(column.in_(ids)))
        if table is m.Command:  # whether a report is of a lost attempt is forgotten: as if it were
            none = {"command_id": None, "coverage_type": CoverageType.PARTIAL}
            tx.execute(update(m.Report).where(m.Report.command_id.in_(ids)).values(none))
        still = (
            () if table in _NAMED_BY else (old,)
        )  # for SQLite: it has no index for `key` of more
        tx.execute(delete(table).where(key.in_(rows), *still))
    return len(rows)


def _rules(
    now: datetime, settings: Settings
) -> Iterator[tuple[int, type[m.Base], ColumnElement[bool]]]:
    """After how many days (0: never) which rows go."""

    def ago(days: int) -> datetime:
        return now - timedelta(days=days)

    days = settings.keep_finished_commands_days
    yield days, m.Command, m.Command.completed_at < ago(days)
    old = select(m.Report.id).where(m.Report.scanned_at < ago(days))  # whose commands are gone
    again = (m.Finding.id == m.Sighting.finding_id) & (m.Finding.last_seen_at >= ago(days))
    yield days, m.Sighting, m.Sighting.report_id.in_(old) & select(m.Finding).where(again).exists()
    at, days = m.CommandEvent.at, settings.keep_audit_days
    finished = select(m.Command.id).where(m.Command.completed_at < ago(days))
    yield days, m.CommandEvent, and_(m.CommandEvent.command_id.in_(finished), at < ago(days))
    days = settings.keep_late_results_days
    yield days, m.CommandEvent, and_(text("reason = 'late result'"), at < ago(days))
    days, seen = settings.keep_resolved_findings_days, m.Finding.last_seen_at
    resolved = (m.Finding.status == FindingStatus.RESOLVED, m.Finding.status_at < ago(days))
    yield days, m.Finding, and_(*resolved, seen < ago(days))
    yield days, m.Report, and_(m.Report.scanned_at < ago(days), _spent())
    yield 1, m.IdempotentRequest, m.IdempotentRequest.created_at < ago(1)
    yield 1, m.EnrollmentToken, m.EnrollmentToken.expires_at < ago(1)


def _spent() -> ColumnElement[bool]:
    """A whole report that no finding names, older than the newest full scan of all its assets."""
    report, part, asset, scan = m.Report, m.ReportPart, m.ReportAsset, m.AssetScan
    parts = select(func.count()).where(part.report_id == report.id).scalar_subquery()
    alike = (scan.tool == report.tool, scan.coverage_key == report.coverage_key)
    newer = select(scan).where(
        scan.asset_id == asset.asset_id, *alike, scan.scanned_at > report.scanned_at
    )
    newer = newer.correlate(report, asset)  # by itself it goes no further out than `newest`
    newest = select(asset).where(asset.report_id == report.id, ~newer.exists())
    sighted = select(m.Sighting).where(m.Sighting.report_id == report.id)
    return and_(parts == report.last_part + 1, ~sighted.exists(), ~newest.exists())
