"""The tables. Those of the origin document have all of its columns and indexes, by its names.

Times are kept in UTC and come back aware. Ids are `<kind>_` and 128 random bits.
"""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rediver_agent.contract import (
    CommandStatus,
    CoverageType,
    FindingStatus,
    MissedRun,
    Overlap,
    Priority,
    Severity,
)
from rediver_agent.contract.base import JsonObject
from rediver_agent.contract.commands import DEFAULT_MAX_ATTEMPTS

_JSON: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Role(StrEnum):
    """What a key may do. `source` is an agent's; each of the others includes those before it."""

    SOURCE = "source"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Timestamp(TypeDecorator[datetime]):
    """An aware time in UTC, on databases that keep no zone too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def _values(kind: type[StrEnum]) -> list[str]:
    return [word.value for word in kind]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "idx_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - read once by SQLAlchemy, as its documentation spells it
        datetime: Timestamp,
        JsonObject: _JSON,
        list[str]: _JSON,
        dict[str, str]: _JSON,
        StrEnum: Enum(StrEnum, native_enum=False, length=20, values_callable=_values),
    }


def new_id(kind: str) -> str:
    """A new id, like `cmd_…`: 36 characters."""
    return f"{kind}_{secrets.token_hex(16)}"


def _id(kind: str) -> Mapped[str]:
    return mapped_column(String(36), primary_key=True, default=lambda: new_id(kind))


def _tenant() -> Mapped[str]:
    return mapped_column(String(36), ForeignKey("tenants.id"))


class Tenant(Base):
    __tablename__ = "tenants"

    id: Mapped[str] = _id("ten")
    name: Mapped[str] = mapped_column(String(255), unique=True)
    created_at: Mapped[datetime]


class Source(Base):
    """An agent as the server knows it. `heartbeat` is its last one, as it was sent.

    `instances` is when each instance_id was last heard, as RFC 3339 text.
    """

    __tablename__ = "sources"
    __table_args__ = (Index("idx_sources_tenant_created", "tenant_id", "created_at"),)

    id: Mapped[str] = _id("src")
    tenant_id: Mapped[str] = _tenant()
    name: Mapped[str] = mapped_column(String(255))
    type: Mapped[str] = mapped_column(String(20))
    description: Mapped[str | None] = mapped_column(Text)
    capabilities: Mapped[list[str]]
    properties: Mapped[JsonObject] = mapped_column("metadata")
    paused: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    heartbeat: Mapped[JsonObject | None]
    instances: Mapped[dict[str, str]]
    keys: Mapped[list["ApiKey"]] = relationship(order_by="ApiKey.created_at", viewonly=True)


class ApiKey(Base):
    """A key of a source, or of people (then `source_id` is null). Only its SHA-256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = _id("key")
    tenant_id: Mapped[str] = _tenant()
    source_id: Mapped[str | None] = mapped_column(ForeignKey("sources.id"), index=True)
    role: Mapped[Role]
    api_key_prefix: Mapped[str] = mapped_column(String(20))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Command(Base):
    """A command. Only `command_queue` writes its status.

    `attempt` is the fence and only rises; `attempts_used` is what `max_attempts` limits. The
    holder stays named after its lease lapsed, until somebody else acknowledges. `due_at` is when
    the server itself has to settle something, null once nothing is left to settle. `tool` is the
    payload's scanner or collector, `queue_rank` the priority as a number, 0 for the highest.
    `fire_at` is the nominal fire time that a schedule made it for: one command for each, ever.
    """

    __tablename__ = "commands"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tenant"),
        ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_source"),
        Index("idx_commands_source_status", "source_id", "status"),
        Index("idx_commands_tenant_created", "tenant_id", "created_at"),
        Index("idx_commands_due", "due_at"),
        Index("idx_commands_holder_status", "holder_source_id", "status"),
        Index("idx_commands_addressed", "source_id", "status", "queue_rank", "created_at"),
        Index(
            "idx_commands_pool",
            *("tenant_id", "status", "queue_rank", "created_at"),
            sqlite_where=text("source_id IS NULL"),
            postgresql_where=text("source_id IS NULL"),
        ),
        Index("idx_commands_schedule_fire", "schedule_id", "fire_at", unique=True),
        Index("idx_commands_completed", "completed_at"),
    )

    id: Mapped[str] = _id("cmd")
    tenant_id: Mapped[str] = mapped_column(String(36))
    source_id: Mapped[str | None] = mapped_column(String(36))
    type: Mapped[str] = mapped_column(String(50))
    priority: Mapped[Priority | None] = mapped_column(server_default="normal")
    payload: Mapped[JsonObject]
    status: Mapped[CommandStatus] = mapped_column(server_default="pending")
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    expires_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    result: Mapped[JsonObject | None]
    error_message: Mapped[str | None] = mapped_column(Text)
    scheduled_at: Mapped[datetime | None]
    schedule_id: Mapped[str | None] = mapped_column(String(36))

    fire_at: Mapped[datetime | None]
    tool: Mapped[str | None] = mapped_column(String(100))
    queue_rank: Mapped[int] = mapped_column(server_default="2")
    attempt: Mapped[int] = mapped_column(server_default="0")
    attempts_used: Mapped[int] = mapped_column(server_default="0")
    max_attempts: Mapped[int] = mapped_column(server_default=str(DEFAULT_MAX_ATTEMPTS))
    holder_source_id: Mapped[str | None] = mapped_column(String(36))
    holder_instance_id: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    progress: Mapped[JsonObject | None]
    revision: Mapped[int] = mapped_column(server_default="0")

    @property
    def cancel_requested(self) -> bool:
        return self.cancel_requested_at is not None


