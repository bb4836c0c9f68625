"""Finds and loads plugins, one at a time, so that a broken one never stops the agent.

What is broken is kept with its reason and shown by `rediver-agent plugins`. A misspelt hook is an
error of that plugin. The manager is a value; nothing is loaded at import.
"""

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import pluggy

from rediver_agent import hookspecs

GROUP: Final = "rediver_agent"


@dataclass(frozen=True, slots=True)
class PluginOrigin:
    """Where a plugin comes from."""

    name: str
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A plugin that could not be loaded, and why, in a sentence."""

    origin: PluginOrigin
    problem: str


@dataclass(slots=True)
class Plugins:
    """What was found: the loaded ones behind pluggy's hooks, the broken ones with their reason."""

    manager: pluggy.PluginManager
    loaded: dict[str, PluginOrigin] = field(default_factory=dict[str, PluginOrigin])
    broken: list[BrokenPlugin] = field(default_factory=list[BrokenPlugin])


def load_plugins() -> Plugins:
    """Load every installed plugin of the entry-point group, in the order of their names."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    plugins = Plugins(manager)
    for entry in sorted(
        entry_points(group=GROUP), key=lambda point: (point.name, _origin(point).distribution)
    ):
        _load(plugins, entry)
    return plugins


def _load(plugins: Plugins, entry: EntryPoint) -> None:
    origin = _origin(entry)
    if entry.name in plugins.loaded:
        other = plugins.loaded[entry.name].distribution
        plugins.broken.append(BrokenPlugin(origin, f"{other} has a plugin of that name already"))
        return
    try:
        plugins.manager.register(entry.load(), name=entry.name)
        plugins.manager.check_pending()
    except (Exception, SystemExit) as fault:  # noqa: BLE001 - foreign code runs here; whatever it raises is its own
        plugins.manager.unregister(name=entry.name) if plugins.manager.has_plugin(
            entry.name
        ) else None
        plugins.broken.append(BrokenPlugin(origin, f"{type(fault).__name__}: {fault}"))
        return
    plugins.loaded[entry.name] = origin


def _origin(entry: EntryPoint) -> PluginOrigin:
    distribution = entry.dist
    if distribution is None:
        return PluginOrigin(entry.name, "unknown", "unknown")
    return PluginOrigin(entry.name, distribution.name, distribution.version)
