"""Drains the spool: findings first, then the result they belong to, until the server has it all.

What may fare better later is tried again with growing waits; what the server refuses for good is
parked with its reason. A named conflict means that the server has kept what it wanted.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import anyio
import anyio.to_thread

from rediver_agent.client import Client
from rediver_agent.contract.errors import ErrorCode
from rediver_agent.errors import DiskFull, ServerRefused, ServerUnavailable, SpoolError
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.settings import RetryQueueSection
from rediver_agent.spool import Entry, Spool

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 5.0  # full jitter, 5 s ... 5 min (DESIGN section 3)
MOST_SECONDS: Final = 300.0
PRUNE_SECONDS: Final = 3600.0
FAULT_SECONDS: Final = 30.0  # before the spool is tried again
SETTLED: Final = frozenset(
    {
        ErrorCode.ALREADY_CLAIMED,
        ErrorCode.COMMAND_CANCELLED,
        ErrorCode.COMMAND_EXPIRED,
        ErrorCode.COMMAND_FINISHED,
        ErrorCode.NOT_CLAIMED,
        ErrorCode.STALE_ATTEMPT,
    }
)
# A server of the origin's three calls takes results and no findings. A proxy before a server that
# is away says the same, so that the findings are not given up for it: they only let the result by.
NO_SUCH_CALL: Final = frozenset({404, 405})
LOCKED_OUT: Final = frozenset({401, 403})  # the key may be renewed: nothing is given up for it


@dataclass(slots=True)
class DeliverLoop:
    """Sends what is due. `bell` is rung when something new is in the spool."""

    client: Client
    spool: Spool
    limits: RetryQueueSection
    bell: Doorbell
    now: Callable[[], datetime]
    _draining: anyio.Lock = field(default_factory=anyio.Lock)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            try:
                await self._prune()
                await self.drain()
                wait = await self._until_next()
            except (SpoolError, DiskFull) as fault:
                log.error("delivering: %s", fault)
                wait = FAULT_SECONDS
            await self.bell.wait(wait)

    async def drain(self) -> None:
        """Send everything that is due now, each row once; one drain at a time."""
        async with self._draining:
            while (due := await anyio.to_thread.run_sync(self.spool.next_due)) is not None:
                await self._send(*due)

    async def _send(self, entry: Entry, body: str) -> None:
        try:
            if entry.kind == "findings":
                await self.client.send_findings(body)
            else:
                await self.client.send_result(entry.command_id or "", body)
        except ServerUnavailable as fault:
            if entry.kind == "findings" and fault.status in NO_SUCH_CALL:
                await anyio.to_thread.run_sync(self.spool.let_result_pass, entry)
            wait = max(fault.retry_after, _backoff(entry.attempts))
            await self._postpone(entry, wait, str(fault))
        except ServerRefused as fault:
            await self._refused(entry, fault)
        else:
            await anyio.to_thread.run_sync(self.spool.delivered, entry)

    async def _refused(self, entry: Entry, fault: ServerRefused) -> None:
        if fault.code in SETTLED:
            log.info("%s of %s: %s", entry.kind, entry.command_id or entry.report_id, fault)
            await anyio.to_thread.run_sync(self.spool.delivered, entry)
        elif fault.status in LOCKED_OUT:
            await self._postpone(entry, MOST_SECONDS, str(fault))
        else:
            log.error("parked, see `rediver-agent spool list`: %s", fault)
            await anyio.to_thread.run_sync(self.spool.park, entry, str(fault))

    async def _postpone(self, entry: Entry, wait: float, error: str) -> None:
        log.warning("delivering again in %.0f s: %s", wait, error)
        await anyio.to_thread.run_sync(self.spool.postpone, entry, timedelta(seconds=wait), error)

    async def _prune(self) -> None:
        dropped = await anyio.to_thread.run_sync(self.spool.prune, self.limits.max_age)
        if dropped:
            log.error("given up after %s: %d undelivered rows", self.limits.max_age, dropped)

    async def _until_next(self) -> float:
        due = await anyio.to_thread.run_sync(self.spool.next_try_at)
        if due is None:
            return PRUNE_SECONDS
        return min(max(due - self.now().timestamp(), 0.1), PRUNE_SECONDS)


def _backoff(attempts: int) -> float:
    ceiling = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempts, 16))
    return random.uniform(FIRST_SECONDS / 2, ceiling)  # noqa: S311 - spreads load, guards nothing