class CommandEvent(Base):
    """The audit trail of a command: who did what, when and why. Rows are only ever added."""

    __tablename__ = "command_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    command_id: Mapped[str] = mapped_column(ForeignKey("commands.id"), index=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(80))
    from_status: Mapped[CommandStatus | None]
    to_status: Mapped[CommandStatus]
    attempt: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    data: Mapped[JsonObject | None]


class ScanSchedule(Base):
    """A scan by cron. `next_run_at` is the next nominal fire time, null while it is disabled."""

    __tablename__ = "scan_schedules"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tenant"),
        Index("idx_scan_schedules_tenant_created", "tenant_id", "created_at"),
        Index("idx_scan_schedules_due", "next_run_at"),
    )

    id: Mapped[str] = _id("sch")
    tenant_id: Mapped[str] = mapped_column(String(36))
    source_id: Mapped[str | None] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    scanner: Mapped[str] = mapped_column(String(100))
    target: Mapped[str] = mapped_column(String(500))
    config: Mapped[JsonObject | None]
    cron_expression: Mapped[str] = mapped_column(String(100))
    timezone: Mapped[str | None] = mapped_column(String(50), server_default="UTC")
    enabled: Mapped[bool | None] = mapped_column(server_default=true())
    last_run_at: Mapped[datetime | None]
    next_run_at: Mapped[datetime | None]
    created_at: Mapped[datetime | None] = mapped_column(server_default=func.current_timestamp())
    updated_at: Mapped[datetime | None] = mapped_column(server_default=func.current_timestamp())

    priority: Mapped[Priority] = mapped_column(server_default="normal")
    timeout_seconds: Mapped[int | None]
    ttl_seconds: Mapped[int | None]
    missed_run: Mapped[MissedRun] = mapped_column(server_default="run_once")
    overlap: Mapped[Overlap] = mapped_column(server_default="skip")
    jitter_seconds: Mapped[int] = mapped_column(server_default="0")


class ClaimRecord(Base):
    """What a claim handed out: the attempt of each command, by its id."""

    __tablename__ = "claims"

    source_id: Mapped[str] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    claim_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    attempts: Mapped[JsonObject]


class IdempotentRequest(Base):
    """A creating request that named an Idempotency-Key. `status` is null while it is answered.

    `answer` is the reply's document; null where the reply carried a key, then `item` is its id.
    """

    __tablename__ = "idempotent_requests"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    route: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(index=True)
    status: Mapped[int | None]
    location: Mapped[str | None] = mapped_column(String(200))
    answer: Mapped[JsonObject | None]
    item: Mapped[str | None] = mapped_column(String(36))


class CreationBucket(Base):
    """How many commands a tenant may create just now: `tokens` as of `filled_at`."""

    __tablename__ = "creation_buckets"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    tokens: Mapped[float] = mapped_column(Float)
    filled_at: Mapped[datetime]


