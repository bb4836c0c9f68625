"""What a target is, beside the files to scan: its repository, and what its own people accept.

A server's command is not answered with less than was asked for because the scanned tree says so:
its suppressions are counted and ignored. Those of what the operator asked for are honoured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel

from rediver_agent.contract.findings import CoverageType
from rediver_agent.errors import SuppressionsUnreadable
from rediver_agent.git_context import (
    Repository,
    repository_around,
    repository_at,
    repository_in_ci,
)
from rediver_agent.policy import OpenTarget
from rediver_agent.report_writer import Summary
from rediver_agent.suppressions import Suppressions
from rediver_agent.suppressions_file import read_suppressions


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found out about a target when its scan began."""

    repository: Repository | None = None
    in_ci: bool = False
    """Whether a CI system says which repository it is. Else the tree does, whom nobody believes."""
    suppressions: Suppressions | None = None
    ignored: int | None = None
    """How many suppressions a server's command did not heed; None where there is no such file."""


def around_commanded(target: OpenTarget) -> Surroundings:
    """Nothing outside of the target is read, and nothing in it can make this an error."""
    try:
        ignored = len(read_suppressions(target.descriptor, target.path)) or None
    except SuppressionsUnreadable:
        ignored = 0  # it is there, and says nothing that could be counted
    return Surroundings(repository_at(target.descriptor, target.path), ignored=ignored)


def around_local(
    target: OpenTarget, now: datetime, ci_environment: Mapping[str, str]
) -> Surroundings:
    """What the operator asked for. Raises `SuppressionsUnreadable`."""
    found = repository_around(target.descriptor, target.path)
    entries = read_suppressions(target.descriptor, target.path)
    in_ci = repository_in_ci(ci_environment, target.path, found)
    return Surroundings(
        in_ci or found, in_ci is not None, Suppressions(entries, now) if entries else None
    )


class Accepted(BaseModel):
    """What became of a scan's suppressions, as `metadata.suppressions` has it."""

    suppressed: int
    ending: list[tuple[int, int]]
    """In how many days, and how many findings, soonest first."""
    expired: list[str]
    unmatched: list[str]
    """Entries that met no finding; none are named unless everything was looked at."""


def accepted_in(summary: Summary, suppressions: Suppressions) -> Accepted:
    """What became of them in one scan."""
    whole = summary.coverage is CoverageType.FULL
    return Accepted(
        suppressed=suppressions.suppressed,
        ending=suppressions.ending(),
        expired=[
            f"{entry} expired on {entry.until:%Y-%m-%d} and suppresses nothing"
            for entry in suppressions.expired()
        ],
        unmatched=[f"{entry} met no finding" for entry in suppressions.unmatched() if whole],
    )
