"""Tells systemd that this agent lives, for as long as it really does.

A sign of life is given when the event loop turns, a worker thread answers and the poll comes round
in its time; an agent of which one of these hangs is restarted by systemd, and recovers.
"""

import logging
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.to_thread

from rediver_agent.configuration import Configuration
from rediver_agent.errors import SpoolError
from rediver_agent.service import Service
from rediver_agent.spool import Spool
from rediver_agent.status import Status

log = logging.getLogger(__name__)

BACKOFF_SECONDS: Final = 60.0  # between two tries of one call, at most (DESIGN section 4)
SLACK_SECONDS: Final = 60.0  # for a busy host, and for writing what was claimed


@dataclass(slots=True)
class WatchdogLoop:
    """Signs of life at half the time that systemd waits."""

    service: Service
    spool: Spool
    status: Status
    configuration: Configuration
    _round: object = None
    _patience: float = 0.0

    async def run(self) -> None:
        """Until cancelled; returns at once where nobody waits for a sign."""
        if self.service.watchdog is None:
            return
        every = self.service.watchdog.total_seconds() / 2
        while True:
            began = anyio.current_time()
            if await self._spool_answers(within=every) and self._poll_comes_round():
                self.service.alive()
            await anyio.sleep(max(0.0, began + every - anyio.current_time()))

    async def _spool_answers(self, within: float) -> bool:
        """Whether work that is handed to a thread is done: all of them may hang on a dead disk."""
        with anyio.move_on_after(within):
            await anyio.to_thread.run_sync(_read, self.spool, abandon_on_cancel=True)
            return True
        log.error("the spool does not answer; is its disk still there?")
        return False

    def _poll_comes_round(self) -> bool:
        """Whether the poll was seen to go on in its time, not by a clock that people may set."""
        poll = self.status.poll
        if poll.next_at is None or self.status.draining:
            return True
        seen = (poll.good, poll.failed, poll.next_at)
        if seen != self._round:
            wait = (poll.next_at - poll.last_at).total_seconds() if poll.last_at else 0.0
            self._round = seen
            self._patience = anyio.current_time() + max(0.0, wait) + self._longest_poll()
        if anyio.current_time() <= self._patience:
            return True
        log.error("the poll has not come round in its time: systemd will restart this agent")
        return False

    def _longest_poll(self) -> float:
        """A call and its repeats, each as slow as it may be."""
        server = self.configuration.settings.server
        tries = server.max_retries + 1
        return tries * (server.timeout.total_seconds() + BACKOFF_SECONDS) + SLACK_SECONDS


def _read(spool: Spool) -> None:
    """A look into the spool. An error is an answer."""
    try:
        spool.next_try_at()
    except SpoolError as fault:
        log.debug("%s", fault)
