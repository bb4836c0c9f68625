"""What the agent hands to a collector that is pushed to: the real `ListenContext`.

`keep` returns when a push is on the disk, as a report of its own, and not before: whoever listens
answers for it then. A push is what changed, never everything, so its coverage is partial: it
resolves nothing by leaving it out.
"""

import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from pydantic import ValidationError

from rediver_agent.configuration import Configuration
from rediver_agent.contract.findings import (
    Asset,
    CoverageType,
    Finding,
    Report,
    ReportMetadata,
    Severity,
    SourceType,
    Tool,
)
from rediver_agent.contract.results import CommandResult, ResultStatus
from rediver_agent.enrichment import Enrichment
from rediver_agent.errors import DiskFull, NotKept, PluginError, SpoolDamaged, SpoolError
from rediver_agent.interfaces import Log, ToolInfo
from rediver_agent.masking import mask
from rediver_agent.report_writer import ReportWriter, Summary, coverage_key
from rediver_agent.spool import Spool
from rediver_agent.state_dir import free_bytes
from rediver_agent.status import Listening

logger = logging.getLogger(__name__)

ENRICH_SECONDS: Final = 60.0  # for the enrichers to see what one push holds
NEARLY_FULL: Final = "the disk is nearly full: nothing new is kept; free space"


@dataclass(slots=True)
class Keeper:
    """Writes what is pushed, for every listener of an agent."""

    configuration: Configuration
    spool: Spool
    now: Callable[[], datetime]
    on_kept: Callable[[], None]
    """Called after each: there may be something to send."""
    on_damage: Callable[[], None]
    enrichment: Enrichment = field(default_factory=Enrichment)
    enrich_seconds: float = ENRICH_SECONDS

    async def keep(
        self, collector: str, asset: Asset, findings: Sequence[Finding], tool: ToolInfo
    ) -> None:
        """See `ListenContext.keep`. The threads are waited for, so that nothing is left half done:
        only one that enrichers hold up is left behind, with a report that nobody sends.
        """
        may_hang = bool(self.enrichment.steps)
        try:
            with anyio.fail_after(self.enrich_seconds if may_hang else None):
                writer, report = await anyio.to_thread.run_sync(
                    self._write, collector, asset, findings, tool, abandon_on_cancel=may_hang
                )
            await anyio.to_thread.run_sync(self._finish, collector, report, writer)
        except TimeoutError as fault:
            raise NotKept(
                f"the enrichers were not done after {self.enrich_seconds:g} s; push it again"
            ) from fault
        except SpoolDamaged as fault:
            self.on_damage()
            raise NotKept(f"{fault}; push it again") from fault
        except (SpoolError, OSError) as fault:
            raise NotKept(f"it cannot be written: {fault}; push it again") from fault
        self.on_kept()

    def _write(
        self, collector: str, asset: Asset, findings: Sequence[Finding], tool: ToolInfo
    ) -> tuple[ReportWriter, Report]:
        asset, findings = _checked(collector, asset, findings, tool)
        settings = self.configuration.settings
        if free_bytes(settings.state_dir) < settings.retry_queue.min_free_bytes:
            raise DiskFull(NEARLY_FULL)
        push_id = f"push_{uuid.uuid4().hex[:24]}"
        writer = ReportWriter(
            self.spool, report_id=push_id, command_id=push_id, enrichment=self.enrichment
        )
        try:
            self.spool.open_report(push_id, push_id)
            for finding in findings:
                writer.take(finding)
            writer.flush()
        except (DiskFull, SpoolError, PluginError):
            self._void(push_id)
            raise
        if dropped := writer.summary.dropped:
            logger.info("%s: %s dropped of a push", collector, dict(dropped))
        return writer, _report(collector, push_id, asset, tool, self.now(), writer.summary)

    def _finish(self, collector: str, report: Report, writer: ReportWriter) -> None:
        """Let the report go to the server; without one it stays here, as a collection's does."""
        try:
            if self.spool.for_server:
                self.spool.finish(writer.command_id, None, [report])
                return
            result = _result(collector, writer.summary, report.metadata.timestamp)
            self.spool.finish_local(writer.command_id, result, [report])
        except (DiskFull, SpoolError):
            self._void(writer.command_id)
            raise

    def _void(self, push_id: str) -> None:
        with suppress(DiskFull, SpoolError):  # else it is cleared up after two days
            self.spool.finish(push_id, None, ())


@dataclass(slots=True)
class AgentListenContext:
    """One listener's. `status` is how it is seen from outside."""

    collector: str
    cache_dir: Path
    keeper: Keeper
    status: Listening
    secrets: Callable[[], Sequence[str]]
    log: Log

    def progress(self, percent: float | None, message: str) -> None:
        """See `CollectContext.progress`. For one that listens: where, and how it goes."""
        done = f"{percent:.0f} %: " if percent is not None and 0 <= percent <= 100 else ""
        self.status.message = mask(f"{done}{message}", *self.secrets())

    async def keep(self, asset: Asset, findings: Sequence[Finding], tool: ToolInfo) -> None:
        """See `ListenContext.keep`."""
        await self.keeper.keep(self.collector, asset, findings, tool)
        self.status.kept += 1


def _checked(
    collector: str, asset: object, findings: Sequence[object], tool: object
) -> tuple[Asset, list[Finding]]:
    """What may have been made without a look, or is something else. Raises `PluginError`."""
    if not isinstance(tool, ToolInfo) or not isinstance(asset, Asset):
        raise PluginError(f"{collector} must keep an Asset, findings and a ToolInfo")
    checked: list[Finding] = []
    try:
        asset = Asset.model_validate(asset.model_dump())
        for finding in findings:
            if not isinstance(finding, Finding):
                raise PluginError(f"{collector} must keep findings, not {type(finding).__name__}")
            checked.append(Finding.model_validate(finding.model_dump()))
    except ValidationError as error:
        why = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, why["loc"]))
        raise PluginError(f"{collector} keeps what is none: {place}: {why['msg']}") from error
    return asset, checked


def _report(
    collector: str, report_id: str, asset: Asset, tool: ToolInfo, now: datetime, summary: Summary
) -> Report:
    return Report(
        version="1.0",
        metadata=ReportMetadata(
            id=report_id,
            timestamp=now,
            source_type=SourceType.COLLECTOR,
            coverage_type=CoverageType.PARTIAL,
            coverage_key=coverage_key(collector, {}, None, f"{asset.type}:{asset.value}"),
            properties=summary.hidden_by_enrichers(),
        ),
        tool=Tool(name=tool.name, version=tool.version, properties=dict(tool.properties)),
        assets=[asset],
    )


def _result(collector: str, summary: Summary, now: datetime) -> CommandResult:
    return CommandResult(
        status=ResultStatus.COMPLETED,
        completed_at=now,
        duration_ms=0,
        findings_count=summary.findings,
        metadata={
            "collector": collector,
            "assets": 1,
            "findings_by_severity": {
                severity.value: summary.by_severity[severity] for severity in reversed(Severity)
            },
            "suppressed": summary.suppressed,
            **summary.hidden_by_enrichers(),
            "pushed": True,
        },
    )
