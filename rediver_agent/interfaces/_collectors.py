"""What a collector is handed and yields, and what every collector is."""

from abc import ABC
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, cast

from rediver_agent.contract.findings import Asset, Finding
from rediver_agent.interfaces._options import Log, NoOptions, Options
from rediver_agent.interfaces._parsers import ParseEvent, ToolInfo


class CollectContext(Protocol):
    """All that a collector gets."""

    @property
    def cache_dir(self) -> Path:
        """A directory of this collector, kept between collections."""
        ...

    @property
    def log(self) -> Log:
        """The agent's log, with the command's id."""
        ...

    def progress(self, percent: float | None, message: str) -> None:
        """Say how far the collection is: 0 to 100, or None for a phase without a number."""
        ...


CollectEvent = Asset | ParseEvent
"""An `Asset` begins what was found in it: everything until the next one goes into its report."""


class ListenContext(CollectContext, Protocol):
    """All that a collector gets that is pushed to."""

    async def keep(self, asset: Asset, findings: Sequence[Finding], tool: ToolInfo) -> None:
        """Write what was pushed to the agent's disk. It is safe when this returns, not before.

        Raises `CommandError` where there is no room for it: whoever pushed must try again.
        """
        ...


class Collector(ABC, Generic[Options]):
    """Fetches findings from where others keep them, or is pushed to. Has `collect`, `listen` or
    both. Registered by `rediver_collectors`.

    `options` is a pydantic model with `extra="forbid"`: the operator's `collectors[].config`. Of a
    command's `source_config` only the options in `from_command` are taken over it, and any other
    key fails the command by name: a server must not turn a token to another address.
    """

    name: ClassVar[str]
    """What a collect command says. Unique among all plugins."""
    options: type[Options] = NoOptions  # pyright: ignore[reportAssignmentType] - the default of the type variable
    from_command: ClassVar[frozenset[str]] = frozenset()
    """Options that a command may set."""
    choose_assets: ClassVar[frozenset[str]] = frozenset()
    """Options that only choose which assets are fetched, such as a list of repositories. What is
    looked for in each is the same, so that a collection of one may resolve what all have found."""

    def collect(self, ctx: CollectContext, options: Options) -> AsyncIterator[CollectEvent]:
        """Everything that is there now: an async generator. The first event is an `Asset`.

        Each asset comes once, with all of its findings after it, and comes even if nothing is found
        in it: what a whole report leaves out counts as mended. So everything is said each time, and
        where not everything was looked at (a missing right, a filter by date) a `Notice` says so:
        `warning`, or `error` if it should have been. What is not there at all is an error raised:
        `ToolError` with a sentence that says what to do. Assets before it are kept.

        It shares the agent's event loop: what blocks belongs into `anyio.to_thread`.
        """
        raise NotImplementedError(f"{self.name} fetches nothing: it is pushed to")

    async def listen(self, ctx: ListenContext, options: Options) -> None:
        """Take what is pushed, and give it to `ctx.keep`, until cancelled. Begins with the agent.

        What it keeps is what changed, never everything: it resolves nothing by leaving it out, so
        a finding that is over comes with its `status`. An error raised is logged, and it is begun
        anew after a while.
        """
        raise NotImplementedError(f"{self.name} is not pushed to: it fetches")

    @property
    def fetches(self) -> bool:
        """Whether it has a `collect`."""
        return type(self).collect is not _Any.collect

    @property
    def listens(self) -> bool:
        """Whether it has a `listen`."""
        return type(self).listen is not _Any.listen


AnyCollector = Collector[Any]
_Any = cast("type[AnyCollector]", Collector)
