"""How an agent ends. Stop is not cancel.

The first SIGTERM, SIGINT or SIGHUP drains: nothing new is begun, what runs is finished, the spool
is tried once more. The second cancels what runs. The third ends the process at once.
"""

import logging
import os
import signal
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from functools import partial
from types import FrameType
from typing import Final, NoReturn

import anyio

from rediver_agent.executor import Cause, Executor

log = logging.getLogger(__name__)

SECOND_SIGNAL_EXIT: Final = 3  # and the third's
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ending(Enum):
    """Why an agent has ended."""

    DRAINED = auto()
    CANCELLED = auto()
    RESTART = auto()


@dataclass(slots=True)
class Stop:
    """Whether, why and how soon an agent ends."""

    ending: Ending = Ending.DRAINED
    grace: timedelta | None = None
    working: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def request(self, ending: Ending, grace: timedelta | None = None) -> None:
        """Begin nothing new; end when what runs is done, or after the grace period.

        Without one that is `agent.drain_seconds`. The last request counts, but a restart never
        comes after a signal.
        """
        if ending is Ending.RESTART and self.working.cancel_called:
            return
        self.ending, self.grace = ending, grace
        self.working.cancel()


async def listen_for_signals(stop: Stop, executor: Executor) -> None:
    """Drain, cancel, exit: as often as it is told."""
    heeded = [number for number in SIGNALS if not _by_nohup(number)]
    try:
        with anyio.open_signal_receiver(*heeded) as signals:
            await anext(signals)
            log.info("draining: what runs is finished; a second signal cancels it")
            stop.request(Ending.DRAINED)
            await anext(signals)
            log.warning("cancelling what runs; a third signal ends the agent at once")
            stop.ending = Ending.CANCELLED
            executor.cancel_all(Cause.STOPPING)
            await anext(signals)
            os._exit(SECOND_SIGNAL_EXIT)  # the supervisors end their tools when we are gone
    finally:
        # All is over but the last moments, in which a signal must not look like a crash.
        code = SECOND_SIGNAL_EXIT if stop.ending is Ending.CANCELLED else 0
        for number in heeded:
            signal.signal(number, partial(_end, code))


def _end(code: int, _number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(code)


def _by_nohup(number: signal.Signals) -> bool:
    """Whether the agent was started so that a terminal's end is not its own."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
