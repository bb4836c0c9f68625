"""What a running agent knows of itself: for `rediver-agent status`, its metrics and health checks.

Written by the loops as they go, in the event loop; read at any time.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Mode = Literal["standalone", "server-controlled", "hybrid"]


@dataclass(slots=True)
class Calls:
    """How the calls of one kind to the server go. `problem` is None while they go well."""

    last_at: datetime | None = None
    last_good_at: datetime | None = None
    next_at: datetime | None = None
    problem: str | None = None
    good: int = 0
    failed: int = 0

    def went_well(self, now: datetime) -> bool:
        """One was answered. Returns whether that is news."""
        news = self.problem is not None
        self.last_at = self.last_good_at = now
        self.problem = None
        self.good += 1
        return news

    def went_wrong(self, now: datetime, problem: str) -> bool:
        """One came to nothing, for this reason. Returns whether that is news."""
        news = self.problem != problem
        self.last_at = now
        self.problem = problem
        self.failed += 1
        return news


@dataclass(slots=True)
class Listening:
    """One collector that is pushed to. `problem` is why it does not listen; None while it does."""

    message: str = ""
    """What it says of itself."""
    problem: str | None = None
    kept: int = 0
    """Pushes since the start that are on the disk."""


@dataclass(slots=True)
class Status:
    """One agent, from its start on."""

    started_at: datetime
    mode: Mode
    draining: bool = False
    poll: Calls = field(default_factory=Calls)
    heartbeat: Calls = field(default_factory=Calls)
    next_scan_at: datetime | None = None
    next_collect_at: datetime | None = None
    socket: str = "off"
    """`off`, `open`, or why it is not open."""
    listening: dict[str, Listening] = field(default_factory=dict[str, Listening])
    overlay_version: int = 0
    """Of the settings that the server has changed; 0 is none."""
    moved_aside: list[str] = field(default_factory=list[str])
    """Spools that could not be read, by name."""
