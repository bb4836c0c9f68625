"""Assets, reports and their parts, and the findings that they have."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rediver_agent import contract
from rediver_agent.contract.base import JsonObject
from rediver_server.models.base import AS_SENT, BIG, Base, id_column, tenant_column


class Asset(Base):
    __tablename__ = "assets"
    __table_args__ = (
        sa.UniqueConstraint("tenant_id", "type", "value"),
        sa.Index("idx_assets_tenant_created", "tenant_id", "created_at"),
    )

    id: Mapped[str] = id_column("ast")
    tenant_id: Mapped[str] = tenant_column()
    type: Mapped[str] = mapped_column(sa.String(50))
    value: Mapped[str] = mapped_column(sa.String(1000))
    name: Mapped[str | None] = mapped_column(sa.Text)
    properties: Mapped[JsonObject]
    created_at: Mapped[datetime]
    scans: Mapped[list["AssetScan"]] = relationship(viewonly=True)


class AssetScan(Base):
    """The newest full report of an asset by a tool that looked for the same things.

    No coverage key is a key of its own: the empty sa.text.
    """

    __tablename__ = "asset_scans"

    asset_id: Mapped[str] = mapped_column(sa.ForeignKey("assets.id"), primary_key=True)
    tool: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    coverage_key: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    scanned_at: Mapped[datetime]


class Report(Base):
    """A report: (source, the id its agent gave it). `scanned_at` is never in the future."""

    __tablename__ = "reports"
    __table_args__ = (
        sa.UniqueConstraint("source_id", "report_id"),
        sa.Index("idx_reports_scanned", "scanned_at"),
    )

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    source_id: Mapped[str] = mapped_column(sa.ForeignKey("sources.id"))
    report_id: Mapped[str] = mapped_column(sa.String(256))
    timestamp: Mapped[datetime]
    scanned_at: Mapped[datetime]
    tool: Mapped[str] = mapped_column(sa.String(255))
    coverage_type: Mapped[contract.CoverageType]
    coverage_key: Mapped[str] = mapped_column(sa.String(200))
    branch: Mapped[JsonObject | None]
    command_id: Mapped[str | None] = mapped_column(sa.ForeignKey("commands.id"), index=True)
    attempt: Mapped[int | None]
    last_part: Mapped[int | None]


class ReportPart(Base):
    __tablename__ = "report_parts"

    report_id: Mapped[int] = mapped_column(BIG, sa.ForeignKey("reports.id"), primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)


class ReportAsset(Base):
    """What a report calls an asset."""

    __tablename__ = "report_assets"

    report_id: Mapped[int] = mapped_column(BIG, sa.ForeignKey("reports.id"), primary_key=True)
    ref: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    asset_id: Mapped[str] = mapped_column(sa.ForeignKey("assets.id"))


class Finding(Base):
    """One finding, however often it is seen. `data` is the newest report's word for it.

    `auto_resolved` is whether a report resolved it: only such a one is reopened by a report.
    """

    __tablename__ = "findings"
    __table_args__ = (
        sa.UniqueConstraint("tenant_id", "asset_id", "tool", "fingerprint"),
        sa.Index("idx_findings_tenant_created", "tenant_id", "created_at"),
        sa.Index("idx_findings_asset_tool_status", "asset_id", "tool", "status"),
        sa.Index("idx_findings_status_at", "status", "status_at"),
    )

    id: Mapped[str] = id_column("fnd")
    tenant_id: Mapped[str] = tenant_column()
    asset_id: Mapped[str] = mapped_column(sa.ForeignKey("assets.id"))
    tool: Mapped[str] = mapped_column(sa.String(255))
    fingerprint: Mapped[str] = mapped_column(sa.String(200))
    severity: Mapped[contract.Severity]
    rule_id: Mapped[str | None] = mapped_column(sa.String(1000))
    path: Mapped[str | None] = mapped_column(sa.Text)
    data: Mapped[JsonObject] = mapped_column(AS_SENT)
    status: Mapped[contract.FindingStatus]
    status_reason: Mapped[str | None] = mapped_column(sa.Text)
    status_by: Mapped[str | None] = mapped_column(sa.String(80))
    status_at: Mapped[datetime]
    auto_resolved: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    occurrence_count: Mapped[int]
    coverage_key: Mapped[str] = mapped_column(sa.String(200))


class Sighting(Base):
    """That a report has a finding: what the sources and commands of a finding are known by."""

    __tablename__ = "sightings"

    report_id: Mapped[int] = mapped_column(BIG, sa.ForeignKey("reports.id"), primary_key=True)
    finding_id: Mapped[str] = mapped_column(
        sa.ForeignKey("findings.id"), primary_key=True, index=True
    )
