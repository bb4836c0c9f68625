"""Reads a request's body that may be too long, too slow or without end, in bounded memory."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import anyio

from rediver_webhook._delivery import Refused

Receive = Callable[[], Awaitable[Any]]

BODY_SECONDS: Final = 10.0  # GitHub itself gives up after that
MOST_HELD: Final = 64 << 20  # bytes of all bodies that are being read: nobody has signed them yet
DRAIN_SECONDS: Final = 0.5
DRAIN_BYTES: Final = 32 << 20


class Bodies:
    """All bodies that are being read."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0

    async def read(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> bytes:
        """One body. Raises `Refused`; one that is cut off is refused to nobody."""
        for name, value in headers:
            # It has as many digits as h11 lets it have, and stands for what it says alone.
            if name == b"content-length" and int(value) > self._max_bytes:
                raise self._too_long()
        chunks: list[bytes] = []
        held = 0
        try:
            with anyio.fail_after(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "cut off", "the body was cut off")
                    chunk: bytes = message.get("body", b"")
                    held += len(chunk)
                    self._held += len(chunk)
                    if held > self._max_bytes:
                        raise self._too_long()
                    if self._held > max(MOST_HELD, 2 * self._max_bytes):
                        raise Refused(503, "not kept", "too many bodies at once; send it again")
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise Refused(
                408, "too slow", f"the body was not there after {BODY_SECONDS:.0f} s"
            ) from None
        finally:
            self._held -= held

    def _too_long(self) -> Refused:
        return Refused(413, "too long", f"the body has more than {self._max_bytes} bytes")


async def drain(receive: Receive) -> None:
    """Take in for a moment what is still being sent: a closed door would cost whoever sends it the
    answer.
    """
    taken = 0
    with suppress(TimeoutError), anyio.fail_after(DRAIN_SECONDS):
        while taken < DRAIN_BYTES:
            message = await receive()
            taken += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return
