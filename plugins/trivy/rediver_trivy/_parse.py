"""Reads trivy's JSON (schema 2, and the report on a Kubernetes cluster), one finding at a time.

A clean report has no `Results`, and is clean only if the rest is a report of trivy.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from pydantic import ValidationError

from rediver_agent import Notice, ParseEvent, Parser, ReportUnreadable, ToolInfo, outline, top_level
from rediver_agent.contract import Finding
from rediver_trivy._findings import KINDS, Place, suppressed

_SCHEMA: Final = 2
_RESULTS: Final = ("Results.item", "Resources.item.Results.item")
_SUPPRESSED: Final = "ExperimentalModifiedFindings"
_PLACE: Final = ("Target", "Class", "Type")


class TrivyParser(Parser):
    """The format `trivy`."""

    format = "trivy"

    def sniff(self, head: bytes) -> bool:
        """trivy's own keys at the top."""
        keys = top_level(head)
        return ("SchemaVersion" in keys and _is_named(keys)) or _is_cluster(keys)

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        """See `Parser.parse`."""
        report: dict[str, Any] = {}
        place: dict[str, str] = {}
        for path, value in outline(stream, _BUILT, _SEEN):
            result, _, name = path.removesuffix(".item").rpartition(".")
            if path == "" and value is not dict:
                raise ReportUnreadable("no report of trivy, or one from before trivy 0.20")
            if path in _RESULTS:
                place = {}
            elif result in _RESULTS and name in _PLACE:
                place[name] = str(value)
            elif result in _RESULTS:
                yield from _read(name, value, place)
            elif path == "Trivy.Version":
                yield ToolInfo("trivy", str(value))
            elif path:
                report[path] = value
                _check_version(report)
        _check_whole(report)


_HEADER: Final = {"SchemaVersion", "ArtifactName", "ArtifactType", "ClusterName", "Trivy.Version"}
_BUILT: Final = _HEADER | {
    f"{result}.{inner}"
    for result in _RESULTS
    for inner in (*_PLACE, f"{_SUPPRESSED}.item", *(f"{kind}.item" for kind in KINDS))
}
_SEEN: Final = {"", "Results", "Resources", *_RESULTS}


def _read(name: str, raw: object, place: dict[str, str]) -> Iterator[Finding | Notice]:
    read = suppressed if name == _SUPPRESSED else KINDS[name]
    try:
        finding = read(raw, Place(*(place.get(key, "") for key in _PLACE)))
    except ValidationError as fault:
        first = fault.errors(include_input=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except KeyError:
        why = "it is of an unknown type"
    else:
        if finding:
            yield finding
        return
    yield Notice("error", f"one of trivy's {name} could not be read: {why}")


def _check_version(report: dict[str, Any]) -> None:
    version = report.get("SchemaVersion", _SCHEMA)
    if version != _SCHEMA:
        raise ReportUnreadable(
            f"trivy's report has SchemaVersion {version!r}; only {_SCHEMA} is read"
        )


def _check_whole(report: dict[str, Any]) -> None:
    whole = "SchemaVersion" in report and _is_named(report)
    if not whole and not _is_cluster(report):
        raise ReportUnreadable("no report of trivy: it lacks SchemaVersion, or what was scanned")
    for key in ("Results", "Resources"):
        if report.get(key, list) not in (list, type(None)):
            raise ReportUnreadable(f"no report of trivy: {key} is not a list")


def _is_named(report: dict[str, Any]) -> bool:
    return bool(report.get("ArtifactType") or report.get("ArtifactName"))


def _is_cluster(report: dict[str, Any]) -> bool:
    return "ClusterName" in report and "Resources" in report
