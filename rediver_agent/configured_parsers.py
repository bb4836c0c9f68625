"""What is installed, as the settings have it: the plugins that may be loaded, and the parsers that
the operator makes of installed ones by options (`parsers:` and `--mapping`).

What is wrong with the options is a `ConfigurationError` before any report is read.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rediver_agent.errors import ConfigurationError
from rediver_agent.interfaces import Parser
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import Registry, build_registry
from rediver_agent.settings import ParserSection, Settings
from rediver_agent.settings_file import explained, read_yaml


def installed(settings: Settings) -> Registry:
    """Everything that the plugins of this installation provide. Raises `ConfigurationError`."""
    plugins = load_plugins(
        settings.security.allowed_plugins, seconds=settings.agent.plugin_load_seconds
    )
    return with_parsers(build_registry(plugins), settings.parsers)


def with_parsers(registry: Registry, sections: Sequence[ParserSection]) -> Registry:
    """The registry with the configured parsers beside the installed ones.

    Raises `ConfigurationError` where one cannot be made, or has the name of an installed one.
    """
    made: dict[str, Parser] = {}
    for section in sections:
        if section.name in registry.parsers:
            raise ConfigurationError(
                f"parsers: {section.name} is the name of an installed parser; choose another"
            )
        if section.mapping is not None:
            made[section.name] = by_file(registry, section.format, section.mapping)
        else:
            where = f"parsers: the config of {section.name}"
            made[section.name] = _made(_base(registry, section.format), section.config, where)
    return replace(registry, configured=made)


def by_file(registry: Registry, format_name: str, file: Path) -> Parser:
    """An installed parser, with the options that a YAML or JSON file holds."""
    parser = _base(registry, format_name)
    return _made(parser, read_yaml(file, "--mapping, or in `parsers`"), str(file))


def _base(registry: Registry, format_name: str) -> Parser:
    if format_name not in registry.parsers:
        known = ", ".join(sorted(registry.parsers)) or "none"
        raise ConfigurationError(
            f"no plugin provides the parser {format_name!r} (installed: {known}); "
            + registry.missing(format_name)
        )
    parser = registry.parsers[format_name]
    if parser.options is None:
        raise ConfigurationError(f"the parser {format_name} has no options: it takes no mapping")
    return parser


def _made(parser: Parser, given: Any, where: str) -> Parser:
    if parser.options is None or not isinstance(given, dict):
        raise ConfigurationError(f"{where} must hold options of the parser {parser.format}")
    try:
        return parser.with_options(parser.options.model_validate(given))
    except ValidationError as error:
        raise ConfigurationError(explained(error, where, parser.options)) from error
    except RecursionError as error:
        raise ConfigurationError(f"{where} is nested too deeply, or holds itself") from error
