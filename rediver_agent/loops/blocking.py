"""Says who blocks the event loop: a plugin that waits there without `await` stops everybody.

Nothing can end it but itself, or systemd's watchdog; what can be done is to name the line.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

log = logging.getLogger(__name__)

SECONDS: Final = 10.0  # without a turn of the loop; also between two looks


@contextmanager
def blocking_is_told(seconds: float = SECONDS) -> Generator[None]:
    """While it is open, a loop that stands still is an error in the log, with the line it is at.

    To be opened in the thread of the running event loop.
    """
    over = threading.Event()
    watched = asyncio.get_running_loop(), threading.get_ident()
    threading.Thread(target=_watch, args=(*watched, over, seconds), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(
    loop: asyncio.AbstractEventLoop, thread: int, over: threading.Event, seconds: float
) -> None:
    while not over.wait(seconds):
        turned = threading.Event()
        began = time.monotonic()
        try:
            loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # it is closed: the agent has ended
            return
        if turned.wait(seconds) or over.is_set():
            continue
        log.error(
            "the agent stands still since %.0f s: this does not let go, and belongs into "
            "anyio.to_thread:\n%s",
            time.monotonic() - began,
            _where(thread),
        )
        turned.wait()
        log.warning("the agent goes on after %.0f s", time.monotonic() - began)


def _where(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage] - documented
    return "".join(traceback.format_stack(frame)[-6:]).rstrip() if frame else "nobody knows where"
