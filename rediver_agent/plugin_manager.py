"""Finds and loads plugins, one at a time, so that a broken one never stops the agent.

What is not used is kept with its reason and shown by `rediver-agent plugins`. What is blocked, or
was built for another version of the agent, is not even imported. A misspelt hook is an error of its
plugin. The manager is a value; nothing is loaded at import.
"""

import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any, Final, Literal, TypeVar

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from rediver_agent import API_VERSION, __version__, hookspecs
from rediver_agent.errors import PluginError

GROUP: Final = "rediver_agent"
DISABLE: Final = "REDIVER_DISABLE_PLUGINS"
HOST: Final = "rediver-agent"
LOAD_SECONDS: Final = 30.0  # for one plugin to be imported, and for it to say what it provides

State = Literal["broken", "blocked", "duplicate", "outdated"]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PluginOrigin:
    """Where a plugin comes from."""

    name: str
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A plugin that is not used, and why, in a sentence.

    `blocked`: by the operator, never imported. `outdated`: built for another version of the agent.
    `duplicate`: what it provides is there already. `broken`: everything else.
    """

    origin: PluginOrigin
    problem: str
    state: State = "broken"


@dataclass(slots=True)
class Plugins:
    """What was found: the loaded ones behind pluggy's hooks, the others with their reason."""

    manager: pluggy.PluginManager
    loaded: dict[str, PluginOrigin] = field(default_factory=dict[str, PluginOrigin])
    broken: list[BrokenPlugin] = field(default_factory=list[BrokenPlugin])
    deprecated: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """What a loaded plugin uses that a later version will not have, in the words of the warning."""
    seconds: float = LOAD_SECONDS


