"""The first pass over a report: everything but its results, which it only counts.

Tools write the rules that give a result its severity before the results or after them (semgrep),
so nothing can be said of a result before the whole report was seen. Faults that make a report
unreadable are all found here, before any finding leaves.
"""

from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from rediver_agent import Notice, ReportUnreadable, outline
from rediver_sarif._message import templates, written
from rediver_sarif._rule import kept
from rediver_sarif._run import Component, Run
from rediver_sarif._store import Store
from rediver_sarif._values import index, table, tables, text, word

VERSION: Final = "2.1.0"
RESULTS: Final = "runs.item.results.item"
_RUN: Final = "runs.item."
_MAX_RUNS: Final = 10_000
_MAX_HELD: Final = 20_000  # in memory of one run: extensions, taxonomies, overrides, bases
_MAX_KEPT: Final = 8_000_000  # characters of all runs' overrides and bases
_MAX_ADDRESS: Final = 4000
_NAMES: Final = ("id", "guid", "name")
_MAX_COMPLAINTS: Final = 20
_MAX_SAID: Final = 300

_TOOL: Final = ("name", "fullName", "version", "semanticVersion", "guid", "globalMessageStrings")
_BUILT: Final = frozenset(
    {
        "version",
        *(f"{_RUN}tool.{part}.{key}" for part in ("driver", "extensions.item") for key in _TOOL),
        *(f"{_RUN}tool.{part}.rules.item" for part in ("driver", "extensions.item")),
        *(f"{_RUN}tool.{part}.taxa.item" for part in ("driver", "extensions.item")),
        *(f"{_RUN}taxonomies.item.{key}" for key in ("name", "guid", "taxa.item")),
        f"{_RUN}invocations.item.executionSuccessful",
        f"{_RUN}invocations.item.exitSignalName",
        f"{_RUN}invocations.item.processStartFailureMessage",
        f"{_RUN}invocations.item.workingDirectory",
        f"{_RUN}invocations.item.ruleConfigurationOverrides.item",
        f"{_RUN}invocations.item.toolConfigurationNotifications.item",
        f"{_RUN}invocations.item.toolExecutionNotifications.item",
        f"{_RUN}artifacts.item.location",
        f"{_RUN}logicalLocations.item",
        f"{_RUN}threadFlowLocations.item",
        f"{_RUN}originalUriBaseIds",
        f"{_RUN}columnKind",
        f"{_RUN}externalPropertyFileReferences",
    }
)
_SEEN: Final = frozenset(
    {
        "",
        "runs",
        "runs.item",
        "inlineExternalProperties.item.results.item",
        f"{_RUN}results",
        RESULTS,
        f"{_RUN}tool.extensions.item",
        f"{_RUN}taxonomies.item",
        f"{_RUN}invocations.item",
        f"{_RUN}artifacts.item",
    }
)


def read_outline(stream: BinaryIO, store: Store) -> "Outline":
    """The outline of a report. Raises `ReportUnreadable` for what is no SARIF 2.1.0."""
    found = Outline(store)
    for path, value in outline(stream, _BUILT, _SEEN):
        if path == RESULTS:
            found.runs[-1].results += 1
        else:
            found.take(path, value)
    if found.version is None:
        raise ReportUnreadable(f"the report names no version: this reads SARIF {VERSION}")
    if not found.has_runs:
        raise ReportUnreadable("the report has no `runs`: it is not SARIF, or not a whole one")
    store.indexed()
    return found


