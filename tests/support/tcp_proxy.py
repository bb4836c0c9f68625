"""A network that a test can break: real TCP on loopback, between an agent and its server.

`Proxy` passes bytes on to a port, with TLS in front of it if asked to; its faults are switched on
and off while it runs and hold for open connections too. `ForwardProxy` is one that HTTPS_PROXY
names. Both run in a thread of their own and are ended by `close`.
"""

import asyncio
import ssl
import struct
import threading
from base64 import b64encode
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET

CHUNK = 65536
RESET = struct.pack("ii", 1, 0)  # linger for no time: the peer gets a reset, not an end
HTML = b"<html><body>Please log in to the network</body></html>"


def reply(status: str, body: bytes = HTML, **headers: object) -> bytes:
    """A whole HTTP reply that ends its connection. Header names are written with `_` for `-`."""
    told = {"Content-Type": "text/html", "Content-Length": len(body), "Connection": "close"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


class Proxy:
    """Passes bytes between whoever connects to `port` and another port of this machine."""

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.tls = tls
        self.port = 0
        self.requests: list[str] = []
        """The first line of each request that has come."""
        self.heal()
        self._connections: dict[asyncio.Task, asyncio.StreamWriter] = {}
        self._dead: set[asyncio.Task] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()

    # -- faults ---------------------------------------------------------------------------------

    def heal(self) -> None:
        """The network is well again. Connections that were cut stay so; frozen ones go on."""
        self.frozen = False  # bytes vanish in both ways, connections stay: half-open, a black hole
        self.answer: bytes | None = None  # said instead of the server to each request
        self.no_upgrade: bytes | None = None  # said to each request for another protocol
        self.delay = 0.0  # seconds, for each piece
        self.cut_request_after: int | None = None  # bytes of a piece, then a reset
        self.cut_reply_after: int | None = None
        self.garbled = False  # every byte comes as another

    def listen(self) -> None:
        """Take connections, on the port of before if there was one."""
        self._server = self._do(
            asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self.tls)
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Nobody listens any more, and what was open is reset."""
        self._do(self._refuse())

    def freeze_open(self) -> None:
        """What is open now is dead and does not know it; new connections are well."""
        self._do(self._freeze_open())

    @property
    def upgrades(self) -> int:
        """How many requests for a WebSocket have come."""
        return sum("/agents/ws" in line for line in self.requests)

    def close(self) -> None:
        """End it, and everything that goes through it."""
        self.refuse()
        self._do(self._turn())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- inside ---------------------------------------------------------------------------------

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _refuse(self) -> None:
        self._server.close()
        ended = dict(self._connections)
        for task, writer in ended.items():
            task.cancel()
            _reset(writer)
        await asyncio.gather(*ended, return_exceptions=True)

    async def _turn(self) -> None:
        """What was aborted is closed some turns of the loop later."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def _freeze_open(self) -> None:
        self._dead |= set(self._connections)

    def _accept(self, reader, writer) -> None:
        self._connections[self._loop.create_task(self._connected(reader, writer))] = writer

    async def _connected(self, reader, writer) -> None:
        task = asyncio.current_task()
        in_order = False
        try:
            with suppress(OSError, EOFError):
                in_order = await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # by `refuse`: this task is nobody else's
        finally:
            self._connections.pop(task, None)
            self._dead.discard(task)
            writer.close() if in_order else _reset(writer)

    async def _serve(self, reader, writer) -> bool:
        away, back = await asyncio.open_connection("127.0.0.1", self.target)
        return await self._join(reader, writer, away, back)

    async def _join(self, reader, writer, away, back) -> bool:
        """Both ways, until one of them ends. Returns whether it ended as its peers wanted."""
        connection = asyncio.current_task()
        ways = [
            asyncio.create_task(self._pump(connection, reader, back, writer)),
            asyncio.create_task(self._pump(connection, away, writer, None)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            return all(not way.exception() and way.result() for way in done)
        finally:
            back.transport.abort()  # first: what follows may itself be cancelled
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, connection, reader, writer, answer_to) -> bool:
        """One way. `answer_to` is where replies go, for the way that requests take."""
        while data := await reader.read(CHUNK):
            if answer_to is not None:
                self._note(data)
            if self.frozen or connection in self._dead:
                continue
            if self.delay:
                await asyncio.sleep(self.delay)
            if answer_to is not None and (said := self._instead(data)) is not None:
                answer_to.write(said)
                while await reader.read(CHUNK):  # what is unread would make a reset of the end
                    pass
                return True
            if self.garbled:
                data = bytes(byte ^ 1 for byte in data)
            cut = self.cut_reply_after if answer_to is None else self.cut_request_after
            writer.write(data[:cut])
            await writer.drain()
            if cut is not None:
                return False
        if self.frozen or connection in self._dead:
            await asyncio.Event().wait()  # the end is lost on the way, too
        return True

    def _note(self, data: bytes) -> None:
        line, _, rest = data.partition(b"\r\n")
        if line.endswith(b"HTTP/1.1") and rest:
            self.requests.append(line.decode("latin-1"))

    def _instead(self, data: bytes) -> bytes | None:
        if b" HTTP/1.1\r\n" not in data:
            return None
        if self.no_upgrade is not None and b"\r\nupgrade: websocket" in data.lower():
            return self.no_upgrade
        return self.answer


class ForwardProxy(Proxy):
    """One that HTTP_PROXY and HTTPS_PROXY name. With `credentials` it wants `user:password`."""

    def __init__(self, credentials: str = "") -> None:
        self.wanted = b"Basic " + b64encode(credentials.encode()) if credentials else b""
        super().__init__(0)

    async def _serve(self, reader, writer) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        self._note(head)
        if self.wanted not in head:
            writer.write(reply("407 Proxy Authentication Required", Proxy_Authenticate="Basic"))
            return True
        method, url, _ = head.split(b" ", 2)
        place = url if method == b"CONNECT" else url.split(b"/")[2]
        away, back = await asyncio.open_connection("127.0.0.1", int(place.rpartition(b":")[2]))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            back.write(head)
        return await self._join(reader, writer, away, back)


def _reset(writer) -> None:
    """End a connection so that its peer notices."""
    connection = writer.get_extra_info("socket")
    if connection is not None:  # of TLS that has ended there is none
        with suppress(OSError):
            connection.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    writer.transport.abort()