class EnrollmentToken(Base):
    """Lets agents make themselves a source, `max_uses` times. Only its SHA-256 is kept."""

    __tablename__ = "enrollment_tokens"
    __table_args__ = (Index("idx_enrollment_tokens_tenant_created", "tenant_id", "created_at"),)

    id: Mapped[str] = _id("enr")
    tenant_id: Mapped[str] = _tenant()
    token_prefix: Mapped[str] = mapped_column(String(20))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    max_uses: Mapped[int]
    uses: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Asset(Base):
    __tablename__ = "assets"
    __table_args__ = (
        UniqueConstraint("tenant_id", "type", "value"),
        Index("idx_assets_tenant_created", "tenant_id", "created_at"),
    )

    id: Mapped[str] = _id("ast")
    tenant_id: Mapped[str] = _tenant()
    type: Mapped[str] = mapped_column(String(50))
    value: Mapped[str] = mapped_column(String(1000))
    name: Mapped[str | None] = mapped_column(Text)
    properties: Mapped[JsonObject]
    created_at: Mapped[datetime]
    scans: Mapped[list["AssetScan"]] = relationship(viewonly=True)


class AssetScan(Base):
    """The newest full report of an asset by a tool that looked for the same things.

    No coverage key is a key of its own: the empty text.
    """

    __tablename__ = "asset_scans"

    asset_id: Mapped[str] = mapped_column(ForeignKey("assets.id"), primary_key=True)
    tool: Mapped[str] = mapped_column(String(255), primary_key=True)
    coverage_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    scanned_at: Mapped[datetime]


class Report(Base):
    """A report: (source, the id its agent gave it). `scanned_at` is never in the future."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("source_id", "report_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("sources.id"))
    report_id: Mapped[str] = mapped_column(String(256))
    timestamp: Mapped[datetime]
    scanned_at: Mapped[datetime]
    tool: Mapped[str] = mapped_column(String(255))
    coverage_type: Mapped[CoverageType]
    coverage_key: Mapped[str] = mapped_column(String(200))
    branch: Mapped[JsonObject | None]
    command_id: Mapped[str | None] = mapped_column(ForeignKey("commands.id"), index=True)
    attempt: Mapped[int | None]
    last_part: Mapped[int | None]


class ReportPart(Base):
    __tablename__ = "report_parts"

    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id"), primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)


class ReportAsset(Base):
    """What a report calls an asset."""

    __tablename__ = "report_assets"

    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id"), primary_key=True)
    ref: Mapped[str] = mapped_column(String(255), primary_key=True)
    asset_id: Mapped[str] = mapped_column(ForeignKey("assets.id"))


class Finding(Base):
    """One finding, however often it is seen. `data` is the newest report's word for it.

    `auto_resolved` is whether a report resolved it: only such a one is reopened by a report.
    """

    __tablename__ = "findings"
    __table_args__ = (
        UniqueConstraint("tenant_id", "asset_id", "tool", "fingerprint"),
        Index("idx_findings_tenant_created", "tenant_id", "created_at"),
        Index("idx_findings_asset_tool_status", "asset_id", "tool", "status"),
        Index("idx_findings_status_at", "status", "status_at"),
    )

    id: Mapped[str] = _id("fnd")
    tenant_id: Mapped[str] = _tenant()
    asset_id: Mapped[str] = mapped_column(ForeignKey("assets.id"))
    tool: Mapped[str] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(200))
    severity: Mapped[Severity]
    rule_id: Mapped[str | None] = mapped_column(String(1000))
    path: Mapped[str | None] = mapped_column(Text)
    data: Mapped[JsonObject]
    status: Mapped[FindingStatus]
    status_reason: Mapped[str | None] = mapped_column(Text)
    status_by: Mapped[str | None] = mapped_column(String(80))
    status_at: Mapped[datetime]
    auto_resolved: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    occurrence_count: Mapped[int]
    coverage_key: Mapped[str] = mapped_column(String(200))


class Sighting(Base):
    """That a report has a finding: what the sources and commands of a finding are known by."""

    __tablename__ = "sightings"

    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id"), primary_key=True)
    finding_id: Mapped[str] = mapped_column(ForeignKey("findings.id"), primary_key=True, index=True)
