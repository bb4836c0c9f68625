"""`health_check`: what this agent could do right now, tool by tool. Nothing is guessed.

It completes whatever it finds: each thing that is wrong is a sentence of its own in the metadata.
"""

import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from pydantic import JsonValue

from rediver_agent import __version__, spool_view
from rediver_agent.configuration import Configuration
from rediver_agent.errors import RediverError, SpoolError
from rediver_agent.executor import Job, Outcome, described
from rediver_agent.handlers.plugin_options import collector_problem
from rediver_agent.handlers.scan_context import AgentScanContext
from rediver_agent.interfaces import AnyScanner
from rediver_agent.policy import open_typed
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.state_dir import free_bytes, private_directory, remove_tree
from rediver_agent.status import Calls, Status

PROBE_SECONDS: Final = 30.0  # semgrep takes 4 s to tell its version


@dataclass(frozen=True, slots=True)
class HealthCheckHandler:
    """Probes every enabled scanner, and tells of collectors, spool, disk, clock and server."""

    registry: Registry
    configuration: Configuration
    spool: Spool
    now: Callable[[], datetime]
    status: Status
    clock_skew: Callable[[], timedelta]
    probe_seconds: float = PROBE_SECONDS

    async def handle(self, job: Job) -> Outcome:
        """Completed whatever it finds: a tool that is missing is in `metadata.scanners`."""
        settings = self.configuration.settings
        scanners = await self._scanners(job, settings)
        now = self.now()
        metadata: dict[str, JsonValue] = {
            "agent_version": __version__,
            "python_version": platform.python_version(),
            "platform": platform.platform(),
            "mode": self.status.mode,
            "draining": self.status.draining,
            "uptime_seconds": round((now - self.status.started_at).total_seconds()),
            "clock_skew_seconds": round(self.clock_skew().total_seconds(), 3),
            "scanners": scanners,
            "collectors": self._collectors(settings),
            "broken_plugins": {
                broken.origin.name: broken.problem for broken in self.registry.broken
            },
            "spool": await self._spool(),
            "disk": await anyio.to_thread.run_sync(_disk, settings),
            "settings_version": self.status.overlay_version,
            "socket": self.status.socket,
            "poll": _calls(self.status.poll, now),
            "heartbeat": _calls(self.status.heartbeat, now),
            "next_scan_at": _time(self.status.next_scan_at),
            "next_collect_at": _time(self.status.next_collect_at),
        }
        return Outcome(metadata=metadata)

    async def _scanners(self, job: Job, settings: Settings) -> dict[str, JsonValue]:
        """All at once: they start programs of their own, and one that hangs delays no other."""
        names = [name for name in sorted(self.registry.scanners) if settings.is_enabled(name)]
        found: dict[str, JsonValue] = {}

        async def ask(name: str) -> None:
            scanner = self.registry.scanners[name]
            found[name] = await probe(scanner, job, settings, self.spool, self.probe_seconds)
            job.say(100 * len(found) / len(names), f"{name} has answered")

        job.say(0, f"asking {len(names)} scanners for their versions")
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(ask, name)
        silent: JsonValue = {"usable": False, "problem": "its plugin gave no answer"}
        return {name: found.get(name, silent) for name in names}

    def _collectors(self, settings: Settings) -> dict[str, JsonValue]:
        listed = {section.name for section in settings.collectors}
        enabled = settings.enabled_collectors()
        said: dict[str, JsonValue] = {}
        for name in sorted(listed | set(self.registry.collectors)):
            problem = collector_problem(name, settings, self.registry)
            said[name] = {
                "installed": name in self.registry.collectors,
                "enabled": name in enabled,
                "usable": problem is None,
                **({"problem": problem} if problem else {}),
            }
        return said

    async def _spool(self) -> JsonValue:
        told: dict[str, JsonValue] = {"moved_aside": list(self.status.moved_aside)}
        state_dir = self.configuration.settings.state_dir
        try:
            view = await anyio.to_thread.run_sync(spool_view.look, state_dir)
        except SpoolError as fault:
            return {**told, "problem": str(fault)}
        oldest = _time(view.oldest_at)
        return {**told, "waiting": view.waiting, "parked": view.parked, "oldest_at": oldest}


async def probe(
    scanner: AnyScanner,
    job: Job,
    settings: Settings,
    spool: Spool,
    seconds: float = PROBE_SECONDS,
) -> dict[str, JsonValue]:
    """`{"usable": true, "version"}`, or `{"usable": false, "problem"}` with a sentence."""
    try:
        with anyio.fail_after(seconds):
            return {"usable": True, "version": await _version(scanner, job, settings, spool)}
    except TimeoutError:
        return {"usable": False, "problem": f"no answer within {seconds:g} s"}
    except RediverError as fault:
        return {"usable": False, "problem": str(fault)}
    except (Exception, SystemExit) as fault:  # noqa: BLE001 - one bad plugin hides no other
        return {"usable": False, "problem": described(fault)}


async def _version(scanner: AnyScanner, job: Job, settings: Settings, spool: Spool) -> str:
    work = private_directory(settings.state_dir / "work")
    base = Path(await anyio.to_thread.run_sync(tempfile.mkdtemp, "", "probe-", work))
    target = open_typed(str(base))
    try:
        context = AgentScanContext(
            job=job,
            scanner=scanner,
            binary=settings.scanner(scanner.name).binary,
            target=str(base),
            directory=target.descriptor,
            base=base,
            cache_dir=private_directory(settings.state_dir / "cache" / scanner.name),
            spool=spool,
        )
        return str(await scanner.probe(context))
    finally:
        target.close()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(remove_tree, base)


def _disk(settings: Settings) -> JsonValue:
    least = settings.retry_queue.min_free_bytes
    try:
        free = free_bytes(settings.state_dir)
    except OSError as fault:
        return {"problem": f"{settings.state_dir} cannot be looked at: {fault.strerror}"}
    told: dict[str, JsonValue] = {"free_bytes": free, "min_free_bytes": least}
    if free < least:
        told["problem"] = "the disk is nearly full: nothing new is claimed; free space"
    return told


def _calls(calls: Calls, now: datetime) -> JsonValue:
    """How the calls of one kind go; a problem is the last one's, and None while they go well."""
    age = (now - calls.last_good_at).total_seconds() if calls.last_good_at else None
    return {
        "good": calls.good,
        "failed": calls.failed,
        "problem": calls.problem,
        "last_good_seconds_ago": None if age is None else round(max(0.0, age), 3),
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
