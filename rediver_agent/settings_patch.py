"""A change of settings, in the shape of the configuration file: what it names, what it comes to.

Sections are merged as RFC 7386 has it (null takes a setting back); everything below is a value.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from pydantic import JsonValue

from rediver_agent.contract.base import JsonObject
from rediver_agent.masking import mask
from rediver_agent.settings import REMOTE_SETTINGS, Settings

_SECTIONS: Final = frozenset({"agent", "server", "security", "retry_queue"})


def named(patch: Mapping[str, JsonValue]) -> Iterator[str]:
    """The settings in it: `agent.verbose`, `scanners`; `agent` where all of it is taken back."""
    for name, value in patch.items():
        if name in _SECTIONS and isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name


def only(data: Mapping[str, JsonValue], name: str) -> JsonObject:
    """One setting of it, in its section."""
    section, _, inner = name.partition(".")
    if not inner:
        return {section: data[section]}
    return {section: {inner: cast("JsonObject", data[section])[inner]}}


def merged(data: Mapping[str, JsonValue], patch: Mapping[str, JsonValue]) -> JsonObject:
    """Both; the patch wins. A section with nothing left in it goes."""
    result = dict(data)
    for name, value in patch.items():
        if name in _SECTIONS and isinstance(value, dict):
            section = {**cast("JsonObject", result.get(name, {})), **value}
            result[name] = {inner: item for inner, item in section.items() if item is not None}
        else:
            result[name] = value
    return {
        name: value
        for name, value in result.items()
        if value is not None and not (name in _SECTIONS and value == {})
    }


def differences(old: Settings, new: Settings) -> list[JsonValue]:
    """Each setting that a server may change and that is another now. No secret is in it."""
    secrets = (*old.secrets(), *new.secrets())
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    found: list[JsonValue] = []
    for name in sorted(REMOTE_SETTINGS):
        was, now = _value(before, name), _value(after, name)
        if was != now:
            values = {"old": masked(was, secrets), "new": masked(now, secrets)}
            found.append({"name": name, **values})
    return found


def _value(document: Mapping[str, Any], name: str) -> JsonValue:
    inner: Any = document
    for part in name.split("."):
        inner = inner[part]
    return inner


def masked(value: JsonValue, secrets: tuple[str, ...]) -> JsonValue:
    """Each text without its secrets: the escapes of a printed form would hide them."""
    if isinstance(value, str):
        return mask(value, *secrets)
    if isinstance(value, list):
        return [masked(item, secrets) for item in value]
    if isinstance(value, dict):
        return {name: masked(item, secrets) for name, item in value.items()}
    return value
