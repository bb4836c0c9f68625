"""`scan`: run a scanner on a target and keep what it found.

Never a silent clean: a missing tool, a crash, a time-out, an empty or unreadable report and a scan
that was not whole are each a failed outcome with its reason. What was found before is kept, as
partial coverage.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import anyio
import anyio.to_thread
from pydantic import BaseModel

from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import ScanCommand
from rediver_agent.contract.findings import Severity
from rediver_agent.enrichment import Enrichment
from rediver_agent.errors import (
    CommandError,
    InvalidPayload,
    PluginError,
    ReportUnreadable,
    ToolTimeout,
    UnknownScanner,
)
from rediver_agent.executor import Job, Outcome
from rediver_agent.handlers.plugin_options import from_command, validated
from rediver_agent.handlers.scan_context import AgentScanContext
from rediver_agent.handlers.scan_outcome import Scan, outcome_of
from rediver_agent.handlers.surroundings import (
    Surroundings,
    around_commanded,
    around_local,
)
from rediver_agent.handlers.turns import Turns, alone_in
from rediver_agent.interfaces import AnyScanner, Notice, ScanReport
from rediver_agent.policy import Policy, open_typed
from rediver_agent.process import GRACE
from rediver_agent.registry import Registry
from rediver_agent.report_writer import ReportWriter
from rediver_agent.severity import severity_from_word
from rediver_agent.source_lines import SourceLines
from rediver_agent.spool import Spool
from rediver_agent.state_dir import private_directory, remove_tree

MAX_REPORT_BYTES: Final = 1 << 30  # DESIGN section 3


@dataclass(frozen=True, slots=True)
class ScanHandler:
    """Scans. One instance serves every scan of an agent."""

    registry: Registry
    configuration: Configuration
    policy: Policy
    spool: Spool
    now: Callable[[], datetime]
    enrichment: Enrichment = field(default_factory=Enrichment)
    turns: Turns = field(default_factory=Turns)
    ci_environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of what the operator typed in a CI job; an agent has none."""
    grace: timedelta = GRACE
    """How long a tool that is ended has for it, before it is killed."""

    async def handle(self, job: Job) -> Outcome:
        """Run the scan. Raises `CommandError` where there is nothing to keep."""
        if not isinstance(job.command, ScanCommand):
            raise InvalidPayload("a scan command names a scanner and a target")
        payload = job.command.payload
        scanner = self._scanner(payload.scanner)
        said = from_command(scanner, payload.config) if job.commanded else payload.config
        own = self.configuration.settings.scanner(scanner.name).config
        options = validated(scanner, {**own, **said})
        open_target = self.policy.open_commanded if job.commanded else open_typed
        target = await anyio.to_thread.run_sync(open_target, payload.target)
        base = private_directory(self.configuration.settings.state_dir / "work") / job.id
        enrichers = self.enrichment.identity
        scan = Scan(job, payload, scanner, options, target, base, self.now(), enrichers)
        try:
            remove_tree(base)  # a predecessor's, if it was killed
            private_directory(base)
            return await self._scan(scan)
        finally:
            target.close()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(remove_tree, base)

    async def _scan(self, scan: Scan) -> Outcome:
        """Scan when it is its turn: on its target, and in a cache that takes one at a time."""
        name = scan.scanner.name
        where = os.fstat(scan.target.descriptor)
        async with self.turns.take(
            (name, where.st_dev, where.st_ino),
            lambda: scan.job.say(None, f"another {name} scan of this target is finished first"),
        ):
            if not scan.scanner.exclusive_cache:
                return await self._scan_now(scan)
            waiting = partial(scan.job.say, None, f"another {name} scan uses its cache")
            async with alone_in(self._cache(name), waiting):
                return await self._scan_now(scan)

    def _cache(self, name: str) -> Path:
        return private_directory(self.configuration.settings.state_dir / "cache" / name)

    async def _scan_now(self, scan: Scan) -> Outcome:
        scan = replace(scan, around=await anyio.to_thread.run_sync(self._look_around, scan))
        seconds = scan.payload.timeout_seconds
        outcome: Outcome | None = None
        with anyio.move_on_after(seconds) as time_out:
            report = await self._run_tool(scan)
            if not time_out.cancel_called:  # else the scanner has swallowed it: half a report
                outcome = await self._read_report(scan, report)
        if outcome is None:
            raise ToolTimeout(
                f"{scan.scanner.name} was not done after {seconds} s and was ended; a larger "
                "timeout_seconds gives it more"
            )
        return outcome

    def _look_around(self, scan: Scan) -> Surroundings:
        if scan.job.commanded:
            return around_commanded(scan.target)
        return around_local(scan.target, scan.started, self.ci_environment)

    async def _read_report(self, scan: Scan, report: ScanReport) -> Outcome:
        scan.job.say(None, "reading the report")
        writer = ReportWriter(
            self.spool,
            report_id=scan.report_id,
            command_id=scan.job.id,
            threshold=_threshold(scan.options),
            source=SourceLines(scan.target.descriptor, scan.target.path),
            suppressions=scan.around.suppressions,
            enrichment=self.enrichment,
        )
        await anyio.to_thread.run_sync(self.spool.open_report, scan.report_id, scan.job.id)
        # A parser that never ends is left behind: what it writes later belongs to no report.
        unreadable = await anyio.to_thread.run_sync(
            self._read, report, writer, abandon_on_cancel=True
        )
        return outcome_of(
            scan, writer.summary, unreadable, self.configuration.settings.agent.name, self.now()
        )

    async def _run_tool(self, scan: Scan) -> ScanReport:
        context = AgentScanContext(
            job=scan.job,
            scanner=scan.scanner,
            binary=self.configuration.settings.scanner(scan.scanner.name).binary,
            target=str(scan.target.path),
            directory=scan.target.descriptor,
            base=scan.base,
            cache_dir=self._cache(scan.scanner.name),
            spool=self.spool,
            grace=self.grace,
        )
        scan.job.say(None, f"{scan.scanner.name} is scanning")
        report = cast("object", await scan.scanner.scan(context, scan.options))
        if not isinstance(report, ScanReport):
            raise PluginError(
                f"{scan.scanner.name}: scan() must return ctx.parse(report, format), not "
                f"{type(report).__name__}"
            )
        return report

    def _read(self, report: ScanReport, writer: ReportWriter) -> CommandError | None:
        """Parse into the spool, in a worker thread. What makes a report unreadable is returned."""
        for notice in report.notices:
            writer.summary.note(notice)
        writer.summary.tool = report.tool
        if report.path.stat().st_size > MAX_REPORT_BYTES:
            return ReportUnreadable(f"the report is larger than {MAX_REPORT_BYTES >> 20} MiB")
        try:
            with report.path.open("rb") as stream:
                writer.write(self.registry.parser(report.format).parse(stream))
        except ReportUnreadable as fault:
            writer.summary.note(Notice("error", str(fault)))
            return fault
        return None

    def _scanner(self, name: str) -> AnyScanner:
        scanner = self.registry.scanner(name)
        if not self.configuration.settings.is_enabled(name):
            raise UnknownScanner(f"the scanner {name!r} is not enabled in this agent's scanners")
        return scanner


def _threshold(options: BaseModel) -> Severity | None:
    word: Any = getattr(options, "severity_threshold", None)
    return severity_from_word(word) if isinstance(word, str) else None
