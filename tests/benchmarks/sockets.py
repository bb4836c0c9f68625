"""Idle WebSockets in one process: memory of each, CPU of all, and a wake-up for all of them.

Rediver's are of one source, so that one command for it is one nudge to all: it is created by POST,
stored, and then they are told. A bare server has its `POST /notify`, which stores nothing.
"""

import asyncio
import os
import resource
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bare import flask_sockets, starlette_sockets
from load import http_request
from programs import SHARED, cpu_seconds, port_of, pss, threads
from record import Run
from rediver_process import Database, rediver

_WARM: Final = 50  # sockets before the first look: what is loaded once is loaded
_AT_ONCE: Final = 50
_WAIT_SECONDS: Final = 60
_SETTLE_SECONDS: Final = 1
_FAN_OUTS: Final = 9
_UPGRADE: Final = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@dataclass(frozen=True)
class Served:
    """A server, and how it is asked for a socket and for a word to all."""

    pid: int
    port: int
    path: str
    key: str
    tell: bytes


def idle(bench: Run, databases: Iterable[Database]) -> None:
    """Each server in turn, every round."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for number in range(1, bench.size.socket_rounds + 1):
        for database in databases:
            kind = database.worker_class
            _measure(bench, f"Rediver on {database.name} ({kind})", number, database)
            _measure(bench, f"flask-sock ({kind})", number, database)
        _measure(bench, "starlette on uvicorn", number, None)


def _measure(bench: Run, name: str, number: int, database: Database | None) -> None:
    if not name.startswith("Rediver") and not SHARED.is_dir():
        bench.miss(f"{name}: ../shared/bench is not there")
        return
    with bench.peer(name), ExitStack() as stack:
        served = _start(stack, name, database)
        bench.add("sockets", name, number, asyncio.run(_drive(bench, served)))


def _start(stack: ExitStack, name: str, database: Database | None) -> Served:
    if database is not None and name.startswith("Rediver"):
        server = stack.enter_context(rediver(database))
        path, key = "/api/v1/agents/ws", server.source["api_key"]
        tell = http_request("POST", "/api/v1/commands", server.order(), server.tenant["api_key"])
        return Served(server.process.pid, server.port, path, key, tell)
    bare = starlette_sockets() if database is None else flask_sockets(database)
    process = stack.enter_context(bare)
    port = port_of(process, Path(os.environ["BENCH_TMP"]) / "bare.log")
    return Served(process.pid, port, "/ws", "", http_request("POST", "/notify"))


async def _drive(bench: Run, served: Served) -> dict[str, float]:
    crowd, count, seconds = Crowd(served), bench.size.sockets, bench.size.socket_idle_seconds
    await crowd.grow(_WARM)
    await asyncio.sleep(_SETTLE_SECONDS)  # a bare server enters a socket after its upgrade
    await crowd.tell()
    await asyncio.sleep(_SETTLE_SECONDS)
    before = pss(served.pid)
    row = {"connect_s": await crowd.grow(count)}
    await asyncio.sleep(_SETTLE_SECONDS)
    row["kib"] = (pss(served.pid) - before) / (count - _WARM) / 1024
    spent, began = cpu_seconds(served.pid), time.perf_counter()
    await asyncio.sleep(seconds)
    spent = cpu_seconds(served.pid) - spent
    row["idle_cpu_percent"] = spent / (time.perf_counter() - began) * 100
    row["last_ms"] = median([await crowd.tell() for _ in range(_FAN_OUTS)])
    row["threads"] = threads(served.pid)
    row["lost"] = crowd.lost
    crowd.close()
    if row["lost"]:
        raise RuntimeError(f"{row['lost']} of {count} sockets were closed")
    return row


class Crowd:
    """Many open sockets, and what they hear."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.lost = 0
        self.open: list[_Ear] = []
        self.heard: list[float] = []
        self.all_heard = asyncio.Event()

    async def grow(self, count: int) -> float:
        """Open sockets until there are so many. Returns how long that took."""
        began = time.perf_counter()
        while len(self.open) < count:
            more = min(_AT_ONCE, count - len(self.open))
            self.open += await asyncio.gather(*(self._one() for _ in range(more)))
        return time.perf_counter() - began

    async def _one(self) -> "_Ear":
        loop = asyncio.get_running_loop()
        _, ear = await loop.create_connection(lambda: _Ear(self), "127.0.0.1", self.served.port)
        async with asyncio.timeout(_WAIT_SECONDS):
            await ear.upgraded
        return ear

    async def tell(self) -> float:
        """Have all told. Returns the milliseconds until the last of them has heard it."""
        self.heard.clear()
        self.all_heard.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.served.port)
        began = time.perf_counter()
        writer.write(self.served.tell)
        async with asyncio.timeout(_WAIT_SECONDS):
            await self.all_heard.wait()
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return (max(self.heard) - began) * 1e3

    def hear(self) -> None:
        """One of them has heard something."""
        self.heard.append(time.perf_counter())
        if len(self.heard) >= len(self.open):
            self.all_heard.set()

    def close(self) -> None:
        """Let go of all."""
        for ear in self.open:
            ear.transport.abort()


class _Ear(asyncio.Protocol):
    """One socket. It answers pings, and reads no message: that there is one is all."""

    transport: asyncio.Transport

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.head = b""
        self.upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        served = self.crowd.served
        key = f"Authorization: Bearer {served.key}\r\n" if served.key else ""
        head = f"GET {served.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{_UPGRADE}{key}\r\n"
        transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        if not self.upgraded.done():
            self.head += data
            head, ended, data = self.head.partition(b"\r\n\r\n")
            if not ended:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.upgraded.set_exception(RuntimeError(f"no upgrade: {self.head[:300]!r}"))
                return
            self.upgraded.set_result(None)
        while data:  # frames of a server are small and have no mask
            kind, length = data[0] & 0x0F, data[1]
            if kind == 0x9:
                self.transport.write(bytes([0x8A, 0x80 | length]) + bytes(4) + data[2 : 2 + length])
            elif kind == 0x1:
                self.crowd.hear()
            data = data[2 + length :]

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.lost += 1
        if not self.upgraded.done():
            self.upgraded.set_exception(exc or ConnectionError("closed before the upgrade"))
