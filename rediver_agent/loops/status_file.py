"""Writes what a running agent is doing where `rediver-agent status` finds it: `status.json`.

The file says how things stood when it was written. Whether its agent still lives is not to be read
from it: the lock on the state directory says that. Losing it loses nothing, so it is not synced.
"""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from rediver_agent.loops.snapshot import Facts, Snapshot
from rediver_agent.service import Service

log = logging.getLogger(__name__)

FILE_NAME: Final = "status.json"
LEAST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 15.0  # a reader takes one that is four times as old for hung


@dataclass(slots=True)
class StatusFile:
    """Looks once a second and writes when something has changed, or has not for 15 s."""

    path: Path
    snapshot: Snapshot
    service: Service
    _problem: str = ""

    async def run(self) -> None:
        """Write until cancelled, and once more then: that it has stopped."""
        written: Facts | None = None
        due = 0.0
        try:
            while True:
                facts = self.snapshot.in_memory()
                if facts != written or anyio.current_time() >= due:
                    written, due = facts, anyio.current_time() + MOST_SECONDS
                    await anyio.to_thread.run_sync(self._write, facts)
                    self.service.doing(self.snapshot.in_a_line())
                await anyio.sleep(LEAST_SECONDS)
        finally:
            ended = self.snapshot.now().isoformat().replace("+00:00", "Z")
            self._write({**self.snapshot.in_memory(), "stopped_at": ended})

    def _write(self, facts: Facts) -> None:
        document = {
            "written_at": self.snapshot.now().isoformat().replace("+00:00", "Z"),
            **facts,
            **self.snapshot.on_disk(),
        }
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(beside, flags, 0o600), "w", encoding="utf-8") as stream:  # noqa: PTH123 - an open descriptor, made private
                json.dump(document, stream)
            beside.replace(self.path)
        except OSError as fault:
            if self._problem != str(fault):  # once, not every second
                log.warning("`rediver-agent status` will be out of date: %s", fault)
            self._problem = str(fault)
        else:
            self._problem = ""
