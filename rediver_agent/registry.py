"""What plugins provide, by kind and name, each with its plugin. Duplicate names are refused."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, Final, cast

from packaging.utils import canonicalize_name
from pydantic import BaseModel

from rediver_agent.contract.commands import CommandType
from rediver_agent.declarations import refuse_misdeclared
from rediver_agent.errors import PluginError, ReportUnreadable, UnknownCollector, UnknownScanner
from rediver_agent.interfaces import (
    AnyCollector,
    AnyEnricher,
    AnyHandler,
    AnyObserver,
    AnyScanner,
    Collector,
    CommandHandler,
    Enricher,
    Observer,
    Parser,
    Scanner,
)
from rediver_agent.plugin_manager import BrokenPlugin, PluginOrigin, Plugins, explained, in_time

log = logging.getLogger(__name__)

SNIFF_SECONDS: Final = 10.0  # for a look at 64 KiB
NAME: Final = r"[a-z][a-z0-9-]{0,99}"
_OWN_TYPES: Final = "|".join(CommandType)
COMMAND_TYPE: Final = rf"(?!(?:{_OWN_TYPES})$)[a-z][a-z0-9_]{{0,49}}"


class _Repeated(PluginError):
    """Something of that name is there already."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of what plugins provide."""

    word: str
    base: type[Any]
    name_attribute: str = "name"
    pattern: str = NAME
    models: tuple[str, ...] = ("options",)
    """Attributes that are pydantic models which refuse what they do not know."""

    def name_of(self, item: Any) -> str:
        return getattr(item, self.name_attribute)

    def check(self, hook: str, item: object) -> None:
        """Raise `PluginError` for what is not as the interface has it."""
        if not isinstance(item, self.base):
            raise PluginError(f"{hook} must yield instances of {self.base.__name__}, not {item!r}")
        name = getattr(item, self.name_attribute, None)
        if not (isinstance(name, str) and re.fullmatch(self.pattern, name)):
            raise PluginError(
                f"{type(item).__name__}.{self.name_attribute} is {name!r}: write a short "
                "name in small letters, which none of the agent's own has"
            )
        refuse_misdeclared(item)
        for attribute in self.models:
            model = getattr(item, attribute, None)
            if model is None and self.base is Parser:
                continue
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                raise PluginError(f"{name}: `{attribute}` must be a pydantic model")
            if model.model_config.get("extra") != "forbid":
                raise PluginError(
                    f'{name}: `{attribute}` needs extra="forbid", so that no key is ignored'
                )


KINDS: Final = (
    _Kind("scanner", Scanner),
    _Kind("parser", Parser, "format"),
    _Kind("collector", Collector),
    _Kind("handler", CommandHandler, "command_type", COMMAND_TYPE, ("payload", "options")),
    _Kind("enricher", Enricher),
    _Kind("observer", Observer),
)


