"""The hooks: the first file that a plugin author reads.

A plugin is a distribution `rediver-<name>` with a module `rediver_<name>` that it names in the
entry-point group `rediver_agent`. The module has functions marked `@hookimpl`, which yield objects.
Hooks only register, and are never async: all behaviour is in methods of what they yield.

    from rediver_agent import Scanner, hookimpl

    @hookimpl
    def rediver_scanners():
        yield Bandit()
"""

from collections.abc import Iterable
from typing import Final

import pluggy

from rediver_agent.interfaces import (
    AnyCollector,
    AnyEnricher,
    AnyHandler,
    AnyObserver,
    AnyScanner,
    Parser,
)

__all__ = [
    "PROJECT",
    "hookimpl",
    "hookspec",
    "rediver_collectors",
    "rediver_enrichers",
    "rediver_handlers",
    "rediver_observers",
    "rediver_parsers",
    "rediver_scanners",
]

PROJECT: Final = "rediver_agent"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def rediver_scanners() -> Iterable[AnyScanner]:  # pyright: ignore[reportReturnType] - a specification has no body
    """The scanners of this plugin."""


@hookspec
def rediver_parsers() -> Iterable[Parser]:  # pyright: ignore[reportReturnType] - a specification has no body
    """The report parsers of this plugin."""


@hookspec
def rediver_collectors() -> Iterable[AnyCollector]:  # pyright: ignore[reportReturnType] - a specification has no body
    """The collectors of this plugin."""


@hookspec
def rediver_handlers() -> Iterable[AnyHandler]:  # pyright: ignore[reportReturnType] - a specification has no body
    """The handlers of this plugin's own command types."""


@hookspec
def rediver_enrichers() -> Iterable[AnyEnricher]:  # pyright: ignore[reportReturnType] - a specification has no body
    """The enrichers of this plugin."""


@hookspec
def rediver_observers() -> Iterable[AnyObserver]:  # pyright: ignore[reportReturnType] - a specification has no body
    """The observers of this plugin."""
