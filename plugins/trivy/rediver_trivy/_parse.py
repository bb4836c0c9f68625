"""Reads trivy's JSON (schema 2, and the report on a Kubernetes cluster), one finding at a time.

A clean report has no `Results`, and is clean only if the rest is a report of trivy.
"""

import json
from collections.abc import Iterator
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO, Final

from pydantic import ValidationError

from rediver_agent import Notice, ParseEvent, Parser, ReportUnreadable, ToolInfo, outline, top_level
from rediver_agent.contract import Finding
from rediver_trivy._findings import KINDS, finding, suppressed
from rediver_trivy._place import Place
from rediver_trivy._values import Unreadable, text
from rediver_trivy._vulnerability import Advisory

_SCHEMA: Final = 2
_RESULTS: Final = ("Results.item", "Resources.item.Results.item")
_SUPPRESSED: Final = "ExperimentalModifiedFindings"
_PLACE: Final = {"Target": "target", "Class": "kind", "Type": "type"}
_ARCHIVE: Final = "./"  # so begins no name of an image; the scanner names archives so
_IN_MEMORY: Final = 1 << 20  # bytes of the names of results, in a report that names them last
_TOLD: Final = 5  # entries that could not be read; the others are counted

_HEADER: Final = {"SchemaVersion", "ArtifactName", "ArtifactType", "ClusterName", "Trivy.Version"}
_NAMES: Final = {f"{result}.{name}" for result in _RESULTS for name in _PLACE}
_ENTRIES: Final = {
    f"{result}.{kind}.item": kind for result in _RESULTS for kind in (_SUPPRESSED, *KINDS)
}
_SHAPES: Final = {f"{result}.Vulnerabilities.item": Advisory for result in _RESULTS}
_ERROR: Final = "Resources.item.Error"  # of a part of a cluster that was not scanned
_OBJECTS: Final = {"Resources.item", *_RESULTS}
_LISTS: Final = {
    "Resources.item.Results",
    *(path.removesuffix(".item") for path in _ENTRIES),
}
_PARTS: Final = {_ERROR, *_OBJECTS, *_LISTS}
_BUILT: Final = _HEADER | _NAMES | _ENTRIES.keys() | {_ERROR}
_SEEN: Final = {"", "Results", "Resources", *_OBJECTS, *_LISTS}


class _NamedLater(Exception):
    """An entry stands before the name of its result."""


class TrivyParser(Parser):
    """The format `trivy`."""

    format = "trivy"

    def sniff(self, head: bytes) -> bool:
        """trivy's own keys at the top."""
        keys = top_level(head)
        return ("SchemaVersion" in keys and _is_named(keys)) or _is_cluster(keys)

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        """See `Parser.parse`."""
        done = 0
        try:
            for event in _Reading().events(stream):
                yield event
                done += 1
        except _NamedLater:  # keys in another order than trivy's: sorted ones, say
            with SpooledTemporaryFile(_IN_MEMORY) as places:
                _write_places(stream, places)
                places.seek(0)
                yield from islice(_Reading(places).events(stream), done, None)


class _Reading:
    """One pass over a report. `places` has the names of its results, if they are known already."""

    def __init__(self, places: IO[bytes] | None = None) -> None:
        self._places = places
        self._header: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._place: Place | None = None
        self._unread = 0

    def events(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        """Everything in the report, to its end. Raises `_NamedLater` if its order is another."""
        for path, value in outline(stream, _BUILT, _SEEN, into=_SHAPES):
            if kind := _ENTRIES.get(path):
                if (found := self._read(kind, value)) is not None:
                    yield found
            elif path in _NAMES:
                self._names[_PLACE[path.rpartition(".")[2]]] = text(value)
                self._place = None
            elif path in _PARTS:
                if (said := self._part(path, value)) is not None:
                    yield said
            elif path == "Trivy.Version":
                yield ToolInfo("trivy", str(value)[:100])
            elif path:
                self._header[path] = value
                _check_version(self._header)
            elif value is not dict:
                raise ReportUnreadable("no report of trivy, or one from before trivy 0.20")
        if self._unread > _TOLD:
            said = f"{self._unread - _TOLD} more of trivy's entries could not be read"
            yield Notice("error", said)
        _check_whole(self._header)

    def _begin(self) -> None:
        self._names, self._place = {}, None
        if self._places is not None:
            self._names = json.loads(self._places.readline() or b"{}")

    def _read(self, kind: str, raw: object) -> Finding | Notice | None:
        try:
            place = self._place or self._found()
            return suppressed(raw, place) if kind == _SUPPRESSED else finding(kind, raw, place)
        except Unreadable as fault:
            return self._unreadable(kind, str(fault))
        except ValidationError as fault:
            first = fault.errors(include_input=False)[0]
            return self._unreadable(kind, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    def _part(self, path: str, value: Any) -> Notice | None:
        """What is said of something that should hold entries, and cannot: it is no clean report.

        No list is an empty one.
        """
        if path in _RESULTS:
            self._begin()
        if path == _ERROR:
            said = text(value).strip().partition("\n")[0]
            return (
                Notice("error", f"trivy did not scan a part of the cluster: {said}")
                if said
                else None
            )
        name = path.removesuffix(".item").rpartition(".")[2]
        if path in _OBJECTS:
            return None if value is dict else self._unreadable(name, "it is no object")
        return None if value in (list, type(None)) else self._unreadable(name, "they are no list")

    def _found(self) -> Place:
        if "target" not in self._names and self._places is None:
            raise _NamedLater
        image = self._header.get("ArtifactType") == "container_image"
        name = text(self._header.get("ArtifactName"))
        archive = name.removeprefix(_ARCHIVE) if image and name.startswith(_ARCHIVE) else ""
        self._place = Place(**self._names, archive=archive)
        return self._place

    def _unreadable(self, kind: str, why: str) -> Notice | None:
        self._unread += 1
        if self._unread > _TOLD:
            return None
        return Notice("error", f"one of trivy's {kind} could not be read: {why}")


def _write_places(stream: BinaryIO, places: IO[bytes]) -> None:
    """What the results are called, in their order, a line for each."""
    names: dict[str, str] | None = None
    try:
        for path, value in outline(stream, _NAMES, _RESULTS):
            if path in _RESULTS:
                if names is not None:
                    places.write(json.dumps(names).encode() + b"\n")
                names = {}
            elif names is not None:
                names[_PLACE[path.rpartition(".")[2]]] = text(value)
        places.write(json.dumps(names or {}).encode() + b"\n")
    except OSError as fault:
        said = f"the names of trivy's results cannot be kept in a temporary file: {fault}"
        raise ReportUnreadable(f"{said}; is TMPDIR full?") from fault


def _check_version(header: dict[str, Any]) -> None:
    version = header.get("SchemaVersion", _SCHEMA)
    if version != _SCHEMA:
        said = repr(version)[:100]
        raise ReportUnreadable(f"trivy's report has SchemaVersion {said}; only {_SCHEMA} is read")


def _check_whole(header: dict[str, Any]) -> None:
    whole = "SchemaVersion" in header and _is_named(header)
    if not whole and not _is_cluster(header):
        raise ReportUnreadable("no report of trivy: it lacks SchemaVersion, or what was scanned")
    for key in ("Results", "Resources"):
        if header.get(key, list) not in (list, type(None)):
            raise ReportUnreadable(f"no report of trivy: {key} is not a list")


def _is_named(header: dict[str, Any]) -> bool:
    return bool(header.get("ArtifactType") or header.get("ArtifactName"))


def _is_cluster(header: dict[str, Any]) -> bool:
    return "ClusterName" in header and "Resources" in header
