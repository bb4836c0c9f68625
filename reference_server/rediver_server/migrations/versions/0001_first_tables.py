"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, ForeignKey
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

ID = sa.String(36)
WORD = sa.String(20)
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NOW = sa.func.current_timestamp()


def upgrade() -> None:
    _tenants_and_sources()
    _commands()
    _events_and_schedules()
    _reports()
    _findings()


def _tenants_and_sources() -> None:
    op.create_table("tenants",
        Column("id", ID, primary_key=True), Column("name", sa.String(255), nullable=False),
        Column("created_at", TIME, nullable=False), sa.UniqueConstraint("name"))
    op.create_table("sources",
        Column("id", ID, primary_key=True),
        Column("tenant_id", ID, ForeignKey("tenants.id"), nullable=False),
        Column("name", sa.String(255), nullable=False), Column("type", WORD, nullable=False),
        Column("description", sa.Text()), Column("capabilities", JSON, nullable=False),
        Column("metadata", JSON, nullable=False), Column("paused", sa.Boolean(), nullable=False),
        Column("created_at", TIME, nullable=False), Column("deleted_at", TIME),
        Column("last_seen_at", TIME), Column("heartbeat", JSON),
        Column("instances", JSON, nullable=False))
    op.create_index("idx_sources_tenant_created", "sources", ["tenant_id", "created_at"])
    op.create_table("api_keys",
        Column("id", ID, primary_key=True),
        Column("tenant_id", ID, ForeignKey("tenants.id"), nullable=False),
        Column("source_id", ID, ForeignKey("sources.id")), Column("role", WORD, nullable=False),
        Column("api_key_prefix", WORD, nullable=False),
        Column("sha256", sa.String(64), nullable=False), Column("created_at", TIME, nullable=False),
        Column("expires_at", TIME), Column("revoked_at", TIME), Column("last_used_at", TIME),
        sa.UniqueConstraint("sha256"))
    op.create_index("idx_api_keys_source_id", "api_keys", ["source_id"])


def _commands() -> None:
    op.create_table("commands",
        Column("id", ID, primary_key=True), Column("tenant_id", ID, nullable=False),
        Column("source_id", ID), Column("type", sa.String(50), nullable=False),
        Column("priority", WORD, server_default="normal"), Column("payload", JSON, nullable=False),
        Column("status", WORD, server_default="pending", nullable=False),
        Column("created_at", TIME, server_default=NOW, nullable=False), Column("expires_at", TIME),
        Column("acknowledged_at", TIME), Column("started_at", TIME), Column("completed_at", TIME),
        Column("result", JSON), Column("error_message", sa.Text()), Column("scheduled_at", TIME),
        Column("schedule_id", ID), Column("tool", sa.String(100)),
        Column("queue_rank", sa.Integer(), server_default="2", nullable=False),
        Column("attempt", sa.Integer(), server_default="0", nullable=False),
        Column("attempts_used", sa.Integer(), server_default="0", nullable=False),
        Column("max_attempts", sa.Integer(), server_default="3", nullable=False),
        Column("holder_source_id", ID), Column("holder_instance_id", sa.String(64)),
        Column("lease_expires_at", TIME), Column("deadline_at", TIME),
        Column("cancel_requested_at", TIME), Column("due_at", TIME), Column("progress", JSON),
        Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_source"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tenant"))
    op.create_index("idx_commands_due", "commands", ["due_at"])
    op.create_index("idx_commands_holder_status", "commands", ["holder_source_id", "status"])
    queue = ["tenant_id", "status", "queue_rank", "created_at"]
    op.create_index("idx_commands_queue", "commands", queue)
    op.create_index("idx_commands_source_status", "commands", ["source_id", "status"])
    op.create_index("idx_commands_tenant_created", "commands", ["tenant_id", "created_at"])


