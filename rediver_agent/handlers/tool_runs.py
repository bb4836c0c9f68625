"""Runs programs for one command, and nobody of them is left: what contexts of plugins share.

A run is written down before it begins, so that a next agent can end what a killed one has left.
"""

import os
import shutil
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Final

import anyio.to_thread

from rediver_agent import process
from rediver_agent.below import open_file, why
from rediver_agent.errors import TargetNotAllowed, ToolError, ToolMissing
from rediver_agent.executor import Job
from rediver_agent.interfaces import Completed
from rediver_agent.spool import RecordedRun, Spool
from rediver_agent.state_dir import private_directory

NO_PROCESS: Final = 0  # no program has this number


@dataclass(slots=True)
class ToolRuns:
    """The programs of one command. They start in `directory`; their output goes to `base`."""

    job: Job
    directory: int
    base: Path
    spool: Spool
    grace: timedelta = process.GRACE
    _runs: int = 0

    async def run(
        self,
        name: str,
        argv: tuple[str, ...],
        ok: Collection[int],
        environment: Mapping[str, str],
    ) -> Completed:
        """Run a program to the end of its whole tree. `argv[0]` is its path, `name` for messages.

        Raises `ToolError` for an exit code that is not in `ok`.
        """
        self._runs += 1
        stdout = self.base / f"{self._runs}.stdout"
        order = process.Order(
            argv=argv,
            environment={**self._environment(), **environment},
            directory=self.directory,
            stdout=stdout,
            stderr=self.base / f"{self._runs}.stderr",
            run_id=uuid.uuid4().hex,
            grace=self.grace,
        )
        # Before it is started: who is killed in between leaves a tool that only its id betrays.
        unborn = RecordedRun(order.run_id, NO_PROCESS, 0.0)
        await anyio.to_thread.run_sync(self.spool.record_run, self.job.id, unborn)
        ended = await process.run(order, started=self._started, ended=self.job.ended.append)
        if ended.exit_code is None or ended.exit_code not in ok:
            raise ToolError(
                _complaint(name, ended),
                exit_code=ended.exit_code,
                stderr_tail=ended.stderr_tail,
            )
        return Completed(ended.exit_code, stdout, order.stderr, ended.stderr_tail)

    def _started(self, run: process.StartedProcess) -> None:
        self.spool.record_run(self.job.id, RecordedRun(run.run_id, run.pid, run.create_time))

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": _absolute_path(),
            "HOME": str(private_directory(self.base / "home")),
            "TMPDIR": str(private_directory(self.base / "tmp")),
            "LANG": "C.UTF-8",
        }


def found(program: str, hint: str) -> str:
    """The absolute path of a program. `ToolMissing`, with a hint what to do, if there is none."""
    path = shutil.which(program, path=_absolute_path())
    if path is None:
        raise ToolMissing(f"{program} is not on PATH or not executable; {hint}")
    return str(Path(path).absolute())


def file_below(directory: int, target: str, path: str) -> str:
    """A file of a target as a tool in it is to be told. `TargetNotAllowed` if it is none."""
    try:
        os.close(open_file(directory, path))
    except OSError as fault:
        raise TargetNotAllowed(
            f"{path!r} is no file in {target} that may be read: {why(fault)}"
        ) from fault
    return f"./{PurePosixPath(path)}"


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
