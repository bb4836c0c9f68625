"""What `rediver-agent doctor` finds of plugins: each that is to be used is asked, as in a scan."""

from collections.abc import Sequence

from rediver_agent.cli.doctor_checks import Check, Look, not_ok, ok
from rediver_agent.contract.commands import HealthCheckCommand
from rediver_agent.executor import Job
from rediver_agent.handlers.health_check import probe
from rediver_agent.handlers.plugin_options import collector_problem, handler_problems, validated
from rediver_agent.interfaces import AnyScanner
from rediver_agent.listed_plugins import listed_problems
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


async def plugins(settings: Settings, registry: Registry) -> list[Check]:
    """What is installed and not used, though its operator has not said so; what is listed and
    cannot be used.
    """
    lines = [
        not_ok(
            f"plugin {unused.origin.name} ({unused.origin.distribution} {unused.origin.version})",
            f"it is {unused.state}: {unused.problem}",
        )
        for unused in registry.broken
        if unused.state != "blocked"
    ]
    for name, said in sorted(registry.deprecated.items()):
        lines.extend(not_ok(f"plugin {name}", f"upgrade it: {sentence}") for sentence in said)
    problems = [*handler_problems(settings, registry), *listed_problems(settings, registry)]
    return [*lines, *(not_ok("configuration of plugins", problem) for problem in problems)]


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
