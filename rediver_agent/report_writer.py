"""From a report on disk to findings in the spool, in bounded memory, off the event loop.

Every finding passes here on its way out: its path is made relative, a missing snippet quoted from
the source (never for secrets), its fingerprint set, and what the scanned repository's people accept
is marked so. All this is of what the tool said. Then the operator's enrichers change or drop it,
and what leaves is compared with the threshold and counted.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final, TypeVar

import anyio.from_thread
from pydantic import JsonValue

from rediver_agent.contract.findings import (
    MAX_FINDINGS_A_PART,
    CoverageType,
    Finding,
    FindingStatus,
    FindingType,
    Location,
    Severity,
)
from rediver_agent.enrichment import Enrichment
from rediver_agent.errors import PluginError
from rediver_agent.fingerprint import Fingerprinter
from rediver_agent.interfaces import Notice, ParseEvent, ToolInfo
from rediver_agent.source_lines import SourceLines
from rediver_agent.spool import Spool
from rediver_agent.suppressions import Suppressions

MAX_NOTICES: Final = 20  # kept of each level; all are counted
MAX_NOTICE: Final = 2000  # characters of one; a tool may quote a whole file
Place = TypeVar("Place", bound=Location)
_SETTLED: Final = frozenset(FindingStatus) - {
    FindingStatus.OPEN
}  # mended or accepted at its source
PART: Final = MAX_FINDINGS_A_PART // 2  # so that a busy scan's parts stay well below the caps


@dataclass(slots=True)
class Summary:
    """What a report came to."""

    by_severity: Counter[Severity] = field(default_factory=Counter[Severity])
    suppressed: int = 0
    below_threshold: int = 0
    suppressed_by_enrichers: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    """By the enricher that did."""
    notices: list[Notice] = field(default_factory=list[Notice])
    notice_count: Counter[str] = field(default_factory=Counter[str])
    tool: ToolInfo | None = None

    @property
    def findings(self) -> int:
        """Findings that count: what is suppressed, or settled at its source, does not."""
        return self.by_severity.total()

    @property
    def coverage(self) -> CoverageType:
        """Full only if the tool complained of nothing."""
        complaints = self.notice_count["error"] + self.notice_count["warning"]
        return CoverageType.PARTIAL if complaints else CoverageType.FULL

    def hidden_by_enrichers(self) -> dict[str, JsonValue]:
        """What metadata says of it; nothing where there is nothing."""
        told: dict[str, JsonValue] = {}
        if self.dropped:
            told["dropped"] = dict(self.dropped)
        if self.suppressed_by_enrichers:
            told["suppressed_by_enrichers"] = self.suppressed_by_enrichers
        return told

    def add_hidden(self, other: "Summary") -> None:
        """Count what enrichers hid in another report, too."""
        self.dropped.update(other.dropped)
        self.suppressed_by_enrichers += other.suppressed_by_enrichers

    def learn(self, tool: ToolInfo) -> None:
        """Take in what is said of the tool; what the scanner knew of it already stays known."""
        known = self.tool
        if known is not None:
            version = tool.version or known.version
            tool = ToolInfo(tool.name, version, {**known.properties, **tool.properties})
        self.tool = tool

    def note(self, notice: Notice) -> None:
        """Keep a notice, or only count it where there are many."""
        self.notice_count[notice.level] += 1
        if self.notice_count[notice.level] <= MAX_NOTICES:
            self.notices.append(replace(notice, message=notice.message[:MAX_NOTICE]))


@dataclass(slots=True)
class ReportWriter:
    """Writes one report into the spool. Used in one worker thread."""

    spool: Spool
    report_id: str
    command_id: str
    threshold: Severity | None = None
    source: SourceLines | None = None
    suppressions: Suppressions | None = None
    enrichment: Enrichment = field(default_factory=Enrichment)
    summary: Summary = field(default_factory=Summary)
    _fingerprints: Fingerprinter = field(default_factory=Fingerprinter)
    _part: list[Finding] = field(default_factory=list[Finding])

    def write(self, events: Iterable[ParseEvent]) -> None:
        """Take in what a parser yields. What it raises goes on; what was read before is kept.

        Ends early, by the event loop's cancellation, if the command is cancelled.
        """
        try:
            for event in events:
                anyio.from_thread.check_cancelled()
                self.take(event)
        finally:
            self.flush()

    def take(self, event: ParseEvent) -> None:
        """Take in one event. Findings are in the spool after `flush`."""
        match event:
            case Finding():
                self._take(event)
            case Notice():
                self.summary.note(event)
            case ToolInfo():
                self.summary.learn(event)
            case _:  # pyright: ignore[reportUnnecessaryComparison] - foreign code heeds no types
                raise PluginError(f"a parser must yield findings, notices and tools, not {event!r}")

    def flush(self) -> None:
        """Write what is still in memory."""
        part, self._part = self._part, []
        if part:
            self.spool.add_findings(self.report_id, self.command_id, part)

    def _take(self, found: Finding) -> None:
        finding = self._enriched(self._completed(found))
        if finding is None:
            return
        if finding.suppression is not None or finding.status in _SETTLED:
            self.summary.suppressed += 1
        elif self.threshold is not None and finding.severity < self.threshold:
            self.summary.below_threshold += 1
            return
        else:
            self.summary.by_severity[finding.severity] += 1
        self._part.append(finding)
        if len(self._part) >= PART:
            self.flush()

    def _enriched(self, told: Finding) -> Finding | None:
        finding = self.enrichment.enriched(told, self.summary.dropped)
        suppressed = finding is not None and finding.suppression is not None
        if told.suppression is None:
            self.summary.suppressed_by_enrichers += suppressed
        elif self.suppressions and not suppressed:
            self.suppressions.take_back(told)
        return finding

    def _completed(self, finding: Finding) -> Finding:
        # The report has one asset; a name that a foreign report used would point nowhere.
        new: dict[str, Any] = {"location": self._quoted(finding), "asset_ref": None}
        if self.source is not None:
            placed = partial(_placed, self.source)
            new["related_locations"] = [placed(place) for place in finding.related_locations]
            new["data_flow"] = [placed(step) for step in finding.data_flow]
        finding = finding.model_copy(update=new)
        fingerprint = self._fingerprints.fingerprint(finding)
        finding = finding.model_copy(update={"fingerprint": fingerprint})
        if self.suppressions is None:
            return finding
        return finding.model_copy(update={"suppression": self.suppressions.of(finding)})

    def _quoted(self, finding: Finding) -> Location | None:
        location = finding.location
        if location is None or location.path is None:
            return location
        location = location.model_copy(update={"path": location.path.removeprefix("./")})
        if self.source is not None:
            location = _placed(self.source, location)
        quotable = finding.type is not FindingType.SECRET and location.snippet is None
        if self.source is None or not quotable or location.start_line is None or not location.path:
            return location
        snippet = self.source.quote(location.path, location.start_line, location.end_line)
        return location.model_copy(update={"snippet": snippet})


def _placed(source: SourceLines, place: Place) -> Place:
    path = source.relative(place.path) if place.path else place.path
    return _unread(place if path == place.path else place.model_copy(update={"path": path}))


def _unread(place: Place) -> Place:
    """Without the lines of a file that lies outside the target: a tool that follows what the target
    names, as trivy follows Terraform modules, would send away what else is on the host.
    """
    path = PurePosixPath(place.path or "")
    if place.snippet is None or not (path.is_absolute() or ".." in path.parts):
        return place
    return place.model_copy(update={"snippet": None})


def coverage_key(
    scanner: str,
    options: Mapping[str, JsonValue],
    rules: JsonValue,
    target: str,
    enrichers: JsonValue = None,
) -> str:
    """Names what a scan looked for: only a later scan with the same key may resolve its findings.

    `rules` identifies the rule set where the tool says; `target` is the path inside the asset.
    With other `enrichers` a finding may be missing because one drops it now, and not be mended.
    """
    looked_for = [scanner, options, rules, target, *([enrichers] if enrichers else [])]
    parts = json.dumps(looked_for, sort_keys=True, separators=(",", ":"))
    return f"cov1:{hashlib.sha256(parts.encode()).hexdigest()[:32]}"
