"""Schedules, claims, idempotent requests, rates, enrollment; indexes for every list and queue."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, ForeignKey
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

ID = sa.String(36)
WORD = sa.String(20)
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
INT = sa.Integer()


def upgrade() -> None:
    _commands_and_schedules()
    _memory_of_requests()
    op.create_table("enrollment_tokens",
        Column("id", ID, primary_key=True),
        Column("tenant_id", ID, ForeignKey("tenants.id"), nullable=False),
        Column("token_prefix", WORD, nullable=False),
        Column("sha256", sa.String(64), nullable=False), Column("max_uses", INT, nullable=False),
        Column("uses", INT, server_default="0", nullable=False),
        Column("created_at", TIME, nullable=False), Column("expires_at", TIME, nullable=False),
        Column("revoked_at", TIME),
        sa.UniqueConstraint("sha256"))
    _index("enrollment_tokens", "tenant_created", "tenant_id", "created_at")
    _index("findings", "status_at", "status", "status_at")
    _index("reports", "scanned", "scanned_at")
    late = sa.text("reason = 'late result'")
    _index("command_events", "late", "at", sqlite_where=late, postgresql_where=late)


def _commands_and_schedules() -> None:
    op.add_column("commands", Column("fire_at", TIME))
    unconfirmed = Column("unconfirmed", sa.Boolean(), server_default=sa.false(), nullable=False)
    op.add_column("commands", unconfirmed)
    op.drop_index("idx_commands_queue", "commands")
    queue = ("status", "queue_rank", "created_at")
    pool = sa.text("source_id IS NULL")
    _index("commands", "addressed", "source_id", *queue)
    _index("commands", "pool", "tenant_id", *queue, sqlite_where=pool, postgresql_where=pool)
    _index("commands", "schedule_fire", "schedule_id", "fire_at", unique=True)
    _index("commands", "schedule_due", "schedule_id", "due_at")
    _index("commands", "completed", "completed_at")
    for column in (
        Column("priority", WORD, server_default="normal", nullable=False),
        Column("timeout_seconds", INT), Column("ttl_seconds", INT),
        Column("missed_run", WORD, server_default="run_once", nullable=False),
        Column("overlap", WORD, server_default="skip", nullable=False),
        Column("jitter_seconds", INT, server_default="0", nullable=False),
    ):
        op.add_column("scan_schedules", column)
    _index("scan_schedules", "tenant_created", "tenant_id", "created_at")
    _index("scan_schedules", "due", "next_run_at")


def _memory_of_requests() -> None:
    op.create_table("idempotent_requests",
        Column("tenant_id", ID, ForeignKey("tenants.id"), primary_key=True),
        Column("route", sa.String(100), primary_key=True),
        Column("key", sa.String(255), primary_key=True),
        Column("body_sha256", sa.String(64)),
        Column("created_at", TIME, nullable=False),
        Column("location", sa.String(200)), Column("answer", JSON), Column("item", ID))
    _index("idempotent_requests", "created_at", "created_at")
    op.create_table("creation_buckets",
        Column("tenant_id", ID, ForeignKey("tenants.id"), primary_key=True),
        Column("tokens", sa.Float(), nullable=False), Column("filled_at", TIME, nullable=False))


def _index(table: str, name: str, *columns: str, **options: object) -> None:
    op.create_index(f"idx_{table}_{name}", table, list(columns), **options)
