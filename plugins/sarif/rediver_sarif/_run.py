"""What a run says beside its results, as its results need it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rediver_agent import Notice, ToolInfo
from rediver_sarif._store import Store
from rediver_sarif._values import index, table, word


@dataclass(slots=True)
class Component:
    """A driver, an extension or a taxonomy."""

    facts: dict[str, str] = field(default_factory=dict[str, str])
    strings: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Run:
    """One run. Rules, artifacts and what else there may be many of lie in the store."""

    number: int
    store: Store
    readable: bool
    results: int = 0
    results_are: type[Any] | None = None
    column_kind: str = ""
    bases: Mapping[str, Any] = field(default_factory=dict[str, Any])
    folders: list[str] = field(default_factory=list[str])
    external: frozenset[str] = frozenset()  # what is kept in other files
    components: list[Component] = field(default_factory=lambda: [Component()])  # the driver first
    taxonomies: list[Component] = field(default_factory=list[Component])
    overrides: list[tuple[int, Mapping[str, Any]]] = field(
        default_factory=list[tuple[int, Mapping[str, Any]]]
    )
    failed: bool = False
    complaints: list[Notice] = field(default_factory=list[Notice])
    complaint_count: int = 0
    _places: dict[int, dict[tuple[str, str], int]] = field(
        default_factory=dict[int, dict[tuple[str, str], int]]
    )  # of components and of taxonomies, once all are there

    @property
    def tool(self) -> ToolInfo:
        facts = self.components[0].facts
        name = facts.get("name") or facts.get("fullName") or "unknown tool"
        version = facts.get("version") or facts.get("semanticVersion")
        return ToolInfo(name=name[:255], version=version or None)

    @property
    def label(self) -> str:
        return f"run {self.number + 1} ({self.tool.name})"

    def part(self, kind: str, place: int | None) -> Mapping[str, Any]:
        """What stands at a place in one of the run's arrays, or an empty object."""
        return self.store.part(self.number, kind, place) if place is not None else {}

    def component(self, reference: object) -> int | None:
        """The component that a `toolComponentReference` means: 0 is the driver."""
        place = index(table(reference).get("index"))
        return place + 1 if place is not None else self._among(self.components, reference)

    def taxon(self, reference: Mapping[str, Any]) -> str:
        """`CWE-79` and the like for a reference into a taxonomy; "" for one that names nothing."""
        about = table(reference.get("toolComponent"))
        place = index(about.get("index"))
        place = self._among(self.taxonomies, about) if place is None else place
        named, kind = self.taxonomies, f"taxa {place}"
        if place is None or place >= len(named):  # its own: of the driver, or of an extension
            place = self.component(about) if about else 0
            named, kind = self.components, f"taxa of {place}"
        entry = self.part(kind, index(reference.get("index")))
        name = word(about.get("name"))
        if not name and place is not None and place < len(named):
            name = named[place].facts.get("name", "")
        number = word(reference.get("id")) or word(entry.get("id"))
        return number if number.upper().startswith(name.upper()) else f"{name}-{number}"

    def _among(self, components: list[Component], reference: object) -> int | None:
        """The first of these with the name or the guid of a reference."""
        about = table(reference)
        known = self._places.get(id(components))
        if known is None:
            known = self._places[id(components)] = _places(components)
        name, guid = word(about.get("name")), word(about.get("guid")).lower()
        found = (known.get(key) for key in (("name", name), ("guid", guid)))
        return min((place for place in found if place is not None), default=None)

    def notices(self) -> Iterator[Notice]:
        """What the run says of itself that whoever reads its findings must know."""
        if not self.readable:
            yield Notice("error", f"{self.label} is no object: its results cannot be read")
        elif "results" in self.external:
            yield Notice("warning", f"{self.label} keeps results in another file: import that too")
        elif self.results_are in {None, type(None)}:
            yield Notice("warning", f"{self.label} has no results: its tool did not look")
        elif self.results_are is not list:
            yield Notice("error", f"the results of {self.label} are no list: none can be read")
        if self.external and "results" not in self.external:
            kinds = ", ".join(sorted(self.external)[:10])
            yield Notice("info", f"{self.label} keeps {kinds} in another file, which is not read")
        if self.failed:
            said = next((notice.message for notice in self.complaints), "it does not say why")
            yield Notice("error", f"{self.label} says of itself that it failed: {said}")
        for notice in self.complaints:
            yield Notice(notice.level, f"{self.tool.name}: {notice.message}", notice.path)
        if more := self.complaint_count - len(self.complaints):
            yield Notice("warning", f"{self.label} has {more} more complaints of its tool")


def _places(components: list[Component]) -> dict[tuple[str, str], int]:
    """The first place of each name and each guid."""
    places: dict[tuple[str, str], int] = {}
    for place, component in enumerate(components):
        for kind in ("name", "guid"):
            if said := component.facts.get(kind):
                places.setdefault((kind, said.lower() if kind == "guid" else said), place)
    return places
