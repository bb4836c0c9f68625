"""Collects GitHub's security alerts for the Rediver agent: one asset a repository.

What is off or may not be read is said and never counts as clean; every page is read, and GitHub's
limits are obeyed. The network is not loaded before something is collected.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from importlib import import_module
from typing import Any, Final

from typing_extensions import override

from rediver_agent import CollectContext, CollectEvent, Collector, hookimpl
from rediver_github._options import Options

rediver_api = 1

# What chooses repositories, and how GitHub is reached: neither changes what is found in one. Nor
# does `since`, which finds a part of it: whole collections still resolve what it saw last.
_NOT_WHAT_IS_FOUND: Final = frozenset(
    {
        "repositories", "organizations", "exclude_repositories", "include_archived", "repository",
        "since", "ca_file", "max_wait_seconds",
    }
)  # fmt: skip


class GitHub(Collector[Options]):
    """Dependabot, code scanning and secret scanning alerts of repositories and organisations."""

    name = "github"
    options = Options
    from_command = frozenset({"repository", "alert_types", "states", "since"})
    choose_assets = _NOT_WHAT_IS_FOUND

    def __init__(self, clock: Callable[[], Any] | None = None) -> None:
        self._clock = clock

    @override
    async def collect(self, ctx: CollectContext, options: Options) -> AsyncIterator[CollectEvent]:
        network = import_module("rediver_github._collect")  # httpx: no scan needs it
        clock = self._clock() if self._clock else network.Clock()
        async with aclosing(network.collected(ctx, options, clock)) as events:
            async for event in events:
                yield event


@hookimpl
def rediver_collectors() -> Iterator[GitHub]:
    """See `rediver_agent.hookspecs`."""
    yield GitHub()
