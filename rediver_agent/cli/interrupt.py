"""Ends a one-shot command by any of the usual signals as by Ctrl-C: everything is cleaned up."""

import signal
from types import FrameType


def end_as_by_ctrl_c() -> None:
    """From now on SIGTERM and a closed terminal undo what has begun, tools and files included."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Not by raising KeyboardInterrupt wherever the program stands: a plugin's code may stand
        # there, and it would look like a fault of its own. SIGINT cancels what runs in a loop.
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)
