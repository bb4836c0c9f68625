"""What an installed plugin provides, found as the agent finds it."""

from typing import Any, Literal, overload

from typing_extensions import deprecated

from rediver_agent import API_VERSION
from rediver_agent.interfaces import (
    AnyCollector,
    AnyEnricher,
    AnyHandler,
    AnyObserver,
    AnyScanner,
    Parser,
)
from rediver_agent.plugin_manager import Plugins, load_plugins
from rediver_agent.registry import Registry, build_registry
from rediver_agent.testing._checks import fail

Kind = Literal["scanner", "parser", "collector", "handler", "enricher", "observer"]


@overload
def provided(plugin: str, kind: Literal["scanner"]) -> list[AnyScanner]: ...
@overload
def provided(plugin: str, kind: Literal["parser"]) -> list[Parser]: ...
@overload
def provided(plugin: str, kind: Literal["collector"]) -> list[AnyCollector]: ...
@overload
def provided(plugin: str, kind: Literal["handler"]) -> list[AnyHandler]: ...
@overload
def provided(plugin: str, kind: Literal["enricher"]) -> list[AnyEnricher]: ...
@overload
def provided(plugin: str, kind: Literal["observer"]) -> list[AnyObserver]: ...


def provided(plugin: str, kind: Kind) -> list[Any]:
    """What an installed plugin registers of one kind, found by its entry point as the agent does.

    `plugin` is the name of the entry point. Fails where the agent would not use it, where it
    provides nothing at all, and where its module does not say for which version of the surface it
    was built.
    """
    plugins = load_plugins(environment={})
    registry = build_registry(plugins)
    _check_used(plugin, plugins, registry)
    registered: dict[str, Any] = getattr(registry, f"{kind}s")
    return [
        registered[name]
        for word, _, name in (key.partition(":") for key in registry.origins)
        if word == kind and registry.origins[f"{word}:{name}"].name == plugin
    ]


def _check_used(plugin: str, plugins: Plugins, registry: Registry) -> None:
    for unused in registry.broken:
        if unused.origin.name == plugin:
            fail(f"the agent does not use the plugin {plugin} ({unused.state}): {unused.problem}")
    module = plugins.manager.get_plugin(plugin)
    if module is None:
        fail(
            f"no entry point {plugin!r} in the group rediver_agent: write "
            f'[project.entry-points.rediver_agent] {plugin} = "rediver_{plugin.replace("-", "_")}" '
            "in pyproject.toml, and install it again (pip install -e .)"
        )
    if plugin not in {origin.name for origin in registry.origins.values()}:
        fail(
            f"the plugin {plugin} provides nothing: write @hookimpl before the function that "
            "yields it, such as rediver_scanners()"
        )
    if not hasattr(module, "rediver_api"):
        fail(
            f"the module of the plugin {plugin} does not say for which version of the surface it "
            f"was built: add `rediver_api = {API_VERSION}` to it, below its imports"
        )


@deprecated(
    "rediver-agent 0.1: discovered() goes in 0.2; use provided(plugin, 'scanner') and "
    "provided(plugin, 'parser')"
)
def discovered(plugin: str) -> tuple[list[AnyScanner], list[Parser]]:
    """The scanners and parsers that an installed plugin registers."""
    return provided(plugin, "scanner"), provided(plugin, "parser")


@deprecated(
    "rediver-agent 0.1: discovered_collectors() goes in 0.2; use provided(plugin, 'collector')"
)
def discovered_collectors(plugin: str) -> list[AnyCollector]:
    """The collectors that an installed plugin registers."""
    return provided(plugin, "collector")
