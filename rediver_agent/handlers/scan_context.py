"""What the agent hands to a scanner: the real `ScanContext`."""

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import anyio.to_thread

from rediver_agent import process
from rediver_agent.below import open_file, why
from rediver_agent.errors import ReportUnreadable, TargetNotAllowed, ToolError, ToolMissing
from rediver_agent.executor import Job
from rediver_agent.interfaces import AnyScanner, Completed, Log, ScanReport
from rediver_agent.spool import RecordedRun, Spool
from rediver_agent.state_dir import private_directory

log = logging.getLogger(__name__)

NO_PROCESS: Final = 0  # no program has this number


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
    on_start: Callable[[], None]
    log: Log = field(init=False)
    work_dir: Path = field(init=False)
    _runs: int = 0

    def __post_init__(self) -> None:
        self.log = logging.LoggerAdapter(log, {"command_id": self.job.id})
        self.work_dir = private_directory(self.base / "work")

    async def run(
        self,
        program: str,
        /,
        *arguments: str,
        ok: Collection[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """See `ScanContext.run`."""
        self._runs += 1
        stdout = self.base / f"{self._runs}.stdout"
        order = process.Order(
            argv=(self._found(program), *arguments),
            environment={**self._environment(), **(environment or {})},
            directory=self.directory,
            stdout=stdout,
            stderr=self.base / f"{self._runs}.stderr",
            run_id=uuid.uuid4().hex,
        )
        # Before it is started: who is killed in between leaves a tool that only its id betrays.
        unborn = RecordedRun(order.run_id, NO_PROCESS, 0.0)
        await anyio.to_thread.run_sync(self.spool.record_run, self.job.id, unborn)
        ended = await process.run(order, started=self._started, ended=self.job.ended.append)
        if ended.exit_code is None or ended.exit_code not in ok:
            raise ToolError(
                _complaint(program, ended),
                exit_code=ended.exit_code,
                stderr_tail=ended.stderr_tail,
            )
        return Completed(ended.exit_code, stdout, order.stderr, ended.stderr_tail)

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
        try:
            os.close(open_file(self.directory, path))
        except OSError as fault:
            raise TargetNotAllowed(
                f"{path!r} is no file in {self.target} that may be read: {why(fault)}"
            ) from fault
        return f"./{PurePosixPath(path)}"

    def progress(self, percent: float | None, message: str) -> None:
        """See `ScanContext.progress`."""
        known = percent is not None and 0 <= percent <= 100
        self.job.say(percent if known else None, str(message))

    def _started(self, run: process.StartedProcess) -> None:
        self.spool.record_run(self.job.id, RecordedRun(run.run_id, run.pid, run.create_time))
        self.on_start()

    def _found(self, program: str) -> str:
        wanted = self.binary if self.binary and program == self.scanner.program else program
        path = shutil.which(wanted, path=_absolute_path())
        if path is None:
            raise ToolMissing(
                f"{wanted} is not on PATH or not executable; install it, or name it in "
                f"scanners[].binary of {self.scanner.name}"
            )
        return str(Path(path).absolute())

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": _absolute_path(),
            "HOME": str(private_directory(self.base / "home")),
            "TMPDIR": str(private_directory(self.base / "tmp")),
            "LANG": "C.UTF-8",
            **self.scanner.environment,
        }


def _absolute_path() -> str:
    """PATH without relative entries: a tool would find its helpers in the repository it scans."""
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(place for place in places if Path(place).is_absolute())


def _complaint(program: str, ended: process.Ended) -> str:
    how = (
        f"exit code {ended.exit_code}" if ended.exit_code is not None else f"signal {ended.signal}"
    )
    if ended.reason:
        how = ended.reason
    said = ended.stderr_tail.strip().splitlines()
    return f"{program} ended with {how}" + (f": {' / '.join(said[-3:])}" if said else "")
