"""`/api/v1/ingest/findings`, `/api/v1/findings`, `/api/v1/assets`: what was found, and where."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any, Final

from flask import Blueprint, Response
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from rediver_agent import contract
from rediver_agent.contract import routes
from rediver_server import findings
from rediver_server.auth import caller, calling_source, requires
from rediver_server.db import Transaction, database
from rediver_server.errors import invalid, not_found
from rediver_server.http_json import read_body, read_query, reply, rule
from rediver_server.models import Asset, Finding, Role, Sighting
from rediver_server.models import Report as ReportRow
from rediver_server.pages import PageQuery, page

blueprint = Blueprint("findings", __name__)

_OF_AN_ASSET: Final = ("id", "type", "value", "name", "properties", "created_at")
_OF_A_FINDING: Final = (
    *("id", "asset_id", "tool", "fingerprint", "coverage_key"),
    *("status", "status_reason", "status_by", "status_at"),
    *("first_seen_at", "last_seen_at", "occurrence_count"),
)  # all else is as the newest report has it


class FindingsQuery(PageQuery):
    severity: contract.Severity | None = None
    status: contract.FindingStatus | None = None
    tool: str | None = None
    rule_id: str | None = None
    path: str | None = None
    asset_id: str | None = None
    source_id: str | None = None
    command_id: str | None = None
    first_seen_after: contract.UtcDatetime | None = None


class FindingPatch(contract.WireModel):
    status: contract.FindingStatus
    reason: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None


@blueprint.post(rule(routes.INGEST_FINDINGS))
@requires(Role.SOURCE)
def ingest() -> Response:
    report = read_body(contract.Report)
    with database().write() as tx:
        source = calling_source(tx)
        answer = findings.ingest(tx, source, report)
    return reply(answer)


@blueprint.get(rule(routes.FINDINGS))
@requires(Role.VIEWER)
def list_findings() -> Response:
    query = read_query(FindingsQuery)
    wanted = select(Finding).where(Finding.tenant_id == caller().tenant_id)
    for name in ("severity", "status", "tool", "rule_id", "path", "asset_id"):
        if (value := getattr(query, name)) is not None:
            wanted = wanted.where(getattr(Finding, name) == value)
    if query.first_seen_after is not None:
        wanted = wanted.where(Finding.first_seen_at > query.first_seen_after)
    seen_by = select(Sighting.finding_id).join(ReportRow, ReportRow.id == Sighting.report_id)
    for name in ("source_id", "command_id"):
        if (value := getattr(query, name)) is not None:
            wanted = wanted.where(Finding.id.in_(seen_by.where(getattr(ReportRow, name) == value)))
    with database().read() as tx:
        rows, cursor = page(tx, wanted, Finding.created_at, Finding.id, query)
        shown = _views(tx, rows)
    return reply({"findings": shown, "next_cursor": cursor})


@blueprint.get(rule(routes.FINDING))
@requires(Role.VIEWER)
def get_finding(item: str) -> Response:
    with database().read() as tx:
        (shown,) = _views(tx, [_mine(tx, item)])
    return reply(shown)


@blueprint.patch(rule(routes.FINDING))
@requires(Role.OPERATOR)
def patch_finding(item: str) -> Response:
    patch = read_body(FindingPatch)
    excused = (contract.FindingStatus.FALSE_POSITIVE, contract.FindingStatus.ACCEPTED_RISK)
    if patch.status in excused and patch.reason is None:
        raise invalid("reason", f"say why it is {patch.status}")
    with database().write() as tx:
        finding = _mine(tx, item)
        finding.status = patch.status
        finding.status_reason = patch.reason
        finding.status_by = caller().actor
        finding.status_at = tx.now
        finding.auto_resolved = False
        (shown,) = _views(tx, [finding])
    return reply(shown)


@blueprint.get(rule(routes.ASSETS))
@requires(Role.VIEWER)
def list_assets() -> Response:
    query = read_query(PageQuery)
    mine = select(Asset).where(Asset.tenant_id == caller().tenant_id)
    with database().read() as tx:
        whole = mine.options(selectinload(Asset.scans))
        rows, cursor = page(tx, whole, Asset.created_at, Asset.id, query)
    return reply({"assets": [_asset(row) for row in rows], "next_cursor": cursor})


def _mine(tx: Transaction, finding_id: str) -> Finding:
    mine = (Finding.id == finding_id, Finding.tenant_id == caller().tenant_id)
    finding = tx.scalar(select(Finding).where(*mine))
    if finding is None:
        raise not_found("finding")
    return finding


def _views(tx: Transaction, rows: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as operators read them: what the newest report said, and what the server knows."""
    seen = (
        select(Sighting.finding_id, ReportRow.source_id)
        .join(ReportRow, ReportRow.id == Sighting.report_id)
        .where(Sighting.finding_id.in_([row.id for row in rows]))
        .distinct()
    )
    sources: dict[str, list[str]] = defaultdict(list)
    for finding_id, source_id in tx.execute(seen):
        sources[finding_id].append(source_id)
    return [
        {
            **row.data,
            **{name: getattr(row, name) for name in _OF_A_FINDING},
            "source_ids": sorted(sources[row.id]),
        }
        for row in rows
    ]


def _asset(row: Asset) -> dict[str, Any]:
    scans = sorted(row.scans, key=lambda scan: scan.scanned_at)
    return {
        **{name: getattr(row, name) for name in _OF_AN_ASSET},
        "last_full_scan_at": {scan.tool: scan.scanned_at for scan in scans},
    }
