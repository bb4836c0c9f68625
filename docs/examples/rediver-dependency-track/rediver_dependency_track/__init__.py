"""Collects the findings of a Dependency-Track server: one asset a project.

What may not be read is said and never counts as clean. The network is not loaded before something
is collected: an agent that only scans starts as fast as without this plugin.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from importlib import import_module
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, Field, HttpUrl, SecretStr

from rediver_agent import CollectContext, CollectEvent, Collector, hookimpl

rediver_api = 1

_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


def _private(url: HttpUrl) -> HttpUrl:
    if url.scheme != "https" and url.host not in _LOOPBACK:
        raise ValueError("use https: the token would be sent for everybody on the way to read")
    return url


class Options(BaseModel, extra="forbid"):
    """What the operator says."""

    url: Annotated[HttpUrl, AfterValidator(_private)] = Field(description="Where its API is")
    token: SecretStr = Field(description="A key of a team that may view portfolio and findings")
    projects: list[str] = Field(default=[], description="Names of projects; else all active ones")


class DependencyTrack(Collector[Options]):
    """Vulnerable components of the projects of one Dependency-Track server."""

    name = "dependency-track"
    options = Options
    from_command: ClassVar[frozenset[str]] = frozenset({"projects"})
    choose_assets: ClassVar[frozenset[str]] = frozenset({"projects"})

    async def collect(self, ctx: CollectContext, options: Options) -> AsyncIterator[CollectEvent]:
        network = import_module("rediver_dependency_track._collect")
        async with aclosing(network.collected(ctx, options)) as events:
            async for event in events:
                yield event


@hookimpl
def rediver_collectors() -> Iterator[DependencyTrack]:
    """The collector."""
    yield DependencyTrack()
