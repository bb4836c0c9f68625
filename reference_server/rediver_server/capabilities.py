"""What of the tenant's pool a source may take: what its last heartbeat says that it can do."""

from sqlalchemy import ColumnElement, and_, false, or_

from rediver_agent.contract.heartbeat import takes
from rediver_server.models import Command, Source


def in_pool_of(source: Source) -> ColumnElement[bool]:
    """Commands of the tenant's pool that this source may be handed."""
    able = [
        and_(Command.type == kind, *([] if tools is None else [Command.tool.in_(tools)]))
        for kind, tools in takes(source.heartbeat).items()
    ]
    pool = (Command.tenant_id == source.tenant_id, Command.source_id.is_(None))
    return and_(*pool, or_(*able)) if able else false()


def can_do(source: Source, command: Command) -> bool:
    """Whether this source may be handed a command of the pool."""
    taken = takes(source.heartbeat)
    tools = taken.get(command.type)
    return command.type in taken and (tools is None or command.tool in tools)
