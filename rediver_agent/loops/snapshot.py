"""What there is to say of a running agent: for `rediver-agent status`, systemd and its metrics."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue

from rediver_agent import __version__, spool_view
from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import CollectCommand, ScanCommand
from rediver_agent.errors import SpoolError
from rediver_agent.executor import Executor, Job
from rediver_agent.state_dir import free_bytes
from rediver_agent.status import Calls, Listening, Status

Facts = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One agent, looked at from any thread. `mask` takes the secrets out of foreign words."""

    configuration: Configuration
    status: Status
    executor: Executor
    pid: int
    now: Callable[[], datetime]
    mask: Callable[[str], str] = str

    def in_memory(self) -> Facts:
        """What the agent knows without a look at the disk. Equal as long as nothing happens."""
        status, executor = self.status, self.executor
        settings = self.configuration.settings
        return {
            "pid": self.pid,
            "version": __version__,
            "name": settings.agent.name,
            "mode": status.mode,
            "started_at": _time(status.started_at),
            "draining": status.draining,
            "server": settings.server.base_url,
            "slots": {"all": executor.slots, "free": executor.free_slots},
            "running": [self._job(job) for job in executor.jobs],
            "poll": self._calls(status.poll),
            "heartbeat": self._calls(status.heartbeat),
            "socket": self.mask(status.socket),
            "next_scan_at": _time(status.next_scan_at),
            "next_collect_at": _time(status.next_collect_at),
            "listening": [self._listener(*each) for each in sorted(status.listening.items())],
            "settings_version": status.overlay_version,
            "moved_aside": list(status.moved_aside),
            "finished": executor.finished,
            "failed": executor.failed,
        }

    def on_disk(self) -> Facts:
        """What waits, and how much room is left. Blocks."""
        return on_disk(self.configuration.settings.state_dir)

    def in_a_line(self) -> str:
        """The same for `systemctl status`."""
        busy = self.executor.slots - self.executor.free_slots
        problem = self.status.poll.problem
        return ", ".join(
            (
                "draining" if self.status.draining else self.status.mode,
                f"{busy} of {self.executor.slots} slots busy",
                *([f"polling fails: {self.mask(problem)}"] if problem else ()),
            )
        )

    def _job(self, job: Job) -> JsonValue:
        what, of = subject_of(job)
        return {
            "id": job.id,
            "type": job.command.type,
            "name": what,
            "target": of,
            "attempt": job.attempt,
            "commanded": job.commanded,
            "percent": job.percent,
            "message": self.mask(job.message),
            "started_at": _time(job.started_at),
        }

    def _listener(self, name: str, listening: Listening) -> JsonValue:
        return {
            "name": name,
            "message": self.mask(listening.message),
            "problem": self.mask(listening.problem) if listening.problem else None,
            "kept": listening.kept,
        }

    def _calls(self, calls: Calls) -> JsonValue:
        return {
            "last_at": _time(calls.last_at),
            "last_good_at": _time(calls.last_good_at),
            "next_at": _time(calls.next_at),
            "problem": self.mask(calls.problem) if calls.problem else None,
            "good": calls.good,
            "failed": calls.failed,
        }


def on_disk(state_dir: Path) -> Facts:
    """What waits in the spool, and how much room is left; of an agent that does not run too."""
    try:
        view = spool_view.look(state_dir)
    except SpoolError as fault:
        spool: JsonValue = {"problem": str(fault)}
        recent: list[JsonValue] = []
    else:
        spool = {
            "waiting": view.waiting,
            "parked": view.parked,
            "oldest_at": _time(view.oldest_at),
        }
        recent = [
            {**asdict(outcome), "finished_at": _time(outcome.finished_at)}
            for outcome in view.recent
        ]
    try:
        free: int | None = free_bytes(state_dir)
    except OSError:
        free = None
    return {"spool": spool, "recent": recent, "disk_free_bytes": free}


def subject_of(job: Job) -> tuple[str | None, str | None]:
    """With what, and on what a job works."""
    if isinstance(job.command, ScanCommand):
        return job.command.payload.scanner, job.command.payload.target
    if isinstance(job.command, CollectCommand):
        return job.command.payload.collector, None
    return None, None


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
