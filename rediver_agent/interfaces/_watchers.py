"""Enrichers, which look at findings on their way out, and observers, which look at commands."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic

from rediver_agent.contract.findings import Finding
from rediver_agent.contract.results import CommandResult
from rediver_agent.interfaces._options import NoOptions, Options


class Enricher(ABC, Generic[Options]):
    """Changes or drops findings before they leave the agent. Registered by `rediver_enrichers`.

    Used where the operator lists it in `enrichers`, in that order, on every finding of every
    report. `options` validates `enrichers[].config`.
    """

    name: ClassVar[str]
    """What `enrichers[].name` says. Unique among all plugins."""
    options: type[Options] = NoOptions  # pyright: ignore[reportAssignmentType] - the default of the type variable

    @abstractmethod
    def enrich(self, finding: Finding, options: Options) -> Finding | None:
        """The finding, changed (`finding.model_copy(update=…)`) or as it was; None drops it.

        Its fingerprint is of what the tool said, whatever is changed. What is dropped is counted
        in the result's metadata. Called in worker threads, by several scans at once. An error
        raised fails the command, and no finding leaves that was not looked at.
        """


AnyEnricher = Enricher[Any]


@dataclass(frozen=True, slots=True)
class ObservedCommand:
    """A command that an agent has in hand. `commanded` is false for its operator's own work."""

    id: str
    type: str
    attempt: int | None
    commanded: bool
    started_at: datetime


class Observer(ABC, Generic[Options]):
    """Is told what a running agent does. Registered by `rediver_observers`.

    Used where the operator lists it in `observers`. `options` validates `observers[].config`. It
    is told beside the work and holds up nobody: what it cannot take in time is left out and
    logged, and an error of its is logged alone.
    """

    name: ClassVar[str]
    """What `observers[].name` says. Unique among all plugins."""
    options: type[Options] = NoOptions  # pyright: ignore[reportAssignmentType] - the default of the type variable

    async def started(self, command: ObservedCommand, options: Options) -> None:
        """A command has begun."""

    async def finished(
        self, command: ObservedCommand, result: CommandResult, options: Options
    ) -> None:
        """A command has ended, and its result is on the agent's disk, without secrets as this one.

        Not told of a command that another agent has taken over, nor of a restart.
        """


AnyObserver = Observer[Any]