class Outline:
    """The runs of a report, as they come in."""

    def __init__(self, store: Store) -> None:
        self.version: str | None = None
        self.has_runs = False
        self.runs: list[Run] = []
        self.inline_results = 0
        self._store = store
        self._kept = 0
        self._counts: dict[str, int] = {}  # of the run that is being read

    def take(self, path: str, value: Any) -> None:
        """One entry of the outline."""
        match path:
            case "":
                if value is not dict:
                    raise ReportUnreadable("the report is no JSON object: it is not SARIF")
            case "version":
                self.version = str(value)
                if self.version != VERSION:
                    said = word(value) or "of no version"
                    raise ReportUnreadable(f"the report is SARIF {said}; this reads {VERSION}")
            case "runs":
                self.has_runs = True
                if value is not list:
                    raise ReportUnreadable("the `runs` of the report are no list: nothing was run")
            case "runs.item":
                _refuse_more(len(self.runs), _MAX_RUNS, "runs")
                self.runs.append(Run(len(self.runs), self._store, readable=value is dict))
                self._counts = {}
            case "inlineExternalProperties.item.results.item":
                self.inline_results += 1
            case _:
                self._take_of_run(self.runs[-1], path.removeprefix(_RUN), value)

    def _take_of_run(self, run: Run, path: str, value: Any) -> None:
        match path.split("."):
            case ["results"]:
                run.results_are = value
            case ["columnKind"]:
                run.column_kind = word(value)
            case ["originalUriBaseIds"]:
                _refuse_more(len(table(value)), _MAX_HELD, "base ids")
                run.bases = {name: _base(about) for name, about in table(value).items()}
                self._keep(run.bases)
            case ["externalPropertyFileReferences"]:
                run.external = frozenset(word(kind) for kind, at in table(value).items() if at)
            case ["tool", *rest]:
                self._take_of_tool(run, rest, value)
            case ["taxonomies", _, *rest]:
                self._take_of_taxonomy(run, rest, value)
            case ["invocations", "item", *rest]:
                self._take_of_invocation(run, rest, value)
            case ["artifacts", "item"]:
                self._next("artifacts")
            case ["artifacts", "item", _]:
                place = self._counts["artifacts"] - 1
                self._store.add_part(run.number, "artifacts", place, table(value))
            case kinds:
                self._add_part(run, kinds[0], value)

    def _take_of_tool(self, run: Run, path: list[str], value: Any) -> None:
        if path == ["extensions", "item"]:
            _append(run.components, Component(), "extensions")
            return
        number = len(run.components) - 1 if path[0] == "extensions" else 0
        component = run.components[number]
        if path[-2:] == ["rules", "item"]:
            place = self._next(f"rules {number}")
            self._store.add_rule(run.number, number, place, kept(value))
        elif path[-2:] == ["taxa", "item"]:
            self._add_part(run, f"taxa of {number}", value)
        elif path[-1] == "globalMessageStrings":
            component.strings = templates(value)
        else:
            component.facts[path[-1]] = word(value)

    def _take_of_taxonomy(self, run: Run, path: list[str], value: Any) -> None:
        if not path:
            _append(run.taxonomies, Component(), "taxonomies")
        elif path == ["taxa", "item"]:
            self._add_part(run, f"taxa {len(run.taxonomies) - 1}", value)
        else:
            run.taxonomies[-1].facts[path[0]] = word(value)

    def _take_of_invocation(self, run: Run, path: list[str], value: Any) -> None:
        match path:
            case []:
                self._next("invocations")
            case ["executionSuccessful"]:
                run.failed |= value is False
            case ["exitSignalName" | "processStartFailureMessage"]:
                run.failed |= bool(word(value))
            case ["workingDirectory"]:
                _append(run.folders, text(table(value).get("uri"), 4000), "invocations")
            case ["ruleConfigurationOverrides", _]:
                number = self._counts["invocations"] - 1
                _append(run.overrides, (number, _override(table(value))), "rule configurations")
                self._keep(run.overrides[-1])
            case _:
                self._complain(run, value)

    def _complain(self, run: Run, notification: Any) -> None:
        """A notification of level warning (the default) or error: something was not looked at."""
        about = table(notification)
        if text(about.get("level")) in {"note", "none"}:
            return
        run.complaint_count += 1
        if run.complaint_count <= _MAX_COMPLAINTS:
            run.complaints.append(_complaint(about))

    def _add_part(self, run: Run, kind: str, value: Any) -> None:
        self._store.add_part(run.number, kind, self._next(kind), table(value))

    def _keep(self, value: object) -> None:
        self._kept += len(repr(value))
        if self._kept > _MAX_KEPT:
            raise ReportUnreadable("the report has more base ids and overrides than are read")

    def _next(self, kind: str) -> int:
        place = self._counts.get(kind, 0)
        self._counts[kind] = place + 1
        return place


def _complaint(about: Mapping[str, Any]) -> Notice:
    place = table(next(iter(tables(about.get("locations"), 1)), None))
    where = table(table(place.get("physicalLocation")).get("artifactLocation"))
    message = table(about.get("message"))
    # Its first line: semgrep goes on with the source, and that may hold a secret.
    said = written(message).strip().partition("\n")[0][:_MAX_SAID]
    said = said or word(message.get("id")) or word(table(about.get("descriptor")).get("id"))
    return Notice("warning", said or "something went wrong", word(where.get("uri")) or None)


def _base(about: object) -> dict[str, str]:
    """What is needed of one of `originalUriBaseIds`."""
    base = table(about)
    return {key: text(base.get(key), _MAX_ADDRESS) for key in ("uri", "uriBaseId")}


def _override(about: Mapping[str, Any]) -> dict[str, Any]:
    """What is needed of a `ruleConfigurationOverrides` entry: its rule, and a level."""
    descriptor = _reference(about.get("descriptor"))
    component = table(table(about.get("descriptor")).get("toolComponent"))
    if component:
        descriptor["toolComponent"] = _reference(component)
    level = text(table(about.get("configuration")).get("level"), _MAX_SAID)
    return {"descriptor": descriptor, "configuration": {"level": level}}


def _reference(about: object) -> dict[str, Any]:
    said = table(about)
    names = {key: word(said[key]) for key in _NAMES if key in said}
    return names | ({"index": index(said["index"])} if "index" in said else {})


def _append(held: list[Any], value: Any, what: str) -> None:
    _refuse_more(len(held), _MAX_HELD, what)
    held.append(value)


def _refuse_more(count: int, limit: int, what: str) -> None:
    if count >= limit:
        raise ReportUnreadable(f"the report has more than {limit:,} {what}: that is not read")
