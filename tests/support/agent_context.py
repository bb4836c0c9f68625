"""The agent's own `ScanContext` around a scanner, for tests that run a real tool alone."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rediver_agent.agent import utc_now
from rediver_agent.contract import HealthCheckCommand
from rediver_agent.executor import Job
from rediver_agent.handlers.scan_context import AgentScanContext
from rediver_agent.interfaces import AnyScanner, ScanReport
from rediver_agent.policy import open_typed
from rediver_agent.spool import Spool
from rediver_agent.state_dir import private_directory, remove_tree
from rediver_agent.testing import scan


@contextmanager
def agent_context(scanner: AnyScanner, directory: Path, base: Path) -> Generator[AgentScanContext]:
    """What the agent would hand to `scanner` for a scan of `directory`; its files are in `base`."""
    target = open_typed(str(directory))
    spool = Spool(base / "state", now=utc_now)
    try:
        yield AgentScanContext(
            job=Job(HealthCheckCommand(id="cmd_test", type="health_check"), commanded=False),
            scanner=scanner,
            binary=None,
            target=str(directory),
            directory=target.descriptor,
            base=private_directory(base),
            cache_dir=private_directory(base / "cache"),
            spool=spool,
        )
    finally:
        spool.close()
        target.close()


def real_scans(scanner: AnyScanner, directory: Path, base: Path) -> Callable[..., ScanReport]:
    """Runs the scanner's real tool over `directory`, with the options that it is called with."""

    def run(**options: object) -> ScanReport:
        remove_tree(base / "work")  # an earlier scan's, as the agent does
        with agent_context(scanner, directory, base) as context:
            return scan(scanner, context, **options)

    return run
