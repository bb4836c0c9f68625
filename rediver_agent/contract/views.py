"""What the server answers with, where no other file of the contract has said it.

An agent reads replies leniently and by itself (`CommandList`); these say what the server writes.
"""

from typing import Annotated, Literal

from pydantic import Field

from rediver_agent.contract.base import Count, Id, JsonObject, UtcDatetime, WireModel
from rediver_agent.contract.commands import Command, Priority, TypeName
from rediver_agent.contract.errors import ErrorDetail
from rediver_agent.contract.findings import Asset, Finding, FindingStatus
from rediver_agent.contract.lifecycle import CommandStatus


class OfferedCommand(WireModel):
    """What an agent has use for."""

    id: Id
    type: TypeName
    priority: Priority
    payload: JsonObject
    created_at: UtcDatetime
    expires_at: UtcDatetime | None


class PollReply(WireModel):
    """What this source may take now. Nothing of it is claimed."""

    commands: list[OfferedCommand]
    poll_interval_seconds: Annotated[float, Field(gt=0)]


class ClaimedCommand(OfferedCommand):
    attempt: Count
    lease_expires_at: UtcDatetime


class ClaimReply(WireModel):
    """What this source holds now."""

    commands: list[ClaimedCommand]
    poll_interval_seconds: Annotated[float, Field(gt=0)]


class CommandPage(WireModel):
    """Newest first. `next_cursor` is null on the last page."""

    commands: list[Command]
    next_cursor: str | None


class CommandEvent(WireModel):
    """A line of the audit trail: who did what, when and why."""

    at: UtcDatetime
    actor: str
    from_status: CommandStatus | None
    to_status: CommandStatus
    attempt: Count
    reason: str
    data: JsonObject | None


class CommandEvents(WireModel):
    """Oldest first."""

    events: list[CommandEvent]


class OrderOutcome(WireModel):
    """What the single call would have said of one item: a command, or why there is none."""

    status: int
    command: Command | None = None
    error: ErrorDetail | None = None


class CommandBatchReply(WireModel):
    results: list[OrderOutcome]


class Nothing(WireModel):
    """There is nothing to say."""


class StoredFinding(Finding):
    """As the newest report has it, and what the server and people know besides."""

    id: Id
    asset_id: Id
    tool: str
    coverage_key: str
    status_reason: str | None
    status_by: str | None
    status_at: UtcDatetime
    first_seen_at: UtcDatetime
    last_seen_at: UtcDatetime
    occurrence_count: Count
    source_ids: list[Id]


class FindingPage(WireModel):
    """Newest first. `next_cursor` is null on the last page."""

    findings: list[StoredFinding]
    next_cursor: str | None


class FindingPatch(WireModel):
    """`false_positive` and `accepted_risk` need a reason."""

    status: FindingStatus
    reason: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None


class StoredAsset(Asset):
    """`last_full_scan_at` by tool: an old clean is not a clean."""

    id: Id
    created_at: UtcDatetime
    last_full_scan_at: dict[str, UtcDatetime]


class AssetPage(WireModel):
    """Newest first. `next_cursor` is null on the last page."""

    assets: list[StoredAsset]
    next_cursor: str | None


class Health(WireModel):
    """The process is up."""

    status: Literal["ok"]


class Readiness(WireModel):
    """It can do its work. `schema` is the revision of the database's schema."""

    status: Literal["ready"]
    schema_revision: Annotated[str, Field(alias="schema")]
