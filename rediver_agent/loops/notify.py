"""Holds the socket by which the server wakes this agent. Without it work comes by polling alone.

A message is a nudge and carries no data: what it announces is fetched by the loops that poll. So
an agent that never hears one loses latency and no work, and whatever may have been missed while
the socket was not open is asked for once when it is.
"""

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio

from rediver_agent import websocket
from rediver_agent.client import RETRYABLE, Client
from rediver_agent.contract.messages import (
    ClosingMessage,
    CommandAvailableMessage,
    CommandCancelledMessage,
    ConfigUpdateMessage,
    parse_message,
)
from rediver_agent.errors import ServerError, ServerRefused, ServerUnavailable
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.status import Status

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 1.0  # full jitter, 1 s ... 60 s (DESIGN section 4)
MOST_SECONDS: Final = 60.0
LASTED_SECONDS: Final = 60.0  # a socket that was open for this long was a good one
REFUSED_SECONDS: Final = 60.0  # while the server refuses the key
LOCKED_OUT: Final = frozenset({401, 403})
NEVER_SECONDS: Final = (300.0, 600.0)  # where nobody speaks WebSocket, or a proxy lets none through
NUDGE_SECONDS: Final = 0.25  # at least, between two polls that are asked for here
NOT_IMPLEMENTED: Final = 501


@dataclass(slots=True)
class NotifyLoop:
    """One agent's socket. `bell` wakes the poll; `cancel` ends a command that is in hand."""

    client: Client
    bell: Doorbell
    cancel: Callable[[str], object]
    status: Status
    uniform: Callable[[float, float], float] = random.uniform
    _nudged: Doorbell = field(default_factory=Doorbell)
    _opened_at: float = math.inf
    _failures: int = 0
    _said: str = ""
    _news: bool = True  # that it is open; a socket that comes and goes for one reason is none

    async def run(self) -> None:
        """Listen, and connect again, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass_on)
            while True:
                wait = await self._listen()
                await anyio.sleep(wait)

    async def _listen(self) -> float:
        """One connection, to its end. Returns how many seconds to wait for the next."""
        self._opened_at = math.inf
        try:
            ended = await websocket.listen(self.client, self._opened, self._hear)
        except ServerError as fault:
            self._say(str(fault))
            return self._wait_after(fault)
        if anyio.current_time() - self._opened_at >= LASTED_SECONDS:
            self._failures, self._said = 0, ""
        self._say(ended)
        return self._back_off()

    def _opened(self) -> None:
        self._opened_at = anyio.current_time()
        if self._news:
            log.info("the server wakes this agent by a WebSocket")
            self._news = False
        self.status.socket = "open"
        self._nudged.ring()  # for what was missed

    def _hear(self, document: object) -> None:
        match parse_message(document):
            case CommandAvailableMessage() | ConfigUpdateMessage():
                self._nudged.ring()
            case CommandCancelledMessage(command_id=command_id):
                if self.cancel(command_id):
                    log.info("%s: cancelled by the server's socket", command_id)
            case ClosingMessage(reason=reason):
                log.debug("the server closes the socket: %s", reason)
            case None:
                log.debug("a message of a kind that this agent does not know")

    async def _pass_on(self) -> None:
        """Ring for what was nudged, not faster than a server should be polled."""
        while True:
            await self._nudged.wait(math.inf)
            self.bell.ring()
            await anyio.sleep(NUDGE_SECONDS)

    def _say(self, problem: str) -> None:
        """Keep why the socket is not open; log it when it is news."""
        self.status.socket = problem
        if problem != self._said:
            self._said, self._news = problem, True
            log.info("not woken by the server, polling goes on: %s", problem)

    def _wait_after(self, fault: ServerError) -> float:
        if isinstance(fault, ServerRefused) and fault.status in LOCKED_OUT:
            return REFUSED_SECONDS
        if _is_final(fault.status):
            return self.uniform(*NEVER_SECONDS)
        asked = fault.retry_after if isinstance(fault, ServerUnavailable) else 0.0
        return asked + self._back_off()

    def _back_off(self) -> float:
        ceiling = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return self.uniform(0.0, ceiling)


def _is_final(status: int | None) -> bool:
    """Whether whoever answers there is not likely to say anything else soon."""
    if status is None or status in RETRYABLE:
        return False
    return status < 500 or status == NOT_IMPLEMENTED