def _events_and_schedules() -> None:
    op.create_table("command_events",
        Column("id", BIG, primary_key=True),
        Column("command_id", ID, ForeignKey("commands.id"), nullable=False),
        Column("at", TIME, nullable=False), Column("actor", sa.String(80), nullable=False),
        Column("from_status", WORD), Column("to_status", WORD, nullable=False),
        Column("attempt", sa.Integer(), nullable=False),
        Column("reason", sa.Text(), nullable=False), Column("data", sa.JSON()))
    op.create_index("idx_command_events_command_id", "command_events", ["command_id"])
    op.create_table("scan_schedules",
        Column("id", ID, primary_key=True), Column("tenant_id", ID, nullable=False),
        Column("source_id", ID), Column("name", sa.String(255), nullable=False),
        Column("description", sa.Text()), Column("scanner", sa.String(100), nullable=False),
        Column("target", sa.String(500), nullable=False), Column("config", JSON),
        Column("cron_expression", sa.String(100), nullable=False),
        Column("timezone", sa.String(50), server_default="UTC"),
        Column("enabled", sa.Boolean(), server_default=sa.true()), Column("last_run_at", TIME),
        Column("next_run_at", TIME), Column("created_at", TIME, server_default=NOW),
        Column("updated_at", TIME, server_default=NOW),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tenant"))


def _reports() -> None:
    op.create_table("assets",
        Column("id", ID, primary_key=True),
        Column("tenant_id", ID, ForeignKey("tenants.id"), nullable=False),
        Column("type", sa.String(50), nullable=False),
        Column("value", sa.String(1000), nullable=False), Column("name", sa.Text()),
        Column("properties", JSON, nullable=False), Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("tenant_id", "type", "value"))
    op.create_index("idx_assets_tenant_created", "assets", ["tenant_id", "created_at"])
    op.create_table("asset_scans",
        Column("asset_id", ID, ForeignKey("assets.id"), primary_key=True),
        Column("tool", sa.String(255), primary_key=True),
        Column("coverage_key", sa.String(200), primary_key=True),
        Column("scanned_at", TIME, nullable=False))
    op.create_table("reports",
        Column("id", BIG, primary_key=True),
        Column("source_id", ID, ForeignKey("sources.id"), nullable=False),
        Column("report_id", sa.String(256), nullable=False),
        Column("timestamp", TIME, nullable=False), Column("scanned_at", TIME, nullable=False),
        Column("tool", sa.String(255), nullable=False),
        Column("coverage_type", WORD, nullable=False),
        Column("coverage_key", sa.String(200), nullable=False), Column("branch", JSON),
        Column("command_id", ID, ForeignKey("commands.id")), Column("attempt", sa.Integer()),
        Column("last_part", sa.Integer()), sa.UniqueConstraint("source_id", "report_id"))
    op.create_index("idx_reports_command_id", "reports", ["command_id"])
    op.create_table("report_assets",
        Column("report_id", BIG, ForeignKey("reports.id"), primary_key=True),
        Column("ref", sa.String(255), primary_key=True),
        Column("asset_id", ID, ForeignKey("assets.id"), nullable=False))
    op.create_table("report_parts",
        Column("report_id", BIG, ForeignKey("reports.id"), primary_key=True),
        Column("part", sa.Integer(), primary_key=True))


def _findings() -> None:
    op.create_table("findings",
        Column("id", ID, primary_key=True),
        Column("tenant_id", ID, ForeignKey("tenants.id"), nullable=False),
        Column("asset_id", ID, ForeignKey("assets.id"), nullable=False),
        Column("tool", sa.String(255), nullable=False),
        Column("fingerprint", sa.String(200), nullable=False),
        Column("severity", WORD, nullable=False), Column("rule_id", sa.String(1000)),
        Column("path", sa.Text()), Column("data", sa.JSON(), nullable=False),
        Column("status", WORD, nullable=False), Column("status_reason", sa.Text()),
        Column("status_by", sa.String(80)), Column("status_at", TIME, nullable=False),
        Column("auto_resolved", sa.Boolean(), nullable=False),
        Column("created_at", TIME, nullable=False), Column("first_seen_at", TIME, nullable=False),
        Column("last_seen_at", TIME, nullable=False),
        Column("occurrence_count", sa.Integer(), nullable=False),
        Column("coverage_key", sa.String(200), nullable=False),
        sa.UniqueConstraint("tenant_id", "asset_id", "tool", "fingerprint"))
    op.create_index("idx_findings_asset_tool_status", "findings", ["asset_id", "tool", "status"])
    op.create_index("idx_findings_tenant_created", "findings", ["tenant_id", "created_at"])
    op.create_table("sightings",
        Column("report_id", BIG, ForeignKey("reports.id"), primary_key=True),
        Column("finding_id", ID, ForeignKey("findings.id"), primary_key=True))
    op.create_index("idx_sightings_finding_id", "sightings", ["finding_id"])
