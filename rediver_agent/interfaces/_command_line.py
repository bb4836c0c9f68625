"""A scanner that is nothing but a command line: a tool that writes a report some parser reads."""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from rediver_agent.interfaces._options import Options
from rediver_agent.interfaces._scanners import ScanContext, Scanner, ScanReport


class CommandLineScanner(Scanner[Options]):
    """Runs `program` once and reads the report that it wrote.

        class Bandit(CommandLineScanner):
            name = program = "bandit"
            exit_codes = (0, 1)  # 1: something was found

            def arguments(self, options, report):
                return ["-r", ".", "-f", "sarif", "-o", str(report)]

    Every other exit code, a missing report and an empty one fail the scan.
    """

    exit_codes: ClassVar[Collection[int]] = (0,)
    """What the program ends with when it has looked at everything, findings or none."""
    report_format: ClassVar[str] = "sarif"
    """The parser that reads the report. Depend on `rediver-agent[sarif]` for this one."""
    report_on_stdout: ClassVar[bool] = False
    """Whether the program writes its report to its standard output, and not to a file."""

    @abstractmethod
    def arguments(self, options: Options, report: Path) -> Sequence[str]:
        """What follows the program's name. It runs in the target, which is `.` for it.

        `report` is where its report has to be, unless `report_on_stdout`.
        """

    @override
    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        report = ctx.work_dir / "report"
        arguments = self.arguments(options, report)
        done = await ctx.run(self.program, *arguments, ok=self.exit_codes)
        return ctx.parse(done.stdout if self.report_on_stdout else report, self.report_format)
