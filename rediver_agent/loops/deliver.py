"""Drains the spool: findings first, then the result they belong to, until the server has it all.

What may fare better later is tried again with growing waits; what the server refuses for good is
parked with its reason. A named conflict means that the server has kept what it wanted. While the
server asks to be left alone (`Retry-After`), nothing at all is sent.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from rediver_agent.client import RETRYABLE, Client
from rediver_agent.configuration import Configuration
from rediver_agent.contract.batches import ResultOutcome
from rediver_agent.contract.errors import ErrorCode
from rediver_agent.errors import (
    DiskFull,
    ServerError,
    ServerRefused,
    ServerUnavailable,
    SpoolError,
)
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.spool import Entry, Spool

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 5.0  # full jitter, 5 s ... 5 min (DESIGN section 3)
MOST_SECONDS: Final = 300.0
LOOK_SECONDS: Final = 60.0  # at least: a scan with --push may have put something there
FAULT_SECONDS: Final = 30.0  # before the spool is tried again
CLOCK_SLACK: Final = timedelta(minutes=1)  # that a clock may be corrected by, and nothing follows
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
SINGLE_CALLS_FOR: Final = timedelta(minutes=10)  # before a batch is tried again
LOCKED_OUT: Final = frozenset({401, 403})  # the key may be renewed: nothing is given up for it


@dataclass(slots=True)
class DeliverLoop:
    """Sends what is due. `bell` is rung when something new is in the spool."""

    client: Client
    spool: Spool
    configuration: Configuration
    bell: Doorbell
    now: Callable[[], datetime]
    _draining: anyio.Lock = field(default_factory=anyio.Lock)
    _single_until: datetime | None = None
    _not_before: float = 0.0
    _set_back: bool = False

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            try:
                if self._set_back:
                    await anyio.to_thread.run_sync(self.spool.hurry)
                    self._set_back = False
                await self._prune()
                await self.drain()
                wait = await self._until_next()
            except (SpoolError, DiskFull) as fault:
                log.error("delivering: %s", fault)
                wait = FAULT_SECONDS
            await self._wait(max(wait, self._not_before - anyio.current_time()))

    async def drain(self) -> None:
        """Send everything that is due now, each row once; one drain at a time."""
        async with self._draining:
            while (due := await self._next_due()) is not None:
                if due[0].kind == "findings":
                    await self._send(due[0], partial(self.client.send_findings, due[1]))
                else:
                    await self._send_results()

    async def _wait(self, seconds: float) -> None:
        """Until the bell is rung, or so long. A clock that is set back meanwhile delays nothing."""
        at, began = self.now(), anyio.current_time()
        await self.bell.wait(seconds)
        passed = timedelta(seconds=anyio.current_time() - began)
        self._set_back = self._set_back or self.now() - at < passed - CLOCK_SLACK

    async def _next_due(self) -> tuple[Entry, str] | None:
        if anyio.current_time() < self._not_before:
            return None
        return await anyio.to_thread.run_sync(self.spool.next_due)

    async def _send_results(self) -> None:
        due = await anyio.to_thread.run_sync(self.spool.due_results)
        together = len(due) > 1 and (self._single_until is None or self._single_until <= self.now())
        if together and await self._send_together(due):
            return
        for entry, body in due:
            await self._send(entry, partial(self.client.send_result, entry.command_id or "", body))

    async def _send_together(self, due: Sequence[tuple[Entry, str]]) -> bool:
        """Results in one call. False if the server has no such call, or cannot read this one."""
        try:
            reply = await self.client.send_results({e.command_id or "": body for e, body in due})
        except ServerError as fault:
            if isinstance(fault, ServerUnavailable) and fault.status not in NO_SUCH_CALL:
                for entry, _ in due:
                    await self._settle(entry, fault)
                return True
            self._single_until = self.now() + SINGLE_CALLS_FOR
            return False
        said = {item.command_id: item for item in reply.results}
        for entry, _ in due:
            await self._settle(entry, _fault_of(said.get(entry.command_id or "")))
        return True

    async def _send(self, entry: Entry, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except ServerError as fault:
            await self._settle(entry, fault)
        else:
            await self._settle(entry, None)

    async def _settle(self, entry: Entry, fault: ServerError | None) -> None:
        """Note what came of a row that was sent."""
        if isinstance(fault, ServerUnavailable):
            if entry.kind == "findings" and fault.status in NO_SUCH_CALL:
                await anyio.to_thread.run_sync(self.spool.let_result_pass, entry)
            self._not_before = max(self._not_before, anyio.current_time() + fault.retry_after)
            wait = max(fault.retry_after, _backoff(entry.attempts))
            await self._postpone(entry, wait, str(fault))
        elif isinstance(fault, ServerRefused):
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
        max_age = self.configuration.settings.retry_queue.max_age
        dropped = await anyio.to_thread.run_sync(self.spool.prune, max_age)
        if dropped:
            log.error("given up after %s: %d undelivered rows", max_age, dropped)

    async def _until_next(self) -> float:
        due = await anyio.to_thread.run_sync(self.spool.next_try_at)
        if due is None:
            return LOOK_SECONDS
        return min(max(due - self.now().timestamp(), 0.1), LOOK_SECONDS)


def _fault_of(said: ResultOutcome | None) -> ServerError | None:
    """What the single call would have raised for an item of a batch."""
    if said is None:
        return ServerUnavailable("the server did not say what became of it")
    if said.status == 200:
        return None
    message = f"the server refused the result of {said.command_id}: {said.status}"
    if said.error is not None:
        message = f"{message} {said.error.message} ({said.error.code})"
    if said.status in RETRYABLE or said.status >= 500:
        return ServerUnavailable(message, status=said.status)
    return ServerRefused(message, status=said.status, code=said.error.code if said.error else "")


def _backoff(attempts: int) -> float:
    ceiling = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempts, 16))
    return random.uniform(FIRST_SECONDS / 2, ceiling)  # noqa: S311 - spreads load, guards nothing