def load_plugins(
    allowed: Collection[str] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    seconds: float = LOAD_SECONDS,
) -> Plugins:
    """Load every installed plugin of the entry-point group, in the order of their names.

    `allowed` are distributions; None allows all. REDIVER_DISABLE_PLUGINS of the environment names
    plugins or distributions that are left out, with commas between them.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    plugins = Plugins(manager, seconds=seconds)
    for entry in sorted(
        entry_points(group=GROUP), key=lambda point: (point.name, _origin(point).distribution)
    ):
        origin = _origin(entry)
        refused = (
            _blocked(origin, allowed, _names(environment.get(DISABLE, "").split(",")))
            or _duplicate(origin, plugins)
            or _outdated(origin, entry.dist)
            or _load(plugins, entry, origin)
        )
        if refused:
            plugins.broken.append(refused)
        else:
            plugins.loaded[entry.name] = origin
    return plugins


def in_time(foreign: Callable[[], Result], seconds: float) -> Result:
    """What foreign code returns, or raises. `PluginError` if it is not done in time: it is left
    behind in a thread of its own, since nothing can end it.
    """
    outcome: list[Callable[[], Result]] = []

    def work() -> None:
        try:
            result = foreign()
        except BaseException as fault:  # noqa: BLE001 - raised again where it is waited for
            outcome.append(_raising(fault))
        else:
            outcome.append(lambda: result)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise PluginError(f"it was not done after {seconds:g} s")
    return outcome[0]()


def _raising(fault: BaseException) -> Callable[[], Any]:
    def again() -> Any:
        raise fault

    return again


def _blocked(
    origin: PluginOrigin, allowed: Collection[str] | None, disabled: set[str]
) -> BrokenPlugin | None:
    if disabled & _names((origin.name, origin.distribution)):
        return BrokenPlugin(origin, f"left out by {DISABLE}", "blocked")
    if allowed is not None and not _names((origin.distribution,)) & _names(allowed):
        problem = f"{origin.distribution} is not in security.allowed_plugins"
        return BrokenPlugin(origin, problem, "blocked")
    return None


def _duplicate(origin: PluginOrigin, plugins: Plugins) -> BrokenPlugin | None:
    if origin.name not in plugins.loaded:
        return None
    other = plugins.loaded[origin.name].distribution
    return BrokenPlugin(origin, f"{other} has a plugin of that name already", "duplicate")


def _outdated(origin: PluginOrigin, distribution: Distribution | None) -> BrokenPlugin | None:
    """Known before anything of it is imported: pip upgrades the agent and leaves its plugins."""
    for wanted in _requirements(distribution):
        if not wanted.specifier.contains(__version__, prereleases=True):
            problem = f"it is for {HOST} {wanted.specifier}, and this is {__version__}"
            return BrokenPlugin(origin, f"{problem}; upgrade {origin.distribution}", "outdated")
    return None


def _requirements(distribution: Distribution | None) -> Iterator[Requirement]:
    """What it says of the agent, unless only for an extra or another platform."""
    for text in (distribution.requires or ()) if distribution else ():
        try:
            wanted = Requirement(text)
            applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        except (InvalidRequirement, ValueError):
            continue
        if applies and canonicalize_name(wanted.name) == HOST:
            yield wanted


def _load(plugins: Plugins, entry: EntryPoint, origin: PluginOrigin) -> BrokenPlugin | None:
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", DeprecationWarning)
            module = in_time(entry.load, plugins.seconds)
            if problem := _built_for_another(module, origin):
                return BrokenPlugin(origin, problem, "outdated")
            plugins.manager.register(module, name=entry.name)
            _refuse_unknown_hooks(plugins.manager, entry.name)
    except (Exception, SystemExit) as fault:  # noqa: BLE001 - foreign code runs here; whatever it raises is its own
        if plugins.manager.has_plugin(entry.name):
            plugins.manager.unregister(name=entry.name)
        named = fault.name if isinstance(fault, ImportError) else None
        state = "outdated" if (named or "").partition(".")[0] == GROUP else "broken"
        return BrokenPlugin(origin, explained(fault), state)
    ours = [str(one.message) for one in said if HOST in str(one.message)]
    if ours:
        plugins.deprecated[entry.name] = tuple(dict.fromkeys(ours))
    return None


def _refuse_unknown_hooks(manager: pluggy.PluginManager, plugin: str) -> None:
    """Raise `PluginError` for a hook that there is not: nothing would ever call it."""
    known = [name for name in vars(hookspecs) if name.startswith("rediver_")]
    for caller in manager.get_hookcallers(manager.get_plugin(plugin)) or ():
        if caller.name in known:
            continue
        near = get_close_matches(caller.name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise PluginError(f"{HOST} {__version__} has no hook {caller.name!r}; {hint}")
    manager.check_pending()


def explained(fault: BaseException) -> str:
    """Foreign code's fault in a line, even one that cannot say what it is."""
    if isinstance(fault, PluginError):
        return str(fault)
    if isinstance(fault, ImportError) and (fault.name or "").partition(".")[0] == GROUP:
        return f"{fault}: it is built for another version of {HOST}, and this is {__version__}"
    try:
        return f"{type(fault).__name__}: {fault}"
    except Exception:  # noqa: BLE001 - foreign code runs here
        return type(fault).__name__


def _built_for_another(module: object, origin: PluginOrigin) -> str | None:
    wanted = getattr(module, "rediver_api", 1)  # the first version did not ask
    if wanted == API_VERSION:
        return None
    if not isinstance(wanted, int):
        return f"its rediver_api is {wanted!r}, and must be a whole number: {API_VERSION}"
    older = wanted < API_VERSION
    return (
        f"it is built for version {wanted} of the plugin surface, and this agent has "
        f"{API_VERSION}; upgrade {origin.distribution if older else HOST}"
    )


def _names(names: Collection[str]) -> set[str]:
    return {str(canonicalize_name(name.strip())) for name in names if name.strip()}


def _origin(entry: EntryPoint) -> PluginOrigin:
    distribution = entry.dist
    if distribution is None:
        return PluginOrigin(entry.name, "unknown", "unknown")
    return PluginOrigin(entry.name, distribution.name, distribution.version)
