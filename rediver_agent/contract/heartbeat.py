"""The heartbeat: what an agent is able to do and what it holds; the reply says what to let go."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field

from rediver_agent.contract.base import NUMBER, Count, Id, Name, UtcDatetime, WireModel
from rediver_agent.contract.commands import CommandType
from rediver_agent.contract.results import InstanceId

Item = TypeVar("Item")
Listed = Annotated[list[Item], Field(max_length=1000)]


_DEFAULT_TYPES: Final = (CommandType.SCAN, CommandType.COLLECT, CommandType.HEALTH_CHECK)
_TOOLS: Final = {CommandType.SCAN: "scanners", CommandType.COLLECT: "collectors"}


class RunningCommand(WireModel):
    command_id: Id
    attempt: Count | None = None


class Heartbeat(WireModel):
    """Renews the lease of every command in `running`."""

    name: Name
    status: Annotated[str, Field(min_length=1, max_length=50)]
    version: str | None = None
    hostname: str | None = None
    scanners: Listed[str] | None = None
    collectors: Listed[str] | None = None
    command_types: Listed[str] | None = None
    uptime_seconds: Annotated[float, Field(ge=0), NUMBER] | None = None
    total_scans: Count | None = None
    errors: Count | None = None
    instance_id: InstanceId | None = None
    running: Listed[RunningCommand] | None = None


class HeartbeatReply(WireModel):
    """`cancel`: stop these and report it. `lost`: stop these, nobody waits for them."""

    success: bool
    server_time: UtcDatetime | None = None
    cancel: list[str] = Field(default_factory=list)
    lost: list[str] = Field(default_factory=list)


def takes(heartbeat: Mapping[str, Any] | None) -> dict[str, list[str] | None]:
    """What of the pool a source may be handed, by its last heartbeat: the tools of each type.

    None is a type that needs no tool. A source that has sent no heartbeat takes nothing.
    """
    if heartbeat is None:
        return {}
    types = heartbeat.get("command_types")
    named = _DEFAULT_TYPES if types is None else types
    return {name: heartbeat.get(_TOOLS[name]) or [] if name in _TOOLS else None for name in named}
