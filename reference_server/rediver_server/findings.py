"""Takes in reports: what is new, what is seen again, what is gone.

A finding is (tenant, asset, tool, fingerprint). Only a whole full report, of the default branch or
of none, no older than the newest one that looked for the same things, resolves what it does not
have any more. A finding whose source names its status (an alert that is fixed or dismissed there)
has that one. What people have set, a report never changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import CursorResult, insert, select, update

from rediver_agent import contract
from rediver_agent.contract.findings import MAX_FINDINGS_A_PART, fallback_fingerprint
from rediver_server.db import Transaction
from rediver_server.errors import invalid
from rediver_server.models import (
    Asset,
    AssetScan,
    Finding,
    Report,
    ReportAsset,
    Sighting,
    Source,
    new_id,
)
from rediver_server.reports import Doubts, is_whole, standing, take_part

_SOURCE_SAYS: Final = "its source says so"
_UNSYNCHRONIZED: Final = {"synchronize_session": False}  # no row in memory is one of these


def ingest(tx: Transaction, source: Source, part: contract.Report) -> contract.IngestReply:
    """Take in one part of a report, whole or not at all. Raises 400 naming what is wrong."""
    for name, items in (("findings", part.findings), ("assets", part.assets)):
        if len(items) > MAX_FINDINGS_A_PART:
            raise invalid(name, f"a part has at most {MAX_FINDINGS_A_PART}; send more parts")
    tx.one_at_a_time(f"report:{source.id}:{part.metadata.id}")
    same = (Report.source_id == source.id, Report.report_id == part.metadata.id)
    earlier = tx.execute(
        select(Asset.type, Asset.value).join(ReportAsset).join(Report).where(*same)
    )
    told = {f"{source.tenant_id}:{a.type}:{a.value}" for a in (*part.assets, *earlier)}
    tx.one_at_a_time(*told)
    doubts: Doubts = []
    report = take_part(tx, source, part, doubts)
    if report is None:
        return contract.IngestReply(success=True, duplicates_skipped=len(part.findings))
    intake = _Intake(tx, source.tenant_id, report, doubts)
    assets = intake.take_assets(part.assets)
    stands = standing(tx, report)
    for asset_id, named in intake.by_asset(part.findings, assets).items():
        intake.take_findings(asset_id, named, reopens=stands.reopens)
    if is_whole(tx, report):
        if not assets:
            doubts.append("the report names no asset: it says nothing about any")
        for asset_id in set(assets.values()) if stands.resolves else ():
            intake.resolve_missing(asset_id)
    return contract.IngestReply(
        success=True,
        findings_created=intake.created,
        findings_updated=intake.updated,
        findings_resolved=intake.resolved,
        duplicates_skipped=intake.duplicates,
        errors=cast("list[Any]", doubts),
    )


@dataclass(slots=True)
class _Intake:
    """One part on its way into the tables, and the count of what it did there."""

    tx: Transaction
    tenant_id: str
    report: Report
    doubts: Doubts
    created: int = 0
    updated: int = 0
    duplicates: int = 0
    resolved: int = 0

    def take_assets(self, named: Sequence[contract.Asset]) -> dict[str, str]:
        """The ids of the report's assets, those of earlier parts too, by what it calls them."""
        earlier = select(ReportAsset).where(ReportAsset.report_id == self.report.id)
        ids = {row.ref: row.asset_id for row in self.tx.scalars(earlier)}
        for position, asset in enumerate(named):
            row = self._asset(asset)
            if asset.id not in ids:
                ids[asset.id] = row.id
                self.tx.add(ReportAsset(report_id=self.report.id, ref=asset.id, asset_id=row.id))
            elif ids[asset.id] != row.id:
                raise invalid(f"assets.{position}.id", "names another asset of this report already")
        return ids

    def by_asset(
        self, findings: Sequence[contract.Finding], assets: Mapping[str, str]
    ) -> dict[str, dict[str, contract.Finding]]:
        """The findings by asset and fingerprint; what is there twice is counted and dropped."""
        only = next(iter(assets.values())) if len(set(assets.values())) == 1 else None
        found: dict[str, dict[str, contract.Finding]] = {}
        for index, finding in enumerate(findings):
            asset_id = only if finding.asset_ref is None else assets.get(finding.asset_ref)
            if asset_id is None:
                raise invalid(f"findings.{index}.asset_ref", "name one of the report's assets")
            fingerprint = finding.fingerprint
            if fingerprint is None:
                fingerprint = fallback_fingerprint(finding)
                doubt = "it has no fingerprint, the server made one up"
                self.doubts.append({"index": index, "message": doubt})
            named = found.setdefault(asset_id, {})
            self.duplicates += fingerprint in named
            named.setdefault(fingerprint, finding)
        return found

    def take_findings(
        self, asset_id: str, named: Mapping[str, contract.Finding], *, reopens: bool
    ) -> None:
        """Add what is new of an asset, update what is known, reopen what is back."""
        old = self._is_old(asset_id)
        reopens = reopens and not old
        known = select(Finding).where(
            Finding.tenant_id == self.tenant_id,
            Finding.asset_id == asset_id,
            Finding.tool == self.report.tool,
            Finding.fingerprint.in_(named),
        )
        rows = {row.fingerprint: row for row in self.tx.scalars(known.with_for_update())}
        ids = [row.id for row in rows.values()]
        here = (Sighting.report_id == self.report.id, Sighting.finding_id.in_(ids))
        sighted = set(self.tx.scalars(select(Sighting.finding_id).where(*here)))
        seen: list[str] = []
        for fingerprint, finding in named.items():
            row = rows.get(fingerprint)
            if row is None:
                row = self._new(asset_id, fingerprint, finding)
                self.created += 1
            elif row.id in sighted:
                self.duplicates += 1
                continue
            else:
                self._see_again(row, finding, reopens=reopens, old=old)
                self.updated += 1
            seen.append(row.id)
        self.tx.flush()
        if seen:
            sightings = [{"report_id": self.report.id, "finding_id": key} for key in seen]
            self.tx.execute(insert(Sighting), sightings)

    def resolve_missing(self, asset_id: str) -> None:
        """Resolve what this whole report would have found in an asset, were it still there."""
        if self._is_old(asset_id):
            return
        report = self.report
        self.tx.merge(
            AssetScan(
                asset_id=asset_id,
                tool=report.tool,
                coverage_key=report.coverage_key,
                scanned_at=report.scanned_at,
            )
        )
        in_it = select(Sighting.finding_id).where(Sighting.report_id == report.id)
        gone = update(Finding).where(
            Finding.asset_id == asset_id,
            Finding.tool == report.tool,
            Finding.status == contract.FindingStatus.OPEN,
            Finding.coverage_key == report.coverage_key,
            Finding.last_seen_at <= report.scanned_at,
            Finding.id.not_in(in_it),
        )
        resolution = {
            "status": contract.FindingStatus.RESOLVED,
            "status_at": self.tx.now,
            "status_by": None,
            "status_reason": "a full scan of the same coverage did not find it",
            "auto_resolved": True,
        }
        done = self.tx.execute(gone.values(**resolution).execution_options(**_UNSYNCHRONIZED))
        self.resolved += cast("CursorResult[Any]", done).rowcount

    def _is_old(self, asset_id: str) -> bool:
        """Whether a newer full report has looked for the same things in the asset."""
        key = (asset_id, self.report.tool, self.report.coverage_key)
        newest = self.tx.get(AssetScan, key)
        return newest is not None and self.report.scanned_at < newest.scanned_at

    def _asset(self, asset: contract.Asset) -> Asset:
        same = (Asset.type == asset.type, Asset.value == asset.value)
        row = self.tx.scalar(select(Asset).where(Asset.tenant_id == self.tenant_id, *same))
        if row is None:
            row = Asset(id=new_id("ast"), tenant_id=self.tenant_id, created_at=self.tx.now)
            row.type, row.value = asset.type, asset.value
            self.tx.add(row)
        row.name = asset.name or row.name
        row.properties = asset.properties or row.properties or {}
        self.tx.flush()
        return row

    def _new(self, asset_id: str, fingerprint: str, finding: contract.Finding) -> Finding:
        row = Finding(
            id=new_id("fnd"),
            tenant_id=self.tenant_id,
            asset_id=asset_id,
            tool=self.report.tool,
            fingerprint=fingerprint,
            status=finding.status or contract.FindingStatus.OPEN,
            status_at=self.tx.now,
            status_reason=_SOURCE_SAYS if finding.status else None,
            auto_resolved=finding.status not in {None, contract.FindingStatus.OPEN},
            created_at=self.tx.now,
            first_seen_at=self.report.scanned_at,
            occurrence_count=1,
        )
        self._describe(row, finding)
        self.tx.add(row)
        return row

    def _see_again(
        self, row: Finding, finding: contract.Finding, *, reopens: bool, old: bool
    ) -> None:
        row.occurrence_count += 1
        row.first_seen_at = min(row.first_seen_at, self.report.scanned_at)
        opened, status, why = contract.FindingStatus.OPEN, row.status, "seen again"
        if reopens and status is contract.FindingStatus.RESOLVED:
            status = opened
        if self.report.scanned_at >= row.last_seen_at:
            self._describe(row, finding)
            if finding.status is not None and not old:
                status, why = finding.status, _SOURCE_SAYS
        if status is not row.status and (row.auto_resolved or row.status is opened):
            row.status, row.status_reason, row.status_by = status, why, None
            row.status_at, row.auto_resolved = self.tx.now, status is not opened

    def _describe(self, row: Finding, finding: contract.Finding) -> None:
        """Set what the newest report has the say of."""
        row.last_seen_at = self.report.scanned_at
        row.coverage_key = self.report.coverage_key
        row.severity = finding.severity
        row.rule_id = finding.rule_id
        row.path = finding.location.path if finding.location else None
        row.data = contract.dump(
            finding.model_copy(update={"fingerprint": None, "asset_ref": None})
        )
