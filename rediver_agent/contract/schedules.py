"""Schedules: a scan by cron, in a time zone.

Cron expressions have exactly five fields. The server knows whether an expression ever fires and
whether a zone exists; what is here is the shape.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from rediver_agent.contract.base import NUMBER, Flag, Id, JsonObject, Name, UtcDatetime, WireModel
from rediver_agent.contract.commands import Priority, Seconds

DAY_SECONDS = 86_400


class MissedRun(StrEnum):
    """What happens to fire times that passed while no server ran."""

    SKIP = "skip"
    RUN_ONCE = "run_once"


class Overlap(StrEnum):
    """Whether a fire time counts while an earlier command of the schedule is not over."""

    SKIP = "skip"
    ALLOW = "allow"


Description = Annotated[str, Field(max_length=10_000)]
Scanner = Annotated[str, Field(min_length=1, max_length=100)]
Target = Annotated[str, Field(min_length=1, max_length=500)]
Cron = Annotated[str, Field(min_length=9, max_length=100)]
Zone = Annotated[str, Field(min_length=1, max_length=50)]
Ttl = Annotated[int, Field(ge=1, le=31_536_000), NUMBER]
Jitter = Annotated[int, Field(ge=0, le=DAY_SECONDS), NUMBER]


class ScheduleCreate(WireModel):
    """`ttl_seconds`: by default until the next fire, at most a day."""

    name: Name
    scanner: Scanner
    target: Target
    cron_expression: Cron
    description: Description | None = None
    source_id: Id | None = None
    config: JsonObject | None = None
    timezone: Zone = "UTC"
    enabled: Flag = True
    priority: Priority = Priority.NORMAL
    timeout_seconds: Seconds | None = None
    ttl_seconds: Ttl | None = None
    missed_run: MissedRun = MissedRun.RUN_ONCE
    overlap: Overlap = Overlap.SKIP
    jitter_seconds: Jitter = 0


class SchedulePatch(ScheduleCreate):
    """What is given is changed; null empties what may be empty. Defaults here stand for absence."""

    name: Name = ""
    scanner: Scanner = ""
    target: Target = ""
    cron_expression: Cron = ""


class Schedule(ScheduleCreate):
    """A schedule as operators read it. `next_run_at` is null while it is not enabled."""

    id: Id
    tenant_id: Id
    last_run_at: UtcDatetime | None = None
    next_run_at: UtcDatetime | None = None
    created_at: UtcDatetime
    updated_at: UtcDatetime


class ScheduleList(WireModel):
    schedules: list[Schedule]
    next_cursor: str | None = None


class Upcoming(WireModel):
    """The next fire times, without jitter."""

    upcoming: list[UtcDatetime]
