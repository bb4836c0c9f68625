"""What the WebSocket says. Nudges only: all data travels by HTTP."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from rediver_agent.contract.base import WireModel


class CommandAvailableMessage(WireModel):
    type: Literal["command_available"] = "command_available"


class CommandCancelledMessage(WireModel):
    type: Literal["command_cancelled"] = "command_cancelled"
    command_id: str


class ConfigUpdateMessage(WireModel):
    type: Literal["config_update"] = "config_update"


class ClosingMessage(WireModel):
    type: Literal["closing"] = "closing"
    reason: str


Message = CommandAvailableMessage | CommandCancelledMessage | ConfigUpdateMessage | ClosingMessage
_MESSAGES: Final[TypeAdapter[Any]] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def parse_message(data: object) -> Message | None:
    """The message, or None for one of a type (or shape) that this contract does not know."""
    try:
        return _MESSAGES.validate_python(data)
    except ValidationError:
        return None
