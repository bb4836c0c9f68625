"""Reads one file that another tool wrote into the spool: a report for each tool that it speaks of.

What cannot be read is an outcome, never an exception: the other files of a command are still read.
"""

import gzip
import os
import tempfile
import uuid
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from pydantic import JsonValue

from rediver_agent.agent import utc_now
from rediver_agent.contract.findings import (
    Asset,
    CoverageType,
    Report,
    ReportMetadata,
    Severity,
    SourceType,
    Tool,
)
from rediver_agent.contract.results import Reason, ResultStatus
from rediver_agent.enrichment import Enrichment
from rediver_agent.errors import PluginError, ReportUnreadable
from rediver_agent.executor import Outcome, failure
from rediver_agent.handlers.scan_outcome import said_in_metadata
from rediver_agent.interfaces import Notice, Parser, ToolInfo
from rediver_agent.registry import Registry
from rediver_agent.report_writer import ReportWriter, Summary, coverage_key
from rediver_agent.spool import Spool

HEAD_BYTES: Final = 64 * 1024  # what a parser sniffs at
MAX_BYTES: Final = 1 << 30  # of a report, also after it is inflated
_CHUNK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads files for one command. `format_name` is the operator's word for them all, if given,
    and `by_mapping` the parser that was made for them.
    """

    agent: str
    registry: Registry
    spool: Spool
    format_name: str | None
    by_mapping: Parser | None = None
    enrichment: Enrichment = field(default_factory=Enrichment)

    def read(self, path: Path) -> Outcome:
        """Everything that one file says. Blocks."""
        reading = _Reading(self, path)
        fault: str | None = None
        try:
            with tempfile.TemporaryFile() as inflated, path.open("rb") as file:
                stream = _plain(file, inflated)
                reading.take_all(self._parser(stream), stream)
        except OSError as error:
            fault = (error.strerror or str(error)).lower()
        except ReportUnreadable as error:
            fault = str(error)
        except PluginError as error:
            return reading.void(error)
        return reading.outcome(fault)

    def _parser(self, stream: BinaryIO) -> Parser:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        if self.by_mapping:
            return self.by_mapping
        if self.format_name:
            return self.registry.parser(self.format_name)
        return self.registry.sniff(head)


class _Reading:
    """One file in hand: a writer for each tool, the first of them for what comes before any."""

    def __init__(self, reader: FileReader, path: Path) -> None:
        self._reader = reader
        self._path = path
        self._format = reader.format_name or "unknown"
        self._writers: dict[str, ReportWriter] = {}

    def take_all(self, parser: Parser, stream: BinaryIO) -> None:
        self._format = parser.format
        writer = self._writer("")
        try:
            for event in parser.parse(stream):
                if isinstance(event, ToolInfo):
                    writer = self._writer(event.name)
                writer.take(event)
        finally:
            for writer in self._writers.values():
                writer.flush()

    def outcome(self, fault: str | None) -> Outcome:
        if fault:
            for writer in self._writers.values() or [self._writer("")]:
                writer.summary.note(Notice("error", fault))
        reports = [self._finished(name) for name in self._named()]
        summaries = [self._writers[name].summary for name in self._named()]
        errors = [n.message for s in summaries for n in s.notices if n.level == "error"]
        reason = Reason.REPORT_UNREADABLE if fault else Reason.PARTIAL_SCAN
        metadata = {"scanner": self._title(reports), **_counts(summaries)}
        return Outcome(
            status=ResultStatus.FAILED if errors else ResultStatus.COMPLETED,
            findings_count=sum(summary.findings for summary in summaries),
            error=errors[0] if errors else None,
            metadata={**metadata, "reason": reason.value} if errors else metadata,
            reports=tuple(reports),
        )

    def void(self, fault: PluginError) -> Outcome:
        """Nothing of the file is kept: there is more in it that an enricher has not seen."""
        for writer in self._writers.values():
            self._reader.spool.finish(writer.command_id, None, ())
        failed = failure(fault.reason, str(fault))
        return replace(failed, metadata={"scanner": self._path.name, **failed.metadata})

    def _writer(self, tool: str) -> ReportWriter:
        if tool not in self._writers:
            # A file that speaks of one tool is one report, whatever is said before its name.
            if list(self._writers) == [""]:
                self._writers[tool] = self._writers.pop("")
                return self._writers[tool]
            report_id = f"import_{uuid.uuid4().hex[:24]}"
            self._reader.spool.open_report(report_id, report_id)
            self._writers[tool] = ReportWriter(
                self._reader.spool, report_id, report_id, enrichment=self._reader.enrichment
            )
        return self._writers[tool]

    def _named(self) -> list[str]:
        return list(self._writers)

    def _title(self, reports: Sequence[Report]) -> str:
        return f"{self._path.name} ({', '.join(report.tool.name for report in reports)})"

    def _finished(self, tool_name: str) -> Report:
        writer = self._writers[tool_name]
        report = self._header(writer, tool_name or self._format)
        self._reader.spool.finish(writer.command_id, None, [report])
        return report

    def _header(self, writer: ReportWriter, name: str) -> Report:
        tool = writer.summary.tool
        here = Path.cwd()
        return Report(
            version="1.0",
            metadata=ReportMetadata(
                id=writer.report_id,
                timestamp=utc_now(),
                source_type=SourceType.MANUAL,
                coverage_type=writer.summary.coverage,
                # A file of its own name is a report of its own: it never resolves another's.
                coverage_key=coverage_key(
                    name, {}, "import", self._path.name, self._reader.enrichment.identity
                ),
                properties=writer.summary.hidden_by_enrichers(),
            ),
            tool=Tool(
                name=name,
                version=tool.version if tool else None,
                properties=dict(tool.properties) if tool else {},
            ),
            assets=[
                Asset(
                    id="target",
                    type="directory",
                    value=f"file://{quote(self._reader.agent)}{quote(os.fsencode(here))}",
                    name=os.fsencode(here.name).decode(errors="replace") or "/",
                )
            ],
        )


def _counts(summaries: Sequence[Summary]) -> dict[str, JsonValue]:
    by_severity = sum((summary.by_severity for summary in summaries), Counter[Severity]())
    partial = any(summary.coverage is CoverageType.PARTIAL for summary in summaries)
    hidden = Summary()
    for summary in summaries:
        hidden.add_hidden(summary)
    return {
        "findings_by_severity": {s.value: by_severity[s] for s in reversed(Severity)},
        "suppressed": sum(summary.suppressed for summary in summaries),
        **hidden.hidden_by_enrichers(),
        "coverage": (CoverageType.PARTIAL if partial else CoverageType.FULL).value,
        "notices": said_in_metadata([n for summary in summaries for n in summary.notices]),
    }


def _plain(file: BinaryIO, inflated: BinaryIO) -> BinaryIO:
    """The file, or what a gzip file holds, on disk, within the cap. Or `ReportUnreadable`."""
    magic = file.read(len(_GZIP))
    file.seek(0)
    if magic != _GZIP:
        return file
    size = 0
    try:
        with gzip.open(file) as packed:
            while chunk := packed.read(_CHUNK):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise ReportUnreadable(f"it inflates to more than {MAX_BYTES >> 20} MiB")
                inflated.write(chunk)
    except (EOFError, gzip.BadGzipFile, ValueError, zlib.error) as fault:
        raise ReportUnreadable(f"it is no whole gzip file: {fault}") from fault
    inflated.seek(0)
    return inflated
