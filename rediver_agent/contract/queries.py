"""The query parameters of every list. Unknown, repeated and malformed ones are 400."""

from typing import Annotated, Literal

from pydantic import Field

from rediver_agent.contract.base import Id, UtcDatetime, WireModel
from rediver_agent.contract.commands import TypeName
from rediver_agent.contract.findings import FindingStatus, Severity
from rediver_agent.contract.lifecycle import CommandStatus

_TYPE = "[a-z][a-z0-9_]{0,49}"

Limit = Annotated[int, Field(ge=1, le=100)]
Words = Annotated[str, Field(max_length=4000)]


class PageQuery(WireModel):
    """`cursor` is the `next_cursor` of an earlier page, as it was."""

    limit: Limit = 20
    cursor: Annotated[str, Field(max_length=200)] | None = None


class PollQuery(WireModel):
    """`types` is command types with commas between them."""

    limit: Limit = 10
    status: Literal["pending"] = "pending"
    types: Annotated[str, Field(pattern=f"^{_TYPE}(,{_TYPE}){{0,99}}$")] | None = None


class CommandsQuery(PageQuery):
    status: CommandStatus | None = None
    type: TypeName | None = None
    source_id: Id | None = None
    schedule_id: Id | None = None
    created_after: UtcDatetime | None = None
    created_before: UtcDatetime | None = None


class FindingFilters(WireModel):
    """`source_id` and `command_id`: of any report that has the finding."""

    severity: Severity | None = None
    status: FindingStatus | None = None
    tool: Words | None = None
    rule_id: Words | None = None
    path: Words | None = None
    asset_id: Id | None = None
    source_id: Id | None = None
    command_id: Id | None = None
    first_seen_after: UtcDatetime | None = None


class FindingsQuery(PageQuery, FindingFilters):
    """A page of findings."""


class SarifQuery(FindingFilters):
    """All that match, in one document: what is open, unless it says otherwise."""

    status: FindingStatus | None = FindingStatus.OPEN


class UpcomingQuery(WireModel):
    count: Limit = 5
