"""Enrichers and observers are used where the operator lists them: each with its options.

What is listed and cannot be used is a `ConfigurationError` that says what to do.
"""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from rediver_agent.errors import ConfigurationError
from rediver_agent.interfaces import AnyEnricher, AnyObserver
from rediver_agent.plugin_manager import explained as foreign
from rediver_agent.registry import Registry
from rediver_agent.settings import PluginSection, Settings
from rediver_agent.settings_file import explained

Listed = TypeVar("Listed", AnyEnricher, AnyObserver)


def enricher(registry: Registry, section: PluginSection) -> tuple[AnyEnricher, BaseModel]:
    """An enricher that is listed, with its options. Raises `ConfigurationError`."""
    return _usable(registry, registry.enrichers, "enricher", section)


def observer(registry: Registry, section: PluginSection) -> tuple[AnyObserver, BaseModel]:
    """An observer that is listed, with its options. Raises `ConfigurationError`."""
    return _usable(registry, registry.observers, "observer", section)


def listed_problems(settings: Settings, registry: Registry) -> list[str]:
    """What is listed and cannot be used, in a sentence each."""
    problems: list[str] = []
    for sections, usable in ((settings.enrichers, enricher), (settings.observers, observer)):
        for section in sections:
            try:
                if section.enabled:
                    usable(registry, section)
            except ConfigurationError as fault:
                problems.append(str(fault))
    return problems


def _usable(
    registry: Registry, installed: Mapping[str, Listed], word: str, section: PluginSection
) -> tuple[Listed, BaseModel]:
    if section.name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        not_used = "".join(f"; {b.origin.name} is {b.state}: {b.problem}" for b in registry.broken)
        raise ConfigurationError(
            f"{word}s: no plugin provides {section.name!r} (installed: {known}{not_used}); install "
            f"the one that does, or take it out of `{word}s`"
        )
    plugin = installed[section.name]
    where = f"{word}s: the config of {section.name}"
    try:
        return plugin, plugin.options.model_validate(section.config)
    except ValidationError as error:
        raise ConfigurationError(explained(error, where, plugin.options)) from error
    except Exception as fault:
        raise ConfigurationError(f"{where} cannot be checked: {foreign(fault)}") from fault
