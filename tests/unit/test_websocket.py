"""The agent's socket and what comes through it: nudges, nonsense, silence, too much."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.frame_protocol import FrameProtocol
from wsproto.utilities import generate_accept_token

from rediver_agent.client import Client
from rediver_agent.loops import notify
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.notify import NotifyLoop
from rediver_agent.settings import ServerSection
from rediver_agent.status import Status
from rediver_agent.websocket import MAX_MESSAGE, Session

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AVAILABLE = TextMessage('{"type": "command_available"}')


class FakeServer:
    """Upgrades whoever asks, and leaves the rest to the test: `sockets` hands out (send, read)."""

    def __init__(self):
        self.sockets = asyncio.Queue()
        self.refusal = b""
        self.asked = 0

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()

    async def _connected(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        self.asked += 1
        self.head = head
        if self.refusal:
            writer.write(self.refusal)
            writer.close()
            return
        raw = head.partition("sec-websocket-key: ")[2].partition("\r\n")[0]
        key = next(value for value in [raw] if value)
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + self.token(key.encode()) + b"\r\n\r\n"
        )
        await self.sockets.put((writer, reader))

    def token(self, key):
        return generate_accept_token(key)
