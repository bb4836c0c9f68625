"""`health_check`: what this agent could do right now, tool by tool. Nothing is guessed."""

import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from pydantic import JsonValue

from rediver_agent import __version__
from rediver_agent.contract.results import ResultStatus
from rediver_agent.errors import CommandError
from rediver_agent.executor import Job, Outcome, described
from rediver_agent.handlers.scan_context import AgentScanContext
from rediver_agent.interfaces import AnyScanner
from rediver_agent.policy import open_typed
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.state_dir import free_bytes, private_directory

PROBE_SECONDS: Final = 30.0  # semgrep takes 4 s to tell its version


@dataclass(frozen=True, slots=True)
class HealthCheckHandler:
    """Probes every enabled scanner, and looks at the spool and the disk."""

    registry: Registry
    settings: Settings
    spool: Spool
    now: Callable[[], datetime]
    started: datetime

    async def handle(self, job: Job) -> Outcome:
        """Completed whatever it finds: a tool that is missing is in `metadata.scanners`."""
        scanners: dict[str, JsonValue] = {}
        names = [name for name in sorted(self.registry.scanners) if self.settings.is_enabled(name)]
        for done, name in enumerate(names):
            job.say(100 * done / len(names), f"asking {name} for its version")
            scanners[name] = await self.probe(job, self.registry.scanners[name])
        entries = await anyio.to_thread.run_sync(self.spool.entries)
        parked = sum(entry.parked for entry in entries)
        return Outcome(
            status=ResultStatus.COMPLETED,
            metadata={
                "agent_version": __version__,
                "python_version": platform.python_version(),
                "platform": platform.platform(),
                "uptime_seconds": round((self.now() - self.started).total_seconds()),
                "scanners": scanners,
                "broken_plugins": [broken.origin.name for broken in self.registry.broken],
                "spool": {"waiting": len(entries) - parked, "parked": parked},
                "disk_free_bytes": free_bytes(self.settings.state_dir),
            },
        )

    async def probe(self, job: Job, scanner: AnyScanner) -> JsonValue:
        """`{"usable": true, "version"}`, or `{"usable": false, "problem"}` with a sentence."""
        work = private_directory(self.settings.state_dir / "work")
        base = Path(await anyio.to_thread.run_sync(tempfile.mkdtemp, "", "probe-", work))
        target = open_typed(str(base))
        context = AgentScanContext(
            job=job,
            scanner=scanner,
            binary=self.settings.scanner(scanner.name).binary,
            target=str(base),
            directory=target.descriptor,
            base=base,
            cache_dir=private_directory(self.settings.state_dir / "cache" / scanner.name),
            spool=self.spool,
            on_start=lambda: None,
        )
        try:
            with anyio.fail_after(PROBE_SECONDS):
                return {"usable": True, "version": str(await scanner.probe(context))}
        except TimeoutError:
            return {"usable": False, "problem": f"no answer within {PROBE_SECONDS:.0f} s"}
        except CommandError as fault:
            return {"usable": False, "problem": str(fault)}
        except (Exception, SystemExit) as fault:  # noqa: BLE001 - one bad plugin hides no other
            return {"usable": False, "problem": described(fault)}
        finally:
            target.close()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(shutil.rmtree, base, True)
