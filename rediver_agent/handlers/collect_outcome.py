"""What a collection comes to: its events go into the spool as a report an asset, in bounded memory
and off the event loop, and make the command's outcome.

A report is of full coverage only if its asset was fetched to its end and without a complaint: only
then may the server take what is not in it for mended.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import anyio
import anyio.to_thread
from pydantic import BaseModel, JsonValue, ValidationError

from rediver_agent.contract.findings import (
    MAX_FINDINGS_A_PART,
    Asset,
    CoverageType,
    Finding,
    Report,
    ReportMetadata,
    Severity,
    SourceType,
    Tool,
)
from rediver_agent.contract.results import Reason, ResultStatus
from rediver_agent.enrichment import Enrichment
from rediver_agent.errors import CommandError, PluginError, ReportUnreadable
from rediver_agent.executor import Job, Outcome
from rediver_agent.handlers.scan_outcome import said_in_metadata
from rediver_agent.interfaces import AnyCollector, Notice, ParseEvent, ToolInfo
from rediver_agent.masking import mask
from rediver_agent.report_writer import ReportWriter, Summary, coverage_key
from rediver_agent.spool import Spool

BATCH: Final = MAX_FINDINGS_A_PART // 2  # events that are held in memory


@dataclass(slots=True)
class Collection:
    """One collection in hand. What one collector found; its assets follow one another."""

    job: Job
    collector: AnyCollector
    options: BaseModel
    secrets: Sequence[str]
    spool: Spool
    now: Callable[[], datetime]
    enrichment: Enrichment = field(default_factory=Enrichment)
    started: datetime = field(init=False)
    _writer: ReportWriter | None = None
    _asset: Asset | None = None
    _batch: list[ParseEvent] = field(default_factory=list[ParseEvent])
    _reports: dict[tuple[str, str], Report] = field(default_factory=dict[tuple[str, str], Report])
    _all: Summary = field(default_factory=Summary)

    def __post_init__(self) -> None:
        self.started = self.now()

    async def take(self, event: object) -> None:
        """Take in what a collector yields. Raises `PluginError` for what it must not yield."""
        match event:
            case Asset():
                await self._finish_asset()
                await self._begin_asset(event)
            case Finding() | Notice() | ToolInfo():
                if self._writer is None:
                    raise PluginError(
                        f"{self.collector.name} yields a {type(event).__name__} before the first "
                        "Asset"
                    )
                self._batch.append(event)
                if len(self._batch) >= BATCH:
                    await self._write()
            case _:
                raise PluginError(
                    f"{self.collector.name} must yield assets, findings, notices and tools, not "
                    f"{type(event).__name__}"
                )

    async def end(self, fault: CommandError | None) -> CommandError | None:
        """The events are over; with a fault, the asset in hand is not whole. Returns the fault.

        An enricher may be one: it sees the last findings now.
        """
        if fault is None:
            try:
                await self._finish_asset()
            except PluginError as late:
                fault = late
        if fault is not None and self._writer is not None:
            self._batch.append(Notice("error", f"it was not fetched to its end: {fault}"))
            await self._finish_asset()
        return fault

    def outcome(self, fault: CommandError | None) -> Outcome:
        """How the command ended, with a report an asset."""
        reports = tuple(self._reports.values())
        if fault is None and not reports:
            fault = ReportUnreadable(
                f"{self.collector.name} named not even one asset, which proves nothing; its "
                "options may name none"
            )
        whole = sum(report.metadata.coverage_type is CoverageType.FULL for report in reports)
        failure = self._failure(fault, whole)
        partial = failure is not None or whole < len(reports)
        metadata: dict[str, JsonValue] = {
            "collector": self.collector.name,
            "assets": len(reports),
            "findings_by_severity": {
                severity.value: self._all.by_severity[severity] for severity in reversed(Severity)
            },
            "suppressed": self._all.suppressed,
            **self._all.hidden_by_enrichers(),
            "coverage": (CoverageType.PARTIAL if partial else CoverageType.FULL).value,
        }
        if self._all.notices:
            metadata["notices"] = said_in_metadata(self._all.notices)
        if failure:
            metadata["reason"] = failure[0].value
        return Outcome(
            status=ResultStatus.FAILED if failure else ResultStatus.COMPLETED,
            findings_count=self._all.findings,
            error=mask(failure[1], *self.secrets) if failure else None,
            retryable=fault is not None and fault.retryable,
            metadata=metadata,
            reports=reports,
        )

    def _failure(self, fault: CommandError | None, whole: int) -> tuple[Reason, str] | None:
        if fault is not None:
            kept = f" ({whole} of {len(self._reports)} assets were whole)" if self._reports else ""
            return fault.reason, f"{fault}{kept}"
        errors = [notice.message for notice in self._all.notices if notice.level == "error"]
        if not errors:
            return None
        count = self._all.notice_count["error"]
        more = f" (and {count - 1} more)" if count > 1 else ""
        return (
            Reason.PARTIAL_SCAN,
            f"{self.collector.name} could not fetch everything: {errors[0]}{more}",
        )

    async def _begin_asset(self, asset: Asset) -> None:
        known = self._reports.get((asset.type, asset.value))
        if known is not None:
            # Two whole reports of one asset: the second would resolve what is in the first.
            self._reports[asset.type, asset.value] = _partial(known)
            raise PluginError(
                f"{self.collector.name} names the asset {asset.value!r} twice; it must yield "
                "everything of an asset in one go"
            )
        try:
            asset = Asset.model_validate(asset.model_dump())  # it may have been made without
        except ValidationError as error:
            why = error.errors(include_url=False)[0]
            place = ".".join(map(str, why["loc"]))
            raise PluginError(
                f"{self.collector.name} yields an asset that is none: {place}: {why['msg']}"
            ) from error
        report_id = f"{self.job.id}.{self.job.attempt or 0}.{len(self._reports)}"
        await anyio.to_thread.run_sync(self.spool.open_report, report_id, self.job.id)
        self._asset = asset
        self._writer = ReportWriter(
            self.spool,
            report_id=report_id,
            command_id=self.job.id,
            enrichment=self.enrichment,
        )
        self.job.say(self.job.percent, f"fetching {asset.name or asset.value}")

    async def _finish_asset(self) -> None:
        if self._writer is None or self._asset is None:
            return
        await self._write()
        header = self._header(self._writer, self._asset)
        self._reports[self._asset.type, self._asset.value] = header
        self._add_up(self._writer.summary, self._asset)
        self._writer = self._asset = None

    async def _write(self) -> None:
        """Write what is in memory, once, whatever becomes of it.

        The thread is waited for, unless an enricher may never end: what is left behind then writes
        to a report that nobody sends.
        """
        batch, self._batch = self._batch, []
        if self._writer is None or not batch:
            return
        may_hang = bool(self.enrichment.steps)
        try:
            await anyio.to_thread.run_sync(_write, self._writer, batch, abandon_on_cancel=may_hang)
        except anyio.get_cancelled_exc_class():
            if may_hang:
                self._writer = self._asset = None
            else:
                self._batch = batch  # the thread was not begun
            raise

    def _header(self, writer: ReportWriter, asset: Asset) -> Report:
        tool = writer.summary.tool
        properties: dict[str, JsonValue] = dict(tool.properties) if tool else {}
        options: dict[str, JsonValue] = {
            name: mask(json.dumps(value), *self.secrets)
            for name, value in self.options.model_dump(mode="json").items()
            if name not in self.collector.choose_assets
        }
        rules = properties.get("rules_hash")
        key = coverage_key(
            self.collector.name,
            options,
            rules,
            f"{asset.type}:{asset.value}",
            self.enrichment.identity,
        )
        return Report(
            version="1.0",
            metadata=ReportMetadata(
                id=writer.report_id,
                timestamp=self.started,
                duration_ms=max(0, round((self.now() - self.started).total_seconds() * 1000)),
                source_type=SourceType.COLLECTOR,
                command_id=self.job.id if self.job.commanded else None,
                attempt=self.job.attempt,
                coverage_type=writer.summary.coverage,
                coverage_key=key,
                properties=writer.summary.hidden_by_enrichers(),
            ),
            tool=Tool(
                name=self.collector.name,
                version=tool.version if tool else None,
                properties=properties,
            ),
            assets=[asset],
        )

    def _add_up(self, summary: Summary, asset: Asset) -> None:
        self._all.by_severity.update(summary.by_severity)
        self._all.suppressed += summary.suppressed
        self._all.add_hidden(summary)
        counts = self._all.notice_count + summary.notice_count
        for notice in summary.notices:
            said = mask(f"{asset.name or asset.value}: {notice.message}", *self.secrets)
            self._all.note(replace(notice, message=said))
        self._all.notice_count = counts  # of all that was said, kept or not


def _write(writer: ReportWriter, events: Sequence[ParseEvent]) -> None:
    for event in events:
        writer.take(event)
    writer.flush()


def _partial(report: Report) -> Report:
    metadata = report.metadata.model_copy(update={"coverage_type": CoverageType.PARTIAL})
    return report.model_copy(update={"metadata": metadata})
