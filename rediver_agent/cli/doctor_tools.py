"""What `rediver-agent doctor` finds of plugins: each that is to be used is asked, as in a scan."""

from collections.abc import Sequence

from rediver_agent.cli.doctor_checks import Check, Look, not_ok, ok
from rediver_agent.contract.commands import HealthCheckCommand
from rediver_agent.executor import Job
from rediver_agent.handlers.health_check import probe
from rediver_agent.handlers.plugin_options import collector_problem, validated
from rediver_agent.interfaces import AnyScanner
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool


def scanners(
    settings: Settings, registry: Registry, usable: Sequence[str], spool: Spool
) -> list[tuple[str, Look]]:
    """A look at each scanner that may be used. `spool` is a passing one: probes leave no trace."""
    if settings.scanners is None:
        names = list(usable)
    else:
        names = [section.name for section in settings.scanners if section.enabled]
    if not names:
        return [("scanners", _no_scanner)]

    def looking_at(name: str) -> Look:
        async def look() -> list[Check]:
            return [await _scanner(registry.scanner(name), settings, spool)]

        return look

    return [(f"scanner {name}", looking_at(name)) for name in names]


async def collectors(settings: Settings, registry: Registry) -> list[Check]:
    """Every collector that is to be used is installed, and understands its options."""
    lines: list[Check] = []
    for name in settings.enabled_collectors():
        problem = collector_problem(name, settings, registry)
        what = f"collector {name}"
        pushed = "" if registry.may_fetch(name) else ", and listens while the agent runs"
        lines.append(not_ok(what, problem) if problem else ok(f"{what} is installed{pushed}"))
    return lines


async def plugins(registry: Registry) -> list[Check]:
    """What is installed and cannot be loaded."""
    return [
        not_ok(
            f"plugin {broken.origin.name} ({broken.origin.distribution} {broken.origin.version})",
            f"it cannot be loaded: {broken.problem}; mend or uninstall it",
        )
        for broken in registry.broken
    ]


async def _no_scanner() -> list[Check]:
    return [
        not_ok("no scanner is usable", "install a tool and its plugin; see `rediver-agent plugins`")
    ]


async def _scanner(scanner: AnyScanner, settings: Settings, spool: Spool) -> Check:
    what = f"scanner {scanner.name}"
    # An option that it does not understand fails every scan.
    validated(scanner, settings.scanner(scanner.name).config)
    job = Job(HealthCheckCommand(id="cmd_doctor", type="health_check"), commanded=False)
    said = await probe(scanner, job, settings, spool)
    if said["usable"]:
        return ok(f"{what}, {scanner.program} {said['version']}")
    return not_ok(what, str(said["problem"]))
