"""A plugin's options, validated by the plugin's own model. What is wrong is a sentence."""

from collections.abc import Mapping

from pydantic import BaseModel, JsonValue, ValidationError

from rediver_agent.errors import CommandError, InvalidPayload
from rediver_agent.interfaces import AnyCollector, AnyScanner
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings


def validated(plugin: AnyScanner | AnyCollector, config: Mapping[str, JsonValue]) -> BaseModel:
    """The options of a scanner or a collector. Raises `InvalidPayload`, naming the option."""
    try:
        return plugin.options.model_validate(config)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        why = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = ", ".join(sorted(plugin.options.model_fields)) or "none"
            sentence = f"{plugin.name} has no option {place!r} (it has: {known})"
        elif place:
            sentence = f"{plugin.name}'s option {place!r}: {why}"
        else:  # of a validator over all of them
            sentence = f"{plugin.name}'s options: {why}"
        raise InvalidPayload(sentence) from error


def from_command(
    plugin: AnyScanner | AnyCollector, said: Mapping[str, JsonValue]
) -> Mapping[str, JsonValue]:
    """What a command says of the options. `InvalidPayload` for what is the operator's to say."""
    if others := sorted(said.keys() - plugin.from_command):
        may = ", ".join(sorted(plugin.from_command)) or "nothing"
        raise InvalidPayload(
            f"a command may not set {plugin.name}'s {', '.join(others)} (it may set: {may}); "
            "the agent's operator sets the rest in its configuration"
        )
    return said


def collector_problem(name: str, settings: Settings, registry: Registry) -> str | None:
    """Why a collector cannot be used; None if it can. Nothing is asked of the source itself."""
    listed = any(section.name == name for section in settings.collectors)
    if name in registry.collectors and not listed:
        return "not listed in the configuration's collectors"
    if name in registry.collectors and name not in settings.enabled_collectors():
        return "listed with `enabled: false`"
    try:
        validated(registry.collector(name), settings.collector(name).config)
    except CommandError as fault:
        return str(fault)
    return None
