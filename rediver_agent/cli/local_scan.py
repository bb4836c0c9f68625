"""Scans that the operator typed: the same executor, fed by hand, with a spool that is not kept."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from rediver_agent import process
from rediver_agent.agent import build_executor, usable_scanners
from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import ScanCommand, ScanPayload
from rediver_agent.errors import ConfigurationError
from rediver_agent.executor import Job, Outcome
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool


@dataclass(frozen=True, slots=True)
class LocalScan:
    """One scanner's scan: what to run, and where its findings are."""

    scanner: str
    job: Job


def chosen_scanners(settings: Settings, registry: Registry, wanted: Sequence[str]) -> list[str]:
    """Those that were named; else those that are configured; else those whose tool is there.

    Raises `UnknownScanner`, or `ConfigurationError` where there is none to run.
    """
    if wanted:
        return [registry.scanner(name).name for name in dict.fromkeys(wanted)]
    if settings.scanners is not None:
        names = [section.name for section in settings.scanners if section.enabled]
    else:
        names = usable_scanners(settings, registry)
    if not names:
        installed = ", ".join(sorted(registry.scanners)) or "none"
        raise ConfigurationError(
            f"no scanner is usable (plugins: {installed}); install a tool such as semgrep, and "
            "see `rediver-agent plugins`"
        )
    return [registry.scanner(name).name for name in names]


def plan(target: Path, scanners: Sequence[str], timeout_seconds: int) -> list[LocalScan]:
    """One job a scanner, over one target."""
    return [
        LocalScan(
            name,
            Job(
                ScanCommand(
                    id=f"scan_{uuid.uuid4().hex[:24]}",
                    type="scan",
                    payload=ScanPayload(
                        scanner=name, target=str(target), timeout_seconds=timeout_seconds
                    ),
                ),
                commanded=False,
            ),
        )
        for name in scanners
    ]


async def run_scans(
    settings: Settings,
    registry: Registry,
    spool: Spool,
    scans: Sequence[LocalScan],
    finished: Callable[[LocalScan, Outcome], None],
    ci_environment: Mapping[str, str],
) -> list[Outcome]:
    """Run them, as many at once as `max_concurrent` says. Outcomes are in the order of `scans`.

    `ci_environment` is this process's: in a CI job it says which commit is scanned.
    """
    process.become_subreaper()
    executor = build_executor(
        Configuration(settings), registry, spool, ci_environment=ci_environment
    )
    outcomes: dict[str, Outcome] = {}

    async def run(scan: LocalScan) -> None:
        outcome = await executor.execute(scan.job)
        named = {"scanner": scan.scanner, **outcome.metadata}
        outcomes[scan.job.id] = replace(outcome, metadata=named)
        finished(scan, outcome)

    async with anyio.create_task_group() as tasks:
        for scan in scans:
            tasks.start_soon(run, scan)
    return [outcomes[scan.job.id] for scan in scans]
