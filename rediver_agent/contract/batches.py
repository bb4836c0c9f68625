"""Many commands in one call: claiming, answering, ordering and cancelling them.

Items of a batch are judged one by one, as the single call would judge each: they stay documents
here and are read by the single call's model.
"""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from rediver_agent.contract.base import NUMBER, Count, Id, JsonObject, WireModel
from rediver_agent.contract.commands import TypeName
from rediver_agent.contract.errors import ErrorDetail
from rediver_agent.contract.lifecycle import CommandStatus
from rediver_agent.contract.results import InstanceId

MAX_BATCH: Final = 100

_Items = Annotated[list[JsonObject], Field(max_length=MAX_BATCH)]


def _split(types: object) -> object:
    return types.split(",") if isinstance(types, str) else types


TypeNames = Annotated[list[TypeName], Field(max_length=100), BeforeValidator(_split)]


class Claim(WireModel):
    """Poll and acknowledge in one. The same `claim_id` never claims anew."""

    claim_id: Annotated[str, Field(min_length=1, max_length=64)]
    limit: Annotated[int, Field(ge=1, le=MAX_BATCH), NUMBER] = 10
    types: TypeNames | None = None
    instance_id: InstanceId | None = None


class ResultBatch(WireModel):
    """Each item is a result with its `command_id`."""

    results: _Items


class ResultOutcome(WireModel):
    """What the single call would have said of one item."""

    command_id: str
    status: int
    error: ErrorDetail | None = None


class ResultBatchReply(WireModel):
    results: list[ResultOutcome]


class CommandBatch(WireModel):
    """Each item is an order, with an `idempotency_key` of its own if it likes."""

    commands: _Items


class BulkCancel(WireModel):
    """Cancels what matches all that is given; `{}` is everything."""

    status: CommandStatus | None = None
    type: TypeName | None = None
    source_id: Id | None = None
    schedule_id: Id | None = None


class BulkCancelReply(WireModel):
    """`cancelled` were pending; of `requested` the holders have been told."""

    cancelled: Count
    requested: Count
