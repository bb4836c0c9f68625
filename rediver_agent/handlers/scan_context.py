"""What the agent hands to a scanner: the real `ScanContext`."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from rediver_agent.errors import ReportUnreadable
from rediver_agent.executor import Job
from rediver_agent.handlers.tool_runs import ToolRuns, file_below, found
from rediver_agent.interfaces import AnyScanner, Completed, Log, ScanReport
from rediver_agent.process import GRACE
from rediver_agent.spool import Spool
from rediver_agent.state_dir import private_directory

log = logging.getLogger(__name__)


@dataclass(slots=True)
class AgentScanContext:
    """Runs a scanner's programs in its target, and nowhere else."""

    job: Job
    scanner: AnyScanner
    binary: str | None
    target: str
    directory: int
    base: Path
    cache_dir: Path
    spool: Spool
    grace: timedelta = GRACE
    log: Log = field(init=False)
    work_dir: Path = field(init=False)
    _tools: ToolRuns = field(init=False)

    def __post_init__(self) -> None:
        self.log = logging.LoggerAdapter(log, {"command_id": self.job.id})
        self.work_dir = private_directory(self.base / "work")
        self._tools = ToolRuns(self.job, self.directory, self.base, self.spool, self.grace)

    async def run(
        self,
        program: str,
        /,
        *arguments: str,
        ok: Collection[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """See `ScanContext.run`."""
        own = {**self.scanner.environment, **(environment or {})}
        return await self._tools.run(program, (self._found(program), *arguments), ok, own)

    def parse(self, report: Path, format: str, /) -> ScanReport:  # noqa: A002 - the field's word
        """See `ScanContext.parse`."""
        if not report.is_file():
            raise ReportUnreadable(f"{self.scanner.name} left no report; its output says why")
        if report.stat().st_size == 0:
            raise ReportUnreadable(
                f"{self.scanner.name} left an empty report, which proves nothing"
            )
        return ScanReport(report, format)

    def file_in_target(self, path: str, /) -> str:
        """See `ScanContext.file_in_target`."""
        return file_below(self.directory, self.target, path)

    def progress(self, percent: float | None, message: str) -> None:
        """See `ScanContext.progress`."""
        known = percent is not None and 0 <= percent <= 100
        self.job.say(percent if known else None, str(message))

    def _found(self, program: str) -> str:
        wanted = self.binary if self.binary and program == self.scanner.program else program
        return found(wanted, f"install it, or name it in scanners[].binary of {self.scanner.name}")
