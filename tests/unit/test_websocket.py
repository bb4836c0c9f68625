"""The agent's socket and what comes through it: nudges, nonsense, silence, too much of anything."""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from itertools import pairwise

import anyio
import httpcore
import pytest
import virtual_time
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Ping, Pong, TextMessage
from wsproto.utilities import generate_accept_token

from rediver_agent.client import Client
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.notify import NotifyLoop
from rediver_agent.settings import ServerSection
from rediver_agent.status import Status
from rediver_agent.websocket import FLOOD, MAX_MESSAGE, Session

AVAILABLE = TextMessage('{"type": "command_available"}')
CANCELLED = TextMessage('{"type": "command_cancelled", "command_id": "cmd_1"}')
UNAUTHORIZED = json.dumps({"error": {"code": "UNAUTHORIZED", "message": "no such key"}})


class FakeServer:
    """Upgrades whoever asks and hands the connection to the test; or answers with `refusal`."""

    def __init__(self):
        self.connections = asyncio.Queue()
        self.refusal = None
        self.token = generate_accept_token
        self.asked_at = []
        self.writers = []

    @asynccontextmanager
    async def listening(self):
        async with await asyncio.start_server(self._connected, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield
            for writer in self.writers:
                writer.transport.abort()
            await anyio.sleep(0.1)

    async def _connected(self, reader, writer):
        self.writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked_at.append(anyio.current_time())
        self.head = head
        if self.refusal is not None:
            status, kind, body = self.refusal
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                f"Connection: close\r\n\r\n{body}".encode()
            )
            writer.close()
            return
        key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + self.token(key) + b"\r\n\r\n"
        )
        await self.connections.put(Peer(reader, writer))