@dataclass(frozen=True, slots=True)
class Registry:
    """What the installed plugins provide. Built once, by `build_registry`."""

    scanners: Mapping[str, AnyScanner]
    parsers: Mapping[str, Parser]
    origins: Mapping[str, PluginOrigin] = field(default_factory=dict[str, PluginOrigin])
    """The plugin of each scanner (`scanner:semgrep`), parser (`parser:sarif`) and collector."""
    broken: tuple[BrokenPlugin, ...] = ()
    collectors: Mapping[str, AnyCollector] = field(default_factory=dict[str, AnyCollector])
    configured: Mapping[str, Parser] = field(default_factory=dict[str, Parser])
    """Parsers that the operator made of installed ones, by name. They are named, never sniffed."""
    handlers: Mapping[str, AnyHandler] = field(default_factory=dict[str, AnyHandler])
    """By the command type that each takes."""
    enrichers: Mapping[str, AnyEnricher] = field(default_factory=dict[str, AnyEnricher])
    observers: Mapping[str, AnyObserver] = field(default_factory=dict[str, AnyObserver])
    loaded: Mapping[str, PluginOrigin] = field(default_factory=dict[str, PluginOrigin])
    """Every plugin that is used, by name."""
    deprecated: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """By plugin: what it uses that a later version of the agent will not have."""

    def scanner(self, name: str) -> AnyScanner:
        """The scanner of that name. Raises `UnknownScanner`, naming what is installed."""
        if name in self.scanners:
            return self.scanners[name]
        known = ", ".join(sorted(self.scanners)) or "none"
        near = get_close_matches(name, self.scanners, n=1)
        hint = f"did you mean {near[0]}?" if near else self.missing(name)
        raise UnknownScanner(
            f"no plugin provides the scanner {name!r} (installed: {known}); {hint}"
        )

    def collector(self, name: str) -> AnyCollector:
        """The collector of that name. Raises `UnknownCollector`, naming what is installed."""
        if name in self.collectors:
            return self.collectors[name]
        known = ", ".join(sorted(self.collectors)) or "none"
        raise UnknownCollector(
            f"no plugin provides the collector {name!r} (installed: {known}); " + self.missing(name)
        )

    def missing(self, name: str) -> str:
        """What to do about a name that no plugin provides: the one that would is perhaps installed,
        and not used.
        """
        for plugin in self.broken:
            distribution = canonicalize_name(plugin.origin.distribution)
            if name == plugin.origin.name or distribution == f"rediver-{canonicalize_name(name)}":
                which = f"{plugin.origin.distribution} {plugin.origin.version}"
                return f"{which} is installed and not used ({plugin.state}): {plugin.problem}"
        if name in self.loaded:
            return f"{self.loaded[name].distribution} is installed, and says nothing of that name"
        others = ", ".join(plugin.origin.name for plugin in self.broken)
        return f"install rediver-{name} on the agent" + (
            f" (installed and not used: {others}; `rediver-agent plugins` says why)"
            if others
            else ""
        )

    def may_fetch(self, name: str) -> bool:
        """Whether a collection by it is to be begun: one that is not installed fails then."""
        return name not in self.collectors or self.collectors[name].fetches

    def parser(self, format_name: str) -> Parser:
        """The parser of that format. Raises `ReportUnreadable`, naming what is installed."""
        parsers = {**self.parsers, **self.configured}
        if format_name in parsers:
            return parsers[format_name]
        known = ", ".join(sorted(parsers)) or "none"
        raise ReportUnreadable(
            f"no plugin reads the format {format_name!r} (installed: {known}); "
            + self.missing(format_name)
        )

    def sniff(self, head: bytes) -> Parser:
        """The one parser that knows a report by its first bytes. Raises `ReportUnreadable`."""
        known = [parser for parser in self.parsers.values() if _knows(parser, head)]
        if len(known) == 1:
            return known[0]
        formats = ", ".join(sorted(parser.format for parser in known or self.parsers.values()))
        problem = "several formats fit" if known else "no installed parser knows this format"
        raise ReportUnreadable(f"{problem} ({formats}); name one with --parser")


def _knows(parser: Parser, head: bytes) -> bool:
    """Whether a parser says that a report is of its format. One that fails does not know it."""
    try:
        return in_time(lambda: parser.sniff(head), SNIFF_SECONDS) is True
    except Exception as fault:  # noqa: BLE001 - foreign code runs here
        log.warning(
            "the parser %s cannot say what a report is: %s", parser.format, explained(fault)
        )
        return False


def build_registry(plugins: Plugins) -> Registry:
    """Ask every loaded plugin what it provides. One that fails, or repeats a name, is broken."""
    registry = Registry(scanners={}, parsers={})
    origins: dict[str, PluginOrigin] = {}
    broken = list(plugins.broken)
    for name, origin in plugins.loaded.items():
        try:
            provided = in_time(partial(_provided, plugins, name), plugins.seconds)
            _refuse_repeated((key for key, _, _ in provided), origins)
        except _Repeated as fault:
            broken.append(BrokenPlugin(origin, str(fault), "duplicate"))
            continue
        except (Exception, SystemExit) as fault:  # noqa: BLE001 - foreign code runs here; whatever it raises is its own
            broken.append(BrokenPlugin(origin, explained(fault)))
            continue
        for key, kind, item in provided:
            _held(registry, kind)[kind.name_of(item)] = item
            origins[key] = origin
    unused = {each.origin for each in broken}
    return replace(
        registry,
        origins=origins,
        broken=tuple(broken),
        loaded={name: origin for name, origin in plugins.loaded.items() if origin not in unused},
        deprecated=dict(plugins.deprecated),
    )


def _held(registry: Registry, kind: _Kind) -> dict[str, Any]:
    return getattr(registry, f"{kind.word}s")


def _provided(plugins: Plugins, plugin: str) -> list[tuple[str, _Kind, Any]]:
    """Everything that a plugin provides: under which key, of which kind. Foreign code runs here."""
    found: list[tuple[str, _Kind, Any]] = []
    for kind in KINDS:
        hook = f"rediver_{kind.word}s"
        for implementation in getattr(plugins.manager.hook, hook).get_hookimpls():
            if implementation.plugin_name != plugin:
                continue
            items = implementation.function()
            if not isinstance(items, Iterable):
                raise PluginError(f"{hook} must yield what it provides, and returned {items!r}")
            for item in cast("Iterable[Any]", items):
                kind.check(hook, item)
                found.append((f"{kind.word}:{kind.name_of(item)}", kind, item))
    return found


def _refuse_repeated(names: Iterable[str], origins: Mapping[str, PluginOrigin]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in origins:
            raise _Repeated(f"{name} is provided by {origins[name].distribution} already")
        if name in seen:
            raise _Repeated(f"{name} is provided twice")
        seen.add(name)
