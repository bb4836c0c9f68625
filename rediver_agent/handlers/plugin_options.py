"""A plugin's options, validated by the plugin's own model. What is wrong is a sentence."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from rediver_agent.contract.commands import CommandType
from rediver_agent.errors import CommandError, InvalidPayload
from rediver_agent.interfaces import AnyCollector, AnyScanner
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings

Model = TypeVar("Model", bound=BaseModel)


def validated(plugin: AnyScanner | AnyCollector, config: Mapping[str, JsonValue]) -> BaseModel:
    """The options of a scanner or a collector. Raises `InvalidPayload`, naming the option."""
    return understood(plugin.name, "option", plugin.options, config)


def understood(who: str, what: str, model: type[Model], given: Mapping[str, JsonValue]) -> Model:
    """What was given, as a plugin's own model. Raises `InvalidPayload`, naming the one `what`."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        why = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = ", ".join(sorted(model.model_fields)) or "none"
            sentence = f"{who} has no {what} {place!r} (it has: {known})"
        elif place:
            sentence = f"{who}'s {what} {place!r}: {why}"
        else:  # of a validator over all of them
            sentence = f"{who}'s {what}s: {why}"
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


def handler_problems(settings: Settings, registry: Registry) -> list[str]:
    """What of plugins' command types cannot come to be: each of its commands will fail."""
    problems: list[str] = []
    for name in settings.security.allowed_command_types:
        if name in set(CommandType) or name in registry.handlers:
            continue
        near = get_close_matches(name, [*CommandType, *registry.handlers], n=1)
        problems.append(
            f"security.allowed_command_types: no installed plugin handles {name!r}; "
            + (f"did you mean {near[0]}?" if near else "install the one that does, or take it out")
        )
    sections = {
        section.name: handler_problem(section.name, settings, registry)
        for section in settings.handlers
    }
    return [*problems, *(f"handlers: {name}: {why}" for name, why in sections.items() if why)]


def handler_problem(name: str, settings: Settings, registry: Registry) -> str | None:
    """Why no command of a plugin's type can be done here; None if it can."""
    if name not in registry.handlers:
        return f"no installed plugin handles {name!r}; install the one that does"
    if name not in settings.security.allowed_command_types:
        return "not allowed: add it to security.allowed_command_types"
    try:
        config = settings.handler(name).config
        understood(name, "option", registry.handlers[name].options, config)
    except CommandError as fault:
        return str(fault)
    return None


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
