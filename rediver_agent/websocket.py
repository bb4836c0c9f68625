"""The socket by which the server wakes this agent: opened, read to its end, and let go.

It goes the way of every other call (headers, TLS, proxy), and nothing that comes through it is
trusted: what is too long ends the connection, what is no message is passed over. wsproto speaks
the protocol over httpx's own connection; httpx-ws, which would do both, has no limit for a message
and falls over a pong that nobody asked for. No compression is offered, so none is taken.
"""

import json
import ssl
from collections.abc import Callable
from typing import Any, Final

import anyio
import httpcore
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError, generate_accept_token, generate_nonce

from rediver_agent.client import Client
from rediver_agent.contract import routes
from rediver_agent.errors import ServerUnavailable

PING_SECONDS: Final = 25.0  # without a word from the server
PONG_SECONDS: Final = 10.0  # then it is dead
SEND_SECONDS: Final = 10.0  # we say a few bytes now and then; a full buffer is a dead peer
MAX_MESSAGE: Final = 16 << 10  # the contract's are below 300 bytes
CHUNK: Final = 4 << 10
FLOOD: Final = 4000  # frames, or pieces of one, within FLOOD_SECONDS: nudges are merged, and few
FLOOD_SECONDS: Final = 10.0


async def listen(client: Client, opened: Callable[[], None], hear: Callable[[object], None]) -> str:
    """Open the socket, call `opened`, and `hear` with each JSON document that comes.

    Returns why it ended. Raises `ServerError` if it could not be opened.
    """
    nonce = generate_nonce()
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": nonce.decode(),
    }
    async with client.upgrade(routes.WEBSOCKET, headers) as response:
        accepted = response.headers.get("Sec-WebSocket-Accept", "")
        if accepted.encode() != generate_accept_token(nonce):
            raise ServerUnavailable(
                f"what answers at {response.request.url} speaks no WebSocket",
                status=response.status_code,
            )
        opened()
        return await Session(response.extensions["network_stream"], hear).read()


class Session:
    """One open socket over a stream of bytes."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, hear: Callable[[object], None]) -> None:
        self._stream = stream
        self._hear = hear
        self._protocol = Connection(ConnectionType.CLIENT)
        self._text = ""
        self._frames, self._since = 0, anyio.current_time()

    async def read(self) -> str:
        """Read until either side ends it. Returns why."""
        try:
            while data := await self._bytes():
                self._protocol.receive_data(data)
                for event in self._protocol.events():
                    if self._floods():
                        await self._send(CloseConnection(CloseReason.POLICY_VIOLATION))
                        return f"the server said more than {FLOOD} things in {FLOOD_SECONDS:.0f} s"
                    if isinstance(event, CloseConnection):
                        await self._send(event.response())
                        return f"the server closed the socket ({event.reason or int(event.code)})"
                    if not await self._take(event):
                        await self._send(CloseConnection(CloseReason.MESSAGE_TOO_BIG))
                        return f"the server sent a message of more than {MAX_MESSAGE >> 10} KiB"
        except httpcore.TimeoutException:
            return f"the server did not answer within {PONG_SECONDS:.0f} s"
        except (httpcore.NetworkError, ProtocolError, ssl.SSLError) as fault:
            return f"the connection broke ({str(fault) or type(fault).__name__})"
        return "the connection was closed"

    async def _bytes(self) -> bytes:
        """What comes next. A silent peer is asked whether it lives; any byte says that it does."""
        try:
            return await self._stream.read(CHUNK, PING_SECONDS)
        except httpcore.ReadTimeout:
            await self._send(Ping())
            return await self._stream.read(CHUNK, PONG_SECONDS)

    def _floods(self) -> bool:
        """Whether so much comes, of whatever kind, that reading it would take all of a core."""
        if anyio.current_time() - self._since > FLOOD_SECONDS:
            self._frames, self._since = 0, anyio.current_time()
        self._frames += 1
        return self._frames > FLOOD

    async def _send(self, event: Event) -> None:
        await self._stream.write(self._protocol.send(event), SEND_SECONDS)

    async def _take(self, event: Event) -> bool:
        """Act on an event. False if it makes a message too long; the pieces of one are counted."""
        if isinstance(event, Ping):
            await self._send(event.response())
        elif isinstance(event, BytesMessage):  # the contract has none: nothing of it is kept
            return len(event.data) <= MAX_MESSAGE
        elif isinstance(event, TextMessage):
            self._text += event.data
            if len(self._text) > MAX_MESSAGE:
                return False
            if event.message_finished:
                text, self._text = self._text, ""
                self._hear(_document(text))
        return True


def _document(text: str) -> Any:
    """The JSON of a message; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
