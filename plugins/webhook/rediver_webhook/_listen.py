"""Holds the door: a listening socket with uvicorn behind it, in the agent's event loop.

It comes without uvicorn's signal handlers, logging configuration and access log, and goes without
a trace: when `listen` is cancelled no socket and no task is left, and what was being answered has
been answered. Strangers can hold a bounded number of connections for a bounded time.
"""

import asyncio
import os
import sqlite3
import ssl
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, AF_INET6, create_server, socket
from typing import Any, Final

import anyio
from typing_extensions import override
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from rediver_agent import ListenContext, ToolError
from rediver_webhook._app import App
from rediver_webhook._body import BODY_SECONDS, Bodies
from rediver_webhook._counts import Counts
from rediver_webhook._deliveries import Deliveries

HEAD_SECONDS: Final = 10.0
HEAD_BYTES: Final = 16 << 10  # GitHub's has 1 KiB
MOST_REQUESTS: Final = 64  # more are answered 503
MOST_CONNECTIONS: Final = 128  # more are not answered: each costs the agent a descriptor
BACKLOG: Final = 128
TELL_SECONDS: Final = 60.0
NO_PASSPHRASE: Final = "there is none"  # noqa: S105 - it opens nothing


@dataclass(frozen=True, slots=True)
class Door:
    """Where, and for whom."""

    host: str
    port: int
    path: str
    certificate: Path | None
    private_key: Path | None
    secrets: Sequence[bytes]
    repositories: Sequence[str] | None
    max_body_bytes: int


class _Impatient(H11Protocol):
    """HTTP for strangers: whoever has no request to make, or makes it too slowly, is let go."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] - as uvicorn's own
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self.loop.call_later(HEAD_SECONDS, self._let_go_without_request)

    def _let_go_without_request(self) -> None:
        if self.cycle is None:  # pyright: ignore[reportUnnecessaryComparison] - None before the first request
            self.transport.abort()


class _Uvicorn(Server):
    """uvicorn as a part of a process that has signal handlers of its own."""

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def listen(door: Door, ctx: ListenContext) -> None:
    """Take deliveries until cancelled. Raises `ToolError` where the door cannot be opened."""
    counts = Counts()
    with (
        closing(_bound(door)) as listening,
        closing(_remembered(ctx.cache_dir / "deliveries.sqlite3")) as deliveries,
    ):
        app = App(
            path=door.path,
            secrets=door.secrets,
            repositories=door.repositories,
            bodies=Bodies(door.max_body_bytes),
            deliveries=deliveries,
            counts=counts,
            ctx=ctx,
        )
        server = _server(app, door)
        where = _address(door, listening)
        ctx.log.info("webhook: listening on %s", where)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_serve, server, listening)
            await _tell(ctx, where, counts, server)


async def _serve(server: Server, listening: socket) -> None:
    """Not cancelled but asked to end: uvicorn closes its connections only then."""
    with anyio.CancelScope(shield=True):
        await server.serve(sockets=[listening])


async def _tell(ctx: ListenContext, where: str, counts: Counts, server: Server) -> None:
    """How it goes, now and then, until cancelled."""
    said = f"listening on {where}"
    ctx.progress(None, said)
    try:
        while True:
            await anyio.sleep(TELL_SECONDS)
            if news := counts.news():
                ctx.progress(None, f"{said}: {news}")
                ctx.log.info("webhook: since the start: %s", news)
    finally:
        server.should_exit = True
        if news := counts.news():
            ctx.log.info("webhook: until the end: %s", news)


def _server(app: App, door: Door) -> Server:
    config = Config(
        app,  # pyright: ignore[reportArgumentType] - ASGI by its shape
        interface="asgi3",
        http=_Impatient,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # its warnings are strangers' to cause
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=MOST_REQUESTS,
        timeout_graceful_shutdown=round(BODY_SECONDS),
        h11_max_incomplete_event_size=HEAD_BYTES,
        ssl_certfile=door.certificate,
        ssl_keyfile=door.private_key,
        # Else OpenSSL asks for one at the terminal, and the whole agent waits for the answer.
        ssl_keyfile_password=NO_PASSPHRASE,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as fault:
        raise ToolError(
            f"webhook: TLS with {door.certificate} does not work: {fault}; mend tls_certfile or "
            "tls_keyfile (a key that needs a passphrase cannot be used)"
        ) from fault
    return _Uvicorn(config)


def _remembered(path: Path) -> Deliveries:
    try:
        return Deliveries(path, time.time)
    except (sqlite3.Error, OSError) as fault:
        raise ToolError(f"webhook: {path} cannot be used: {fault}; mend that") from fault


def _bound(door: Door) -> socket:
    family = AF_INET6 if ":" in door.host else AF_INET
    try:
        return create_server((door.host, door.port), family=family, backlog=BACKLOG)
    except OSError as fault:
        # Python says where it was bound, too; a name that is not found has a number below zero.
        number = fault.errno or 0
        why = os.strerror(number) if number > 0 else fault.strerror
        raise ToolError(
            f"webhook: {door.host} port {door.port} cannot be listened on: {why}; set another port "
            "or host"
        ) from fault


def _address(door: Door, listening: socket) -> str:
    name: Any = listening.getsockname()
    host = f"[{door.host}]" if ":" in door.host else door.host
    return f"{'https' if door.certificate else 'http'}://{host}:{name[1]}{door.path}"
