"""Commands, their audit trail, the schedules that make them, and what is known of requests."""

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rediver_agent import contract
from rediver_agent.contract.base import JsonObject
from rediver_agent.contract.commands import DEFAULT_MAX_ATTEMPTS
from rediver_server.models.base import AS_SENT, BIG, Base, id_column, where

_NOW: Final = sa.func.current_timestamp()
_QUEUE: Final = ("status", "queue_rank", "created_at")


class Command(Base):
    """A command. Only `command_queue` writes its status.

    `attempt` is the fence and only rises; `attempts_used` is what `max_attempts` limits: a claim
    counts once its holder has named the command, until then it is `unconfirmed`. The holder stays
    named after its lease lapsed, until somebody else acknowledges. `due_at` is when the server
    itself has to settle something, null once nothing is left to settle. `tool` is the
    payload's scanner or collector, `queue_rank` the priority as a number, 0 for the highest.
    `fire_at` is the nominal fire time that a schedule made it for: one command for each, ever.
    """

    __tablename__ = "commands"
    __table_args__ = (
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tenant"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_source"),
        sa.Index("idx_commands_source_status", "source_id", "status"),
        sa.Index("idx_commands_tenant_created", "tenant_id", "created_at"),
        sa.Index("idx_commands_due", "due_at"),
        sa.Index("idx_commands_holder_status", "holder_source_id", "status"),
        sa.Index("idx_commands_addressed", "source_id", *_QUEUE),
        sa.Index("idx_commands_pool", "tenant_id", *_QUEUE, **where("source_id IS NULL")),
        sa.Index("idx_commands_schedule_fire", "schedule_id", "fire_at", unique=True),
        sa.Index("idx_commands_schedule_due", "schedule_id", "due_at"),
        sa.Index("idx_commands_completed", "completed_at"),
    )

    id: Mapped[str] = id_column("cmd")
    tenant_id: Mapped[str] = mapped_column(sa.String(36))
    source_id: Mapped[str | None] = mapped_column(sa.String(36))
    type: Mapped[str] = mapped_column(sa.String(50))
    priority: Mapped[contract.Priority | None] = mapped_column(server_default="normal")
    payload: Mapped[JsonObject]
    status: Mapped[contract.CommandStatus] = mapped_column(server_default="pending")
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    expires_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    result: Mapped[JsonObject | None]
    error_message: Mapped[str | None] = mapped_column(sa.Text)
    scheduled_at: Mapped[datetime | None]
    schedule_id: Mapped[str | None] = mapped_column(sa.String(36))

    fire_at: Mapped[datetime | None]
    tool: Mapped[str | None] = mapped_column(sa.String(100))
    queue_rank: Mapped[int] = mapped_column(server_default="2")
    attempt: Mapped[int] = mapped_column(server_default="0")
    attempts_used: Mapped[int] = mapped_column(server_default="0")
    max_attempts: Mapped[int] = mapped_column(server_default=str(DEFAULT_MAX_ATTEMPTS))
    holder_source_id: Mapped[str | None] = mapped_column(sa.String(36))
    holder_instance_id: Mapped[str | None] = mapped_column(sa.String(64))
    unconfirmed: Mapped[bool] = mapped_column(server_default=sa.false())
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
    __table_args__ = (sa.Index("idx_command_events_late", "at", **where("reason = 'late result'")),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True)
    command_id: Mapped[str] = mapped_column(sa.ForeignKey("commands.id"), index=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(sa.String(80))
    from_status: Mapped[contract.CommandStatus | None]
    to_status: Mapped[contract.CommandStatus]
    attempt: Mapped[int]
    reason: Mapped[str] = mapped_column(sa.Text)
    data: Mapped[JsonObject | None] = mapped_column(AS_SENT)


class ScanSchedule(Base):
    """A scan by cron. `next_run_at` is the next nominal fire time, null while it is disabled."""

    __tablename__ = "scan_schedules"
    __table_args__ = (
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tenant"),
        sa.Index("idx_scan_schedules_tenant_created", "tenant_id", "created_at"),
        sa.Index("idx_scan_schedules_due", "next_run_at"),
    )

    id: Mapped[str] = id_column("sch")
    tenant_id: Mapped[str] = mapped_column(sa.String(36))
    source_id: Mapped[str | None] = mapped_column(sa.String(36))
    name: Mapped[str] = mapped_column(sa.String(255))
    description: Mapped[str | None] = mapped_column(sa.Text)
    scanner: Mapped[str] = mapped_column(sa.String(100))
    target: Mapped[str] = mapped_column(sa.String(500))
    config: Mapped[JsonObject | None]
    cron_expression: Mapped[str] = mapped_column(sa.String(100))
    timezone: Mapped[str | None] = mapped_column(sa.String(50), server_default="UTC")
    enabled: Mapped[bool | None] = mapped_column(server_default=sa.true())
    last_run_at: Mapped[datetime | None]
    next_run_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW, nullable=True)
    updated_at: Mapped[datetime | None] = mapped_column(server_default=_NOW)

    priority: Mapped[contract.Priority] = mapped_column(server_default="normal")
    timeout_seconds: Mapped[int | None]
    ttl_seconds: Mapped[int | None]
    missed_run: Mapped[contract.MissedRun] = mapped_column(server_default="run_once")
    overlap: Mapped[contract.Overlap] = mapped_column(server_default="skip")
    jitter_seconds: Mapped[int] = mapped_column(server_default="0")


class IdempotentRequest(Base):
    """A request that named a key, an Idempotency-Key or a claim_id, and what it came to.

    `answer` is the reply's document, or of a claim the attempt of each command; null where the
    reply carried a key, then `item` is the id of what was made.
    """

    __tablename__ = "idempotent_requests"

    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"), primary_key=True)
    route: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    body_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[datetime] = mapped_column(index=True)
    location: Mapped[str | None] = mapped_column(sa.String(200))
    answer: Mapped[JsonObject | None]
    item: Mapped[str | None] = mapped_column(sa.String(36))


class CreationBucket(Base):
    """How many commands a tenant may create just now: `tokens` as of `filled_at`."""

    __tablename__ = "creation_buckets"

    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"), primary_key=True)
    tokens: Mapped[float] = mapped_column(sa.Float)
    filled_at: Mapped[datetime]