class Peer:
    """The server's end of one socket."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.protocol = Connection(ConnectionType.SERVER)

    def say(self, *events):
        for event in events:
            self.writer.write(self.protocol.send(event))

    def close(self):
        self.writer.close()


class Heard:
    """A notify loop with everything that it does to the rest of the agent."""

    def __init__(self, client, loop):
        self.bell = Doorbell()
        self.rings = Counter()
        self.cancelled = asyncio.Queue()
        self.status = Status(loop.now(), "server-controlled")
        self.notify = NotifyLoop(client, self.bell, self.cancelled.put_nowait, self.status)

    async def count_rings(self):
        while True:
            await self.bell.wait(float("inf"))
            self.rings[round(anyio.current_time(), 2)] += 1


def with_loop(test):
    """Run a test in virtual time, with a running notify loop and its fake server."""

    def wrapped():
        async def main(loop):
            server = FakeServer()
            async with server.listening():
                section = ServerSection(
                    base_url=f"http://127.0.0.1:{server.port}",
                    api_key="rs_src_x",
                    source_id="src_1",
                )
                async with Client(section, now=loop.now) as client:
                    await test(server, Heard(client, loop))

        virtual_time.run(main)

    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    return wrapped


@asynccontextmanager
async def running(heard):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(heard.notify.run)
        tasks.start_soon(heard.count_rings)
        yield
        tasks.cancel_scope.cancel()


@with_loop
async def test_a_socket_is_asked_for_with_the_headers_of_every_call_and_without_compression(
    server, heard
):
    async with running(heard):
        (await server.connections.get()).close()
        head = server.head.decode()

    assert head.startswith("GET /api/v1/agents/ws HTTP/1.1\r\n")
    assert "Authorization: Bearer rs_src_x\r\n" in head
    assert "X-Rediver-Source-ID: src_1\r\n" in head
    assert "X-Rediver-Contract: 1\r\n" in head
    assert "extensions" not in head.lower()


@with_loop
async def test_the_bell_rings_once_on_connecting_and_for_each_kind_of_nudge(server, heard):
    async with running(heard):
        peer = await server.connections.get()
        await anyio.sleep(1)
        assert (heard.status.socket, heard.rings.total()) == ("open", 1)
        for nudge in (AVAILABLE, TextMessage('{"type": "config_update"}')):
            before = heard.rings.total()
            peer.say(nudge)
            await anyio.sleep(1)
            assert heard.rings.total() == before + 1
        peer.say(CANCELLED)
        assert await heard.cancelled.get() == "cmd_1"


NONSENSE = {
    "an unknown type": TextMessage('{"type": "party"}'),
    "no object": TextMessage("17"),
    "no JSON": TextMessage("{"),
    "a cancel of nothing": TextMessage('{"type": "command_cancelled", "command_id": 5}'),
    "deep": TextMessage("[" * (MAX_MESSAGE - 1)),
    "binary": BytesMessage(b"\x00\xff"),
    "an unasked pong": Pong(b"hi"),
    "a ping": Ping(b"hi"),
}


@with_loop
async def test_nonsense_is_passed_over_and_the_next_nudge_is_heard(server, heard):
    async with running(heard):
        peer = await server.connections.get()
        peer.say(*NONSENSE.values(), CANCELLED)

        assert await heard.cancelled.get() == "cmd_1"
        assert len(server.asked_at) == 1, "the connection has stood"


@pytest.mark.parametrize("kind", [TextMessage, BytesMessage])
def test_a_message_without_end_ends_the_connection_and_not_the_loop(kind):
    data = "x" * 1000 if kind is TextMessage else b"x" * 1000

    @with_loop
    async def test(server, heard):
        async with running(heard):
            peer = await server.connections.get()
            peer.say(*[kind(data, message_finished=False) for _ in range(50)])
            (await server.connections.get()).say(CANCELLED)

            assert await heard.cancelled.get() == "cmd_1"

    test()


@with_loop
async def test_a_flood_of_nudges_is_no_flood_of_polls(server, heard):
    async with running(heard):
        peer = await server.connections.get()
        peer.say(*[AVAILABLE] * 2000, CANCELLED)
        await heard.cancelled.get()
        await anyio.sleep(5)

    moments = sorted(heard.rings)
    assert 1 <= len(moments) <= 3, heard.rings
    assert all(later - earlier >= 0.25 for earlier, later in pairwise(moments))


@pytest.mark.parametrize("event", [Ping(), TextMessage("", message_finished=False), CANCELLED])
def test_a_server_that_never_stops_talking_takes_no_core(event):
    @with_loop
    async def test(server, heard):
        async with running(heard):
            peer = await server.connections.get()
            peer.say(*[event] * (FLOOD + 1))
            await server.connections.get()

        assert "things in 10 s" in heard.notify._said

    test()


@with_loop
async def test_a_server_that_falls_silent_is_asked_and_then_left(server, heard):
    async with running(heard):
        await server.connections.get()  # it never answers a ping
        await server.connections.get()

    assert 35 <= server.asked_at[1] <= 36.1
    assert "did not answer within 10 s" in heard.notify._said


@with_loop
async def test_a_server_that_answers_pings_is_kept_for_a_day(server, heard):
    async def answer(peer):
        while data := await peer.reader.read(4096):
            peer.protocol.receive_data(data)
            peer.say(*[event.response() for event in peer.protocol.events()])

    async with running(heard), anyio.create_task_group() as tasks:
        tasks.start_soon(answer, await server.connections.get())
        await anyio.sleep(86_400)
        assert (heard.status.socket, len(server.asked_at)) == ("open", 1)
        tasks.cancel_scope.cancel()


@with_loop
async def test_a_server_that_hangs_up_at_once_is_tried_ever_more_rarely(server, heard):
    async with running(heard), anyio.create_task_group() as tasks:

        async def hang_up():
            while True:
                (await server.connections.get()).close()

        tasks.start_soon(hang_up)
        await anyio.sleep(3600)
        tasks.cancel_scope.cancel()

    assert 60 <= len(server.asked_at) <= 240, "one every 30 s on the average, and never given up"


@pytest.mark.parametrize(
    ("refusal", "least", "most"),
    [
        (("401 Unauthorized", "application/json", UNAUTHORIZED), 59, 61),
        (("426 Upgrade Required", "text/html", "<html>no</html>"), 5, 12),
        (("404 Not Found", "text/html", ""), 5, 12),
        (("200 OK", "text/html", "<html>Please log in</html>"), 5, 12),
        (("403 Forbidden", "text/html", "<html>blocked</html>"), 5, 12),
        (("503 Service Unavailable", "text/html", "busy"), 60, 240),
    ],
)
def test_how_often_an_hour_a_socket_that_is_refused_is_asked_for(refusal, least, most, caplog):
    @with_loop
    async def test(server, heard):
        server.refusal = refusal
        caplog.set_level("INFO", logger="rediver_agent")
        async with running(heard):
            await anyio.sleep(3600)
        assert least <= len(server.asked_at) <= most
        assert refusal[0][:3] in heard.status.socket or "no such key" in heard.status.socket

    test()
    assert sum("polling goes on" in record.message for record in caplog.records) == 1


@with_loop
async def test_what_only_seems_to_be_a_websocket_is_none(server, heard):
    server.token = lambda _key: b"wrong"
    async with running(heard):
        await anyio.sleep(1)
    assert "speaks no WebSocket" in heard.status.socket
    assert heard.rings.total() == 0


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.builds(
                lambda first, size, payload: bytes([first, size]) + payload,
                st.integers(0, 255), st.integers(0, 127), st.binary(max_size=130),
            ),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_any_bytes_at_all_come_to_an_end_and_say_why(chunks):
    async def main():
        stream = httpcore.AsyncMockStream([chunk for chunk in chunks if chunk])
        return await Session(stream, lambda _: None).read()

    assert anyio.run(main)
