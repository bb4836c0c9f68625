"""The operator's enrichers: every finding passes them, in order, before it leaves the agent.

Whatever an enricher does, nothing leaves that it has not seen: one that fails, or returns what is
no finding, is a `PluginError`, since it may be there to take something out. What a finding is told
apart by is of what the tool said, and stays. What is dropped is counted by who dropped it.
"""

import inspect
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError

from rediver_agent.contract.findings import Finding
from rediver_agent.errors import ConfigurationError, PluginError
from rediver_agent.interfaces import AnyEnricher
from rediver_agent.listed_plugins import enricher
from rediver_agent.masking import mask
from rediver_agent.plugin_manager import explained
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings


@dataclass(frozen=True, slots=True)
class Enrichment:
    """The enrichers that are in use, with their options. Used in any thread."""

    steps: Sequence[tuple[AnyEnricher, BaseModel]] = ()
    identity: JsonValue = None
    """Names them and their options: with others, other findings may be missing from a report."""

    def enriched(self, finding: Finding, dropped: Counter[str]) -> Finding | None:
        """The finding as it is to leave; None if one of them drops it, which is counted.

        Raises `PluginError`, and nothing else.
        """
        if not self.steps:
            return finding
        changed = _copy(finding)  # tools' findings share lists, and a list can be changed in place
        for plugin, options in self.steps:
            answer = _asked(plugin, changed, options)
            if answer is None:
                dropped[plugin.name] += 1
                return None
            changed = _checked(plugin.name, answer)
        return changed.model_copy(
            update={"fingerprint": finding.fingerprint, "asset_ref": finding.asset_ref}
        )


def enrichment_of(settings: Settings, registry: Registry) -> Enrichment:
    """What `enrichers` lists. Raises `ConfigurationError` unless every one of them can be used."""
    steps = [enricher(registry, section) for section in settings.enrichers if section.enabled]
    secrets = settings.secrets()
    identity: list[JsonValue] = [
        {"enricher": plugin.name, "options": _told(plugin.name, options, secrets)}
        for plugin, options in steps
    ]
    return Enrichment(steps, identity or None)


def _told(name: str, options: BaseModel, secrets: Sequence[str]) -> str:
    """Options as a text without secrets: a hash of it goes to the server."""
    try:
        return mask(json.dumps(options.model_dump(mode="json"), sort_keys=True), *secrets)
    except Exception as fault:
        raise ConfigurationError(
            f"enrichers: the options of {name} cannot be written as JSON: {explained(fault)}"
        ) from fault


def _asked(plugin: AnyEnricher, finding: Finding, options: BaseModel) -> object:
    try:
        return plugin.enrich(finding, options)
    except BaseException as fault:  # foreign code's own, whatever it is: the finding stays here
        raise PluginError(
            f"the enricher {plugin.name} failed, and no finding leaves without it: "
            f"{explained(fault)}"
        ) from fault


def _checked(name: str, answer: object) -> Finding:
    """What an enricher returns may have been made without a look, or be something else."""
    if not isinstance(answer, Finding):
        if inspect.iscoroutine(answer):
            answer.close()
        raise PluginError(
            f"the enricher {name} must return a Finding or None, not {type(answer).__name__}"
        )
    try:
        return _copy(answer)
    except ValidationError as error:
        why = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, why["loc"]))
        raise PluginError(
            f"the enricher {name} returns a finding that is none: {place}: {why['msg']}"
        ) from error
    except Exception as fault:  # what stands in its fields may be anything
        raise PluginError(
            f"the enricher {name} returns a finding that cannot be read: {explained(fault)}"
        ) from fault


def _copy(finding: Finding) -> Finding:
    """The same finding, sharing nothing with it, and checked."""
    said: dict[str, Any] = finding.model_dump(warnings="none")
    return Finding.model_validate(said)
