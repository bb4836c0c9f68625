"""A `ScanContext` that starts the real tools, for tests marked `tools`. It has no time limit."""

import logging
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import anyio

from rediver_agent import ScanReport, ToolError, ToolMissing
from rediver_agent.interfaces import AnyScanner, Completed, Log


class RealContext:
    """Runs a scanner's programs in `directory`, as the agent does, with nothing kept between."""

    def __init__(self, scanner: AnyScanner, directory: Path, base: Path) -> None:
        self.target = str(directory)
        self.log: Log = logging.LoggerAdapter(logging.getLogger(__name__))
        self._scanner = scanner
        self._runs = 0
        self._base = base
        self.work_dir, self.cache_dir = base / "work", base / "cache"
        for made in (self.work_dir, self.cache_dir, base / "home", base / "tmp"):
            made.mkdir(parents=True, exist_ok=True)

    async def run(
        self,
        program: str,
        /,
        *arguments: str,
        ok: Collection[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        self._runs += 1
        path = shutil.which(program)
        if path is None:
            raise ToolMissing(f"{program} is not on PATH: run the tests with make, or `make setup`")
        ended = await anyio.run_process(
            [path, *arguments],
            cwd=self.target,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self._base / "home"),
                "TMPDIR": str(self._base / "tmp"),
                "LANG": "C.UTF-8",
                **self._scanner.environment,
                **(environment or {}),
            },
        )
        tail = ended.stderr.decode(errors="replace")[-8192:]
        if ended.returncode not in ok:
            raise ToolError(
                f"{program} ended with {ended.returncode}: {tail[-500:]}",
                exit_code=ended.returncode,
                stderr_tail=tail,
            )
        stdout = self._base / f"{self._runs}.stdout"
        stdout.write_bytes(ended.stdout)
        stderr = stdout.with_suffix(".stderr")
        stderr.write_bytes(ended.stderr)
        return Completed(ended.returncode, stdout, stderr, tail)

    def parse(self, report: Path, format: str, /) -> ScanReport:  # noqa: A002 - the field's word
        assert report.stat().st_size > 0
        return ScanReport(report, format)

    def progress(self, percent: float | None, message: str) -> None:
        self.log.debug("%s %s", percent, message)
