"""`rediver-agent import`: reports that other tools wrote, read, printed and, if asked, sent."""

import gzip
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import anyio
import anyio.to_thread
import click
from pydantic import JsonValue

from rediver_agent.agent import utc_now
from rediver_agent.cli.delivery import kept_spool, passing_spool, push_reports
from rediver_agent.cli.options import config_option, report_options
from rediver_agent.cli.output import exit_code, write_reports
from rediver_agent.contract.findings import (
    Asset,
    Report,
    ReportMetadata,
    Severity,
    SourceType,
    Tool,
)
from rediver_agent.contract.results import Reason, ResultStatus
from rediver_agent.errors import CommandError, ReportUnreadable
from rediver_agent.executor import Outcome
from rediver_agent.interfaces import Notice
from rediver_agent.log import set_up_logging
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import Registry, build_registry
from rediver_agent.report_writer import ReportWriter, coverage_key
from rediver_agent.settings import Settings
from rediver_agent.settings_file import load
from rediver_agent.spool import Spool

HEAD_BYTES: Final = 64 * 1024  # what a parser sniffs at
MAX_BYTES: Final = 1 << 30  # of a report, also after it is inflated
_CHUNK: Final = 1 << 20


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option("--parser", "format_of_file", help="The files' format; without it, by their content.")
@report_options
@config_option
def command(  # noqa: PLR0913, PLR0917 - click hands in one argument an option
    files: tuple[Path, ...],
    format_of_file: str | None,
    format_name: str,
    output: Path | None,
    fail_on: str | None,
    push: bool,
    config_file: Path | None,
) -> None:
    """Read reports that other tools wrote: SARIF, or an installed plugin's format; .gz too.

    Exit codes as of `scan`: 2 if a report cannot be read or says that its scan was not whole.
    """
    settings = load(config_file)
    set_up_logging(secrets=settings.secrets(), verbose=settings.agent.verbose)
    registry = build_registry(load_plugins())
    with kept_spool(settings) if push else passing_spool() as spool:
        importer = _Importer(settings, registry, spool, format_of_file)
        outcomes = anyio.run(importer.read_all, files)
        write_reports(spool, outcomes, format_name, output)
        code = exit_code(outcomes, fail_on)
        if push:
            code = max(code, anyio.run(push_reports, settings, spool))
    raise SystemExit(code)


class _Importer:
    def __init__(
        self, settings: Settings, registry: Registry, spool: Spool, format_name: str | None
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._spool = spool
        self._format = format_name

    async def read_all(self, files: Sequence[Path]) -> list[Outcome]:
        return [await anyio.to_thread.run_sync(self._read, path) for path in files]

    def _read(self, path: Path) -> Outcome:
        writer = ReportWriter(self._spool, f"import_{uuid.uuid4().hex[:24]}", "")
        writer.command_id = writer.report_id
        self._spool.open_report(writer.report_id, writer.command_id)
        fault: CommandError | None = None
        format_name = self._format or "unknown"
        try:
            with tempfile.TemporaryFile() as inflated, path.open("rb") as file:
                stream = _plain(file, inflated)
                head = stream.read(HEAD_BYTES)
                parser = (
                    self._registry.parser(self._format)
                    if self._format
                    else self._registry.sniff(head)
                )
                format_name = parser.format
                stream.seek(0)
                writer.write(parser.parse(stream))
        except OSError as error:
            fault = ReportUnreadable((error.strerror or str(error)).lower())
        except ReportUnreadable as error:
            fault = error
        if fault:
            writer.summary.note(Notice("error", str(fault)))
        report = self._header(path, writer, format_name)
        self._spool.finish(writer.command_id, None, [report])
        return _outcome(path, writer, report, fault)

    def _header(self, path: Path, writer: ReportWriter, format_name: str) -> Report:
        tool = writer.summary.tool
        name = tool.name if tool else format_name
        return Report(
            version="1.0",
            metadata=ReportMetadata(
                id=writer.report_id,
                timestamp=utc_now(),
                source_type=SourceType.MANUAL,
                coverage_type=writer.summary.coverage,
                # A file of its own name is a report of its own: it never resolves another's.
                coverage_key=coverage_key(name, {}, "import", path.name),
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
                    value=f"file://{self._settings.agent.name}{Path.cwd()}",
                    name=Path.cwd().name or "/",
                )
            ],
        )


def _plain(file: BinaryIO, inflated: BinaryIO) -> BinaryIO:
    """The file, or what a gzip file holds, on disk, within the cap. Or `ReportUnreadable`."""
    magic = file.read(2)
    file.seek(0)
    if magic != b"\x1f\x8b":
        return file
    size = 0
    try:
        with gzip.open(file) as packed:
            while chunk := packed.read(_CHUNK):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise ReportUnreadable(f"it inflates to more than {MAX_BYTES >> 20} MiB")
                inflated.write(chunk)
    except (EOFError, gzip.BadGzipFile, ValueError) as fault:
        raise ReportUnreadable(f"it is no whole gzip file: {fault}") from fault
    inflated.seek(0)
    return inflated


def _outcome(
    path: Path, writer: ReportWriter, report: Report, fault: CommandError | None
) -> Outcome:
    summary = writer.summary
    errors = [notice.message for notice in summary.notices if notice.level == "error"]
    metadata: dict[str, JsonValue] = {
        "scanner": f"{path.name} ({report.tool.name})",
        "scanner_version": report.tool.version,
        "findings_by_severity": {s.value: summary.by_severity[s] for s in reversed(Severity)},
        "suppressed": summary.suppressed,
        "coverage": summary.coverage.value,
    }
    if errors:
        reason = fault.reason if fault else Reason.PARTIAL_SCAN
        metadata["reason"] = reason.value
    return Outcome(
        status=ResultStatus.FAILED if errors else ResultStatus.COMPLETED,
        findings_count=summary.findings,
        error=errors[0] if errors else None,
        metadata=metadata,
        reports=(report,),
    )
