"""Tenants, their sources, and the keys of both."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rediver_agent.contract.base import JsonObject
from rediver_server.models.base import Base, id_column, tenant_column


class Role(StrEnum):
    """What a key may do. `source` is an agent's, `enrollment` makes one.

    Each of the others includes those before it.
    """

    SOURCE = "source"
    ENROLLMENT = "enrollment"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Tenant(Base):
    __tablename__ = "tenants"

    id: Mapped[str] = id_column("ten")
    name: Mapped[str] = mapped_column(sa.String(255), unique=True)
    created_at: Mapped[datetime]


class Source(Base):
    """An agent as the server knows it. `heartbeat` is its last one, as it was sent.

    `instances` is when each instance_id was last heard, as RFC 3339 text.
    """

    __tablename__ = "sources"
    __table_args__ = (sa.Index("idx_sources_tenant_created", "tenant_id", "created_at"),)

    id: Mapped[str] = id_column("src")
    tenant_id: Mapped[str] = tenant_column()
    name: Mapped[str] = mapped_column(sa.String(255))
    type: Mapped[str] = mapped_column(sa.String(20))
    description: Mapped[str | None] = mapped_column(sa.Text)
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

    id: Mapped[str] = id_column("key")
    tenant_id: Mapped[str] = tenant_column()
    source_id: Mapped[str | None] = mapped_column(sa.ForeignKey("sources.id"), index=True)
    role: Mapped[Role]
    api_key_prefix: Mapped[str] = mapped_column(sa.String(20))
    sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class EnrollmentToken(Base):
    """Lets agents make themselves a source, `max_uses` times. Only its SHA-256 is kept."""

    __tablename__ = "enrollment_tokens"
    __table_args__ = (sa.Index("idx_enrollment_tokens_tenant_created", "tenant_id", "created_at"),)

    id: Mapped[str] = id_column("enr")
    tenant_id: Mapped[str] = tenant_column()
    token_prefix: Mapped[str] = mapped_column(sa.String(20))
    sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    max_uses: Mapped[int]
    uses: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
