"""Places in files: SARIF locations as the contract's, columns in code points from 1."""

from typing import Any, Final

from rediver_sarif._plain import Physical, Region
from rediver_sarif._run import Run
from rediver_sarif._uri import Paths
from rediver_sarif._values import Object, count, index, table, tables, text, word

_OFFSETS: Final = ("charOffset", "charLength", "byteOffset", "byteLength")
_NAMES: Final = ("fullyQualifiedName", "name")
_NO_SNIPPETS: Final = frozenset({"", "requires login"})  # the second is semgrep's, logged out


class Locations:
    """The locations of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._paths = Paths(run.bases, run.folders, lambda place: run.part("artifacts", place))
        # What columns count: an encoding, and the bytes of one unit in it; None for code points.
        self._unit: tuple[str, int] | None = ("utf-16-le", 2)
        if run.column_kind == "unicodeCodePoints":
            self._unit = None
        elif not run.column_kind and "semgrep" in run.tool.name.lower():
            self._unit = ("utf-8", 1)  # it counts bytes, and does not say so

    def place(self, location: Object) -> tuple[dict[str, Any], str | None]:
        """The contract's fields for a location, and its address where the path does not say all."""
        physical = table(location.get("physicalLocation"))
        path, address = self._paths.of(physical.get("artifactLocation"))
        found: dict[str, Any] = {} if path is None else {"path": path}
        region = table(physical.get("region"))
        start = count(region.get("startLine"))
        if start is not None:
            found["start_line"] = start
            if len(region) > 1:
                _add_columns(found, region, start)
        if "snippet" in region or "contextRegion" in physical:
            self._add_snippet(found, region, physical, start)
        return found, address

    def plain(self, physical: Physical) -> tuple[dict[str, Any], str | None]:
        """The same for an ordinary place."""
        where, region = physical.artifact_location, physical.region
        path, address = self._paths.at(where.uri, where.uri_base_id)
        start, end = region.start_line, region.end_line
        first, last = region.start_column, region.end_column
        found: dict[str, Any] = (
            {"start_line": start} if path is None else {"path": path, "start_line": start}
        )
        if first is not None:
            found["start_column"] = first
        if end is None or end >= start:
            if end is not None:
                found["end_line"] = end
            if last is not None and ((end or start) > start or last >= (first or 1)):
                found["end_column"] = last
        snippet = text(region.snippet.text) if region.snippet else ""
        if snippet.strip() in _NO_SNIPPETS:
            snippet = _lines_of(physical.context_region, region) if physical.context_region else ""
        if snippet:
            if self._unit and not snippet.isascii():
                _count_code_points(found, snippet, self._unit)
            found["snippet"] = snippet
        return found, address

    def _add_snippet(
        self, found: dict[str, Any], region: Object, physical: Object, start: int | None
    ) -> None:
        snippet = _snippet(region, physical, start)
        if snippet:
            if start is not None and self._unit and not snippet.isascii():
                _count_code_points(found, snippet, self._unit)
            found["snippet"] = snippet

    def logical(self, location: Object) -> str:
        """The name of the function, type or resource that is meant, "" where none is given."""
        for about in tables(location.get("logicalLocations"), 1):
            known = self._run.part("logicalLocations", index(about.get("index")))
            names = [word(one.get(key)) for key in _NAMES for one in (about, known)]
            return next(filter(None, names), "")
        return ""


def offsets(location: Object) -> dict[str, int]:
    """Where a region is that has no lines: what it counts in is not at hand."""
    region = table(table(location.get("physicalLocation")).get("region"))
    pairs = ((name, index(region.get(name))) for name in _OFFSETS)
    return {name: place for name, place in pairs if place is not None}


def _add_columns(found: dict[str, Any], region: Object, start: int) -> None:
    """The region's columns and its last line, without an end that lies before its start."""
    first, end = count(region.get("startColumn")), count(region.get("endLine"))
    if first is not None:
        found["start_column"] = first
    if end is not None:
        if end < start:
            return
        found["end_line"] = end
    last = count(region.get("endColumn"))
    if last is not None and ((end or start) > start or last >= (first or 1)):
        found["end_column"] = last


def _snippet(region: Object, physical: Object, start: int | None) -> str:
    """The text of the region; cut from the lines around it where it has none of its own."""
    own = text(table(region["snippet"]).get("text")) if "snippet" in region else ""
    if own and own.strip() not in _NO_SNIPPETS:
        return own
    if "contextRegion" not in physical:
        return ""
    context = table(physical["contextRegion"])
    first = count(context.get("startLine"))
    if start is None or first is None:
        return ""
    said = text(table(context.get("snippet")).get("text"))
    return _cut(said, first, start, count(region.get("endLine")) or start)


def _lines_of(context: Region, region: Region) -> str:
    """The same where both are ordinary."""
    said = text(context.snippet.text) if context.snippet else ""
    start = region.start_line
    return _cut(said, context.start_line, start, region.end_line or start)


def _cut(context: str, first: int, start: int, end: int) -> str:
    """The lines from `start` to `end` of a text whose first line is `first`."""
    if first > start:
        return ""
    found = "\n".join(context.split("\n")[start - first : max(start, end) - first + 1])
    return "" if found.strip() in _NO_SNIPPETS else found


def _count_code_points(found: dict[str, Any], snippet: str, unit: tuple[str, int]) -> None:
    """Recount the columns, where the snippet holds their lines from the start.

    One that begins at the region's first column does not: the columns stay as they were written.
    """
    encoding, size = unit
    lines = snippet.split("\n")
    start, end = found.get("start_column", 1), found.get("end_column")
    last = found.get("end_line", found["start_line"]) - found["start_line"]
    if start > 1 and not last and end and len(lines[0].encode(encoding)) == (end - start) * size:
        return
    for key, number in (("start_column", 0), ("end_column", last)):
        units = found.get(key, 1) - 1
        if not units or number >= len(lines) or lines[number][:units].isascii():
            continue  # before it there is nothing that counts otherwise
        line = lines[number].encode(encoding)
        if units * size <= len(line):
            found[key] = len(line[: units * size].decode(encoding, "ignore")) + 1
