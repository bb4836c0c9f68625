"""Lists by pages, newest first. A cursor is opaque and stays good when rows are added."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from sqlalchemy import Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from rediver_agent.contract import UtcDatetime
from rediver_agent.contract.queries import PageQuery
from rediver_server.db import Transaction
from rediver_server.errors import invalid

Row = TypeVar("Row")
_CURSOR: Final = TypeAdapter(tuple[UtcDatetime, str])


def page(
    tx: Transaction,
    rows: Select[Row],
    time: InstrumentedAttribute[datetime],
    key: InstrumentedAttribute[str],
    query: PageQuery,
) -> tuple[Sequence[Row], str | None]:
    """One page and the cursor of the next. `time` and `key` must never change in a row."""
    if query.cursor:
        rows = rows.where(tuple_(time, key) < tuple_(*_position(query.cursor, time, key)))
    found = tx.scalars(rows.order_by(time.desc(), key.desc()).limit(query.limit + 1)).all()
    if len(found) <= query.limit:
        return found, None
    last = found[query.limit - 1]
    position = to_json((getattr(last, time.key), getattr(last, key.key)))
    return found[: query.limit], base64.urlsafe_b64encode(position).decode()


def _position(
    cursor: str, time: InstrumentedAttribute[datetime], key: InstrumentedAttribute[str]
) -> tuple[Any, Any]:
    try:
        moment, row_id = _CURSOR.validate_json(base64.urlsafe_b64decode(cursor))
    except (ValueError, ValidationError) as fault:
        raise invalid("cursor", "use the next_cursor of an earlier page, as it is") from fault
    return literal(moment, time.type), literal(row_id, key.type)
