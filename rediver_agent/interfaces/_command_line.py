"""A scanner that is nothing but a command line: a tool that writes a report some parser reads."""

import os
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from rediver_agent.errors import PluginError
from rediver_agent.interfaces._options import Options
from rediver_agent.interfaces._parsers import Notice
from rediver_agent.interfaces._scanners import ScanContext, Scanner, ScanReport


class CommandLineScanner(Scanner[Options]):
    """Runs `program` once and reads the report that it wrote.

        class Bandit(CommandLineScanner):
            name = program = "bandit"
            exit_codes = (0, 1)  # 1: something was found

            def arguments(self, options, report):
                return ["-r", ".", "-f", "sarif", "-o", report]

    Every other exit code, a missing report and an empty one fail the scan.
    """

    exit_codes: ClassVar[Collection[int]] = (0,)
    """What the program ends with when it has looked at everything, findings or none."""
    partial_exit_codes: ClassVar[Mapping[int, str]] = {}
    """What it ends with when its report is there and it has not looked at everything, and what that
    means, in words: what was found is kept, and the command fails with `partial_scan`."""
    report_format: ClassVar[str] = "sarif"
    """The parser that reads the report. Depend on `rediver-agent[sarif]` for this one."""
    report_name: ClassVar[str] = "report"
    """What the report's file is called, for a program that goes by how the name ends."""
    report_on_stdout: ClassVar[bool] = False
    """Whether the program writes its report to its standard output, and not to a file."""

    @abstractmethod
    def arguments(self, options: Options, report: Path) -> Sequence[str | Path]:
        """What follows the program's name. It runs in the target, which is `.` for it.

        `report` is where its report has to be, unless `report_on_stdout`.
        """

    @override
    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        report = ctx.work_dir / self.report_name
        arguments = self.arguments(options, report)
        if isinstance(arguments, str):  # each of its letters would be an argument
            raise PluginError(f"{self.name}: arguments() must return a list, one item an argument")
        done = await ctx.run(
            self.program,
            *(os.fspath(argument) for argument in arguments),
            ok={*self.exit_codes, *self.partial_exit_codes},
        )
        found = ctx.parse(done.stdout if self.report_on_stdout else report, self.report_format)
        if done.exit_code in self.exit_codes:
            return found
        said = f"{self.program} ended with exit code {done.exit_code}: "
        return found.with_notice(Notice("error", said + self.partial_exit_codes[done.exit_code]))
