"""The progress display: a line a scan on a terminal, and nothing at all elsewhere."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from rediver_agent.cli.local_scan import LocalScan
from rediver_agent.contract.results import ResultStatus
from rediver_agent.executor import Job, Outcome
from rediver_agent.masking import printable

Finished = Callable[[LocalScan, Outcome], None]


@contextmanager
def scan_display(scans: Sequence[LocalScan]) -> Generator[Finished]:
    """Show the scans on stderr while they run. Yields what to call when one is done."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _scan, _outcome: None
        return
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("[bold]{task.fields[name]:<10}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        lines = {
            scan.job.id: progress.add_task(
                "waiting for a slot", name=scan.scanner, total=1, start=False
            )
            for scan in scans
        }
        for scan in scans:
            scan.job.watcher = _watcher(progress, lines[scan.job.id])

        def finished(scan: LocalScan, outcome: Outcome) -> None:
            said = f"{outcome.findings_count} found"
            if outcome.status is not ResultStatus.COMPLETED:
                said = str(outcome.error)
            progress.update(lines[scan.job.id], description=printable(said), completed=1)

        yield finished


def _watcher(progress: Progress, line: TaskID) -> Callable[[Job], None]:
    def show(job: Job) -> None:
        progress.start_task(line)
        percent = "" if job.percent is None else f"{job.percent:.0f} % "
        progress.update(line, description=percent + printable(job.message))

    return show
