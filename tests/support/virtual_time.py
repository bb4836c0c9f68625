"""An event loop whose clock jumps to the next timer instead of waiting for it.

Threads that tasks wait for are waited for, and so are sockets: as long as both their ends are in
this loop, the kernel has nothing on the way when there is nothing to read. So a day without a
server takes as long as its calls do.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import anyio.to_thread

START = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Real sockets and threads, virtual seconds."""

    def __init__(self) -> None:
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        self._elapsed = 0.0
        self._really_select = selector.select
        selector.select = self._select
        self.threads: anyio.CapacityLimiter | None = None

    def time(self) -> float:
        return self._elapsed

    def now(self) -> datetime:
        """The wall clock that goes with it."""
        return START + timedelta(seconds=self._elapsed)

    def _select(self, timeout: float | None = None):
        events = self._really_select(0)
        if events or timeout == 0:
            return events
        if timeout is None or (self.threads and self.threads.borrowed_tokens):
            return self._really_select(1)
        self._elapsed += timeout
        return events


def run(main: Callable[[VirtualTimeLoop], Awaitable[None]]) -> None:
    """Run `main` in such a loop."""

    async def begin() -> None:
        loop = asyncio.get_running_loop()
        loop.threads = anyio.to_thread.current_default_thread_limiter()
        await main(loop)

    anyio.run(begin, backend_options={"loop_factory": VirtualTimeLoop})
