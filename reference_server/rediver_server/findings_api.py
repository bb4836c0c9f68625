"""`/api/v1/ingest/findings`, `/api/v1/findings`, `/api/v1/assets`: what was found, and where."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Select, select
from sqlalchemy.orm import selectinload

from rediver_agent import contract
from rediver_agent.contract import routes, sarif
from rediver_agent.contract.queries import FindingFilters, FindingsQuery, PageQuery, SarifQuery
from rediver_agent.contract.views import FindingPatch, StoredAsset, StoredFinding
from rediver_server import __version__, findings
from rediver_server.auth import caller, calling_source, requires
from rediver_server.db import Database, Transaction, database
from rediver_server.errors import invalid, not_found
from rediver_server.http_json import read_body, read_query, reply, rule
from rediver_server.limits import rates
from rediver_server.models import Asset, Finding, Role, Sighting
from rediver_server.models import Report as ReportRow
from rediver_server.pages import page

blueprint = Blueprint("findings", __name__)


@blueprint.post(rule(routes.INGEST_FINDINGS))
@requires(Role.SOURCE)
def ingest() -> Response:
    rates().ingests.take(caller().actor)
    report = read_body(contract.Report)
    with database().write() as tx:
        source = calling_source(tx)
        answer = findings.ingest(tx, source, report)
    return reply(answer)


@blueprint.get(rule(routes.FINDINGS))
@requires(Role.VIEWER)
def list_findings() -> Response:
    query = read_query(FindingsQuery)
    with database().read() as tx:
        rows, cursor = page(tx, _matching(query), Finding.created_at, Finding.id, query)
        shown = _views(tx, rows)
    return reply({"findings": [_as_sent(each) for each in shown], "next_cursor": cursor})


@blueprint.get(rule(routes.FINDINGS_SARIF))
@requires(Role.VIEWER)
def export_findings() -> Response:
    db, wanted = database(), _matching(read_query(SarifQuery))
    with db.read() as tx:
        tools = tx.scalars(wanted.with_only_columns(Finding.tool).distinct()).all()
    ours = {"name": "rediver-server", "version": __version__}
    runs = (
        sarif.run_text(_stored(db, wanted.where(Finding.tool == tool)), {"name": tool}, ours)
        for tool in sorted(tools)
    )
    response = Response(sarif.document_text(runs), mimetype="application/sarif+json")
    response.headers["Content-Disposition"] = "attachment; filename=findings.sarif"
    return response


@blueprint.get(rule(routes.FINDING))
@requires(Role.VIEWER)
def get_finding(item: str) -> Response:
    with database().read() as tx:
        (shown,) = _views(tx, [_mine(tx, item)])
    return reply(_as_sent(shown))


@blueprint.patch(rule(routes.FINDING))
@requires(Role.OPERATOR)
def patch_finding(item: str) -> Response:
    patch = read_body(FindingPatch)
    excused = (contract.FindingStatus.FALSE_POSITIVE, contract.FindingStatus.ACCEPTED_RISK)
    if patch.status in excused and patch.reason is None:
        raise invalid("reason", f"say why it is {patch.status}")
    with database().write() as tx:
        finding = _mine(tx, item, with_for_update=True)
        finding.status = patch.status
        finding.status_reason = patch.reason
        finding.status_by = caller().actor
        finding.status_at = tx.now
        finding.auto_resolved = False
        (shown,) = _views(tx, [finding])
    return reply(_as_sent(shown))


@blueprint.get(rule(routes.ASSETS))
@requires(Role.VIEWER)
def list_assets() -> Response:
    query = read_query(PageQuery)
    mine = select(Asset).where(Asset.tenant_id == caller().tenant_id)
    with database().read() as tx:
        whole = mine.options(selectinload(Asset.scans))
        rows, cursor = page(tx, whole, Asset.created_at, Asset.id, query)
    return reply({"assets": [_asset(row) for row in rows], "next_cursor": cursor})


def _matching(filters: FindingFilters) -> Select[Finding]:
    """What of the caller's tenant passes the filters."""
    wanted = select(Finding).where(Finding.tenant_id == caller().tenant_id)
    for name in ("severity", "status", "tool", "rule_id", "path", "asset_id"):
        if (value := getattr(filters, name)) is not None:
            wanted = wanted.where(getattr(Finding, name) == value)
    if filters.first_seen_after is not None:
        wanted = wanted.where(Finding.first_seen_at > filters.first_seen_after)
    seen_by = select(Sighting.finding_id).join(ReportRow, ReportRow.id == Sighting.report_id)
    for name in ("source_id", "command_id"):
        if (value := getattr(filters, name)) is not None:
            wanted = wanted.where(Finding.id.in_(seen_by.where(getattr(ReportRow, name) == value)))
    return wanted


def _stored(db: Database, wanted: Select[Finding]) -> Iterator[tuple[StoredFinding, sarif.Result]]:
    """All that is wanted, a page in each transaction: none stays open while a client reads."""
    query: PageQuery | None = PageQuery(limit=100)
    while query is not None:
        with db.read() as tx:
            rows, cursor = page(tx, wanted, Finding.created_at, Finding.id, query)
            shown = _views(tx, rows)
            theirs = select(Asset).where(Asset.id.in_({row.asset_id for row in rows}))
            assets = {row.id: row for row in tx.scalars(theirs)}
        for finding in shown:
            asset = assets[finding.asset_id]
            yield finding, sarif.result_of_stored(finding, asset.type, asset.value)
        query = PageQuery(limit=100, cursor=cursor) if cursor else None


def _mine(tx: Transaction, finding_id: str, **options: Any) -> Finding:
    finding = tx.get(Finding, finding_id, **options)
    if finding is None or finding.tenant_id != caller().tenant_id:
        raise not_found("finding")
    return finding


def _views(tx: Transaction, rows: Sequence[Finding]) -> list[StoredFinding]:
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
        contract.parse(
            StoredFinding, {**row.data, **vars(row), "source_ids": sorted(sources[row.id])}
        )
        for row in rows
    ]


def _as_sent(finding: StoredFinding) -> dict[str, Any]:
    return finding.model_dump(exclude_unset=True)  # what no report said is not there


def _asset(row: Asset) -> StoredAsset:
    scans = sorted(row.scans, key=lambda scan: scan.scanned_at)
    scanned = {scan.tool: scan.scanned_at for scan in scans}
    return contract.parse(StoredAsset, {**vars(row), "last_full_scan_at": scanned})
