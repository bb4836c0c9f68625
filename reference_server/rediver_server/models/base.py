"""What all tables share.

Times are kept in UTC and come back aware. Ids are `<kind>_` and 128 random bits.
"""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rediver_agent.contract.base import JsonObject

AS_SENT: Final = sa.JSON(none_as_null=True)  # JSONB would make 1e300 a number of 301 digits
BIG: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # whose integers are all big
_JSON: Final = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Timestamp(sa.TypeDecorator[datetime]):
    """An aware time in UTC, on databases that keep no zone too."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def _values(kind: type[StrEnum]) -> list[str]:
    return [word.value for word in kind]


def where(condition: str) -> dict[str, Any]:
    """What makes an index partial."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


class Base(DeclarativeBase):
    metadata = sa.MetaData(
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
        StrEnum: sa.Enum(StrEnum, native_enum=False, length=20, values_callable=_values),
    }


def new_id(kind: str) -> str:
    """A new id, like `cmd_…`: 36 characters."""
    return f"{kind}_{secrets.token_hex(16)}"


def id_column(kind: str) -> Mapped[str]:
    """An id of the server's own making."""
    return mapped_column(sa.String(36), primary_key=True, default=lambda: new_id(kind))


def tenant_column() -> Mapped[str]:
    """Whose the row is."""
    return mapped_column(sa.String(36), sa.ForeignKey("tenants.id"))
