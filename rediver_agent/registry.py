"""Scanners, parsers and collectors by name, each with its plugin. Duplicate names are refused."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

from rediver_agent.errors import PluginError, ReportUnreadable, UnknownCollector, UnknownScanner
from rediver_agent.interfaces import AnyCollector, AnyScanner, Collector, Parser, Scanner
from rediver_agent.plugin_manager import BrokenPlugin, PluginOrigin, Plugins


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

    def scanner(self, name: str) -> AnyScanner:
        """The scanner of that name. Raises `UnknownScanner`, naming what is installed."""
        if name in self.scanners:
            return self.scanners[name]
        known = ", ".join(sorted(self.scanners)) or "none"
        near = get_close_matches(name, self.scanners, n=1)
        hint = f"did you mean {near[0]}?" if near else f"install rediver-{name} on the agent"
        raise UnknownScanner(
            f"no plugin provides the scanner {name!r} (installed: {known}); {hint}"
        )

    def collector(self, name: str) -> AnyCollector:
        """The collector of that name. Raises `UnknownCollector`, naming what is installed."""
        if name in self.collectors:
            return self.collectors[name]
        known = ", ".join(sorted(self.collectors)) or "none"
        raise UnknownCollector(
            f"no plugin provides the collector {name!r} (installed: {known}); install "
            f"rediver-{name} on the agent"
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
        raise ReportUnreadable(f"no plugin reads the format {format_name!r} (installed: {known})")

    def sniff(self, head: bytes) -> Parser:
        """The one parser that knows a report by its first bytes. Raises `ReportUnreadable`."""
        known = [parser for parser in self.parsers.values() if parser.sniff(head)]
        if len(known) == 1:
            return known[0]
        formats = ", ".join(sorted(parser.format for parser in known or self.parsers.values()))
        problem = "several formats fit" if known else "no installed parser knows this format"
        raise ReportUnreadable(f"{problem} ({formats}); name one with --parser")


def build_registry(plugins: Plugins) -> Registry:
    """Ask every loaded plugin what it provides. One that fails, or repeats a name, is broken."""
    scanners: dict[str, AnyScanner] = {}
    parsers: dict[str, Parser] = {}
    collectors: dict[str, AnyCollector] = {}
    origins: dict[str, PluginOrigin] = {}
    broken = list(plugins.broken)
    for name, origin in plugins.loaded.items():
        try:
            found_scanners = _provided(plugins, name, "rediver_scanners", Scanner)
            found_parsers = _provided(plugins, name, "rediver_parsers", Parser)
            found_collectors = _provided(plugins, name, "rediver_collectors", Collector)
            _refuse_repeated((f"scanner:{item.name}" for item in found_scanners), origins)
            _refuse_repeated((f"parser:{item.format}" for item in found_parsers), origins)
            _refuse_repeated((f"collector:{item.name}" for item in found_collectors), origins)
        except (Exception, SystemExit) as fault:  # noqa: BLE001 - foreign code runs here; whatever it raises is its own
            broken.append(BrokenPlugin(origin, f"{type(fault).__name__}: {fault}"))
            continue
        for scanner in found_scanners:
            scanners[scanner.name] = scanner
            origins[f"scanner:{scanner.name}"] = origin
        for parser in found_parsers:
            parsers[parser.format] = parser
            origins[f"parser:{parser.format}"] = origin
        for collector in found_collectors:
            collectors[collector.name] = collector
            origins[f"collector:{collector.name}"] = origin
    return Registry(scanners, parsers, origins, tuple(broken), collectors)


def _provided(plugins: Plugins, plugin: str, hook: str, kind: type[Any]) -> list[Any]:
    caller = getattr(plugins.manager.hook, hook)
    found: list[Any] = []
    for implementation in caller.get_hookimpls():
        if implementation.plugin_name == plugin:
            found.extend(cast("Iterable[Any]", implementation.function()))
    for item in found:
        if not isinstance(item, kind):
            raise PluginError(f"{hook} must yield instances of {kind.__name__}, not {item!r}")
    return found


def _refuse_repeated(names: Iterable[str], origins: Mapping[str, PluginOrigin]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in origins:
            raise PluginError(f"{name} is provided by {origins[name].distribution} already")
        if name in seen:
            raise PluginError(f"{name} is provided twice")
        seen.add(name)
