"""Places in files: SARIF locations as the contract's, columns in code points from 1."""

from typing import Any, Final

from rediver_agent import MASK
from rediver_sarif._run import Run
from rediver_sarif._uri import Paths
from rediver_sarif._values import Object, count, index, table, tables, text, word

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

    def place(self, location: Object, *, masked: bool) -> tuple[dict[str, Any], str | None]:
        """The contract's fields for a location, and its address where the path does not say all.

        `masked` is for secrets: of a snippet nothing is left but the mark.
        """
        physical = table(location.get("physicalLocation"))
        if not physical:
            return {}, None
        found: dict[str, Any] = {}
        path, address = self._paths.of(physical.get("artifactLocation"))
        if path is not None:
            found["path"] = path
        region = table(physical.get("region"))
        start = count(region.get("startLine"))
        if start is not None:
            found |= _lines(region, start)
        snippet = _snippet(region, physical, start)
        if snippet:
            if self._unit and start is not None and not snippet.isascii():
                _count_code_points(found, snippet.split("\n"), self._unit)
            found["snippet"] = MASK if masked else snippet
        return found, address

    def logical(self, locations: list[Object]) -> str:
        """The name of the function, type or resource that is meant, "" where none is given."""
        for location in locations[:1]:
            for about in tables(location.get("logicalLocations"), 1):
                known = self._run.part("logicalLocations", index(about.get("index")))
                names = [word(one.get(key)) for key in _NAMES for one in (about, known)]
                return next(filter(None, names), "")
        return ""


def _lines(region: Object, start: int) -> dict[str, int]:
    """The region's lines and columns, without an end that lies before its start."""
    found = {"start_line": start}
    first, last = count(region.get("startColumn")), count(region.get("endColumn"))
    end = count(region.get("endLine"))
    if first is not None:
        found["start_column"] = first
    if end is not None and end < start:
        return found
    if end is not None:
        found["end_line"] = end
    if last is not None and ((end or start) > start or last >= (first or 1)):
        found["end_column"] = last
    return found


def _snippet(region: Object, physical: Object, start: int | None) -> str:
    """The text of the region; cut from the lines around it where it has none of its own."""
    own = text(table(region.get("snippet")).get("text"))
    if own.strip() not in _NO_SNIPPETS:
        return own
    context = table(physical.get("contextRegion"))
    first = count(context.get("startLine"))
    if start is None or first is None or first > start:
        return ""
    lines = text(table(context.get("snippet")).get("text")).split("\n")
    end = max(start, count(region.get("endLine")) or start)
    found = "\n".join(lines[start - first : end - first + 1])
    return "" if found.strip() in _NO_SNIPPETS else found


def _count_code_points(found: dict[str, Any], lines: list[str], unit: tuple[str, int]) -> None:
    """Recount the columns, where the snippet holds their lines from the start.

    One that begins at the region's first column does not: the columns stay as they were written.
    """
    encoding, size = unit
    start, end = found.get("start_column", 1), found.get("end_column")
    last = found.get("end_line", found["start_line"]) - found["start_line"]
    if start > 1 and not last and end and len(lines[0].encode(encoding)) == (end - start) * size:
        return
    for key, number in (("start_column", 0), ("end_column", last)):
        before = (found.get(key, 1) - 1) * size
        line = lines[number].encode(encoding) if number < len(lines) else b""
        if 0 < before <= len(line):
            found[key] = len(line[:before].decode(encoding, "ignore")) + 1
