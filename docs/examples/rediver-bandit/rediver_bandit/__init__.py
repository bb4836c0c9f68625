"""bandit: finds dangerous calls in Python code.

The class says what bandit's command line is; its report is SARIF. The scanned repository has no say
in its own scan, and a scan that looked at no file is never a clean one.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field

from rediver_agent import CommandLineScanner, Notice, ScanContext, ScanReport, hookimpl

rediver_api = 1

Test = Annotated[str, Field(pattern=r"^B\d{3}$")]
Name = Annotated[str, Field(pattern=r"^[\w.*?+@ -]+$", max_length=200)]


class Options(BaseModel, extra="forbid"):
    """What a bandit scan can be asked for."""

    rules: list[Test] = Field(default=[], description="Tests to run, such as `B602`; else all")
    exclude: list[Name] = Field(
        default=[".git"], description="Files and folders of these names are left out, at any depth"
    )
    files: list[str] = Field(
        default=[], max_length=1000, description="Files to look at; else every Python file"
    )


class Bandit(CommandLineScanner[Options]):
    """Runs `bandit` on the Python files of the target."""

    name = program = "bandit"
    options = Options
    from_command: ClassVar[frozenset[str]] = frozenset({"rules", "exclude"})
    exit_codes = (0, 1)  # 1: something was found

    def arguments(self, options: Options, report: Path) -> Sequence[str | Path]:
        # A repository cannot hide: no `# nosec`, and none of the names that bandit leaves out.
        tests = ["-t", ",".join(options.rules)] if options.rules else []
        flags = ["--quiet", "--ignore-nosec", "--exclude", "", *tests]
        return [*flags, "--format", "sarif", "--output", report, "--", *options.files]

    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        """Not with `--recursive .`: bandit would read what a link or a pipe leads to, anywhere."""
        asked = [ctx.file_in_target(file) for file in options.files]
        files = asked or await _python_files(ctx, options.exclude)
        if files:
            return await super().scan(ctx, options.model_copy(update={"files": files}))
        nothing = ctx.work_dir / "nothing.py"
        nothing.touch()
        report = await super().scan(ctx, options.model_copy(update={"files": [str(nothing)]}))
        return report.with_notice(Notice("warning", "there is no Python file: nothing was scanned"))


async def _python_files(ctx: ScanContext, exclude: Sequence[str]) -> list[str]:
    left_out = [word for name in exclude for word in ("-name", name, "-prune", "-o")]
    python = ("-type", "f", "-name", "*.py", "-print0")
    found = await ctx.run("find", ".", *left_out, *python)
    return os.fsdecode(found.stdout.read_bytes()).split("\0")[:-1]


@hookimpl
def rediver_scanners() -> Iterator[Bandit]:
    """The scanner."""
    yield Bandit()
