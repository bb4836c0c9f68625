"""What of the tenant's pool a source may take: what its last heartbeat says that it can do."""

from typing import Any, Final, cast

from sqlalchemy import ColumnElement, and_, false, or_

from rediver_agent.contract import CommandType
from rediver_server.models import Command, Source

_DEFAULT_TYPES: Final = (CommandType.SCAN, CommandType.COLLECT, CommandType.HEALTH_CHECK)
_TOOLS: Final = {CommandType.SCAN: "scanners", CommandType.COLLECT: "collectors"}


def in_pool_of(source: Source) -> ColumnElement[bool]:
    """Commands of the tenant's pool that this source may be handed."""
    types = _types(source)
    able: list[ColumnElement[bool]] = [
        Command.type.in_([name for name in types if name not in _TOOLS])
    ]
    for kind, listed in _TOOLS.items():
        if kind in types:
            able.append(and_(Command.type == kind, Command.tool.in_(_listed(source, listed))))
    pool = and_(Command.tenant_id == source.tenant_id, Command.source_id.is_(None))
    return and_(pool, or_(*able)) if types else false()


def can_do(source: Source, command: Command) -> bool:
    """Whether this source may be handed a command of the pool."""
    if command.type not in _types(source):
        return False
    listed = _TOOLS.get(cast("CommandType", command.type))
    return listed is None or command.tool in _listed(source, listed)


def _types(source: Source) -> list[str]:
    if source.heartbeat is None:
        return []
    return (
        _listed(source, "command_types")
        if "command_types" in source.heartbeat
        else list(_DEFAULT_TYPES)
    )


def _listed(source: Source, what: str) -> list[str]:
    heartbeat: dict[str, Any] = source.heartbeat or {}
    return heartbeat.get(what, [])
