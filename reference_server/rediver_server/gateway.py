"""The open WebSockets of this process, and who of them is told what.

Nudges only: an agent that gets none loses latency, never work. Whoever has a nudge puts it into a
queue and goes on. One thread reads the database and decides whom it is for; the thread of a socket
does all its sending, so that a slow peer keeps nobody waiting, and no transaction waits at all.
"""

import itertools
import logging
import queue
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, cast

from flask import Blueprint, Response, current_app, g, request
from simple_websocket import ConnectionClosed, Server
from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError
from wsproto.events import AcceptConnection, Event
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from rediver_agent.contract import CONTRACT_VERSION, ErrorCode, messages, routes
from rediver_server.auth import Caller, caller, requires
from rediver_server.capabilities import can_do
from rediver_server.db import Database
from rediver_server.errors import ApiError, invalid
from rediver_server.models import ApiKey, Command, Role, Source
from rediver_server.nudges import Nudge

log = logging.getLogger(__name__)

_FEW: Final = 2  # sources that hear of a command of the pool
_WAITING: Final = 10_000  # nudges; what comes on top is left to polling
_UNSENT: Final = 100  # messages a socket; cancel requests are in the replies to heartbeats too
_SEND_SECONDS: Final = 5
_HEARD_BYTES: Final = 1024  # agents have nothing to say here
_NAMED: Final = "rediver.request_id"

blueprint = Blueprint("gateway", __name__)


@blueprint.get(routes.WEBSOCKET, websocket=True)
@requires(Role.SOURCE)
def listen() -> Response:
    request.environ[_NAMED] = g.request_id
    cast("Gateway", current_app.extensions["gateway"]).serve(request.environ, caller())
    return _Done()


class _Done(Response):
    def __call__(self, *_args: Any) -> Any:
        raise StopIteration  # tells gunicorn that the connection is used up


class _Socket:
    """It is there before the upgrade, so that no nudge after it is missed."""

    def __init__(self, who: Caller) -> None:
        self.who, self.nudged = who, 0
        self.closing: str | None = None
        self.wake = threading.Event()
        self.unsent = OrderedDict[str, None]()

    def tell(self, message: messages.Message) -> None:
        if len(self.unsent) < _UNSENT:
            self.unsent[message.model_dump_json()] = None
            self.wake.set()

    def talk(self, ws: Server) -> None:
        """Send what there is to send until either side has closed."""
        while ws.connected:
            while self.unsent:
                ws.send(self.unsent.popitem(last=False)[0])
            if self.closing is not None:
                ws.send(messages.ClosingMessage(reason=self.closing).model_dump_json())
                ws.close(CloseReason.GOING_AWAY, self.closing)
                return
            self.wake.wait()
            self.wake.clear()

    def reader(self, target: Callable[[], None]) -> threading.Thread:
        """The library's thread. It may wake `talk` too soon for its end to be seen: once more."""
        return threading.Thread(target=lambda: (target(), _close([self], "it was read to its end")))


class _Upgrade(Server):
    """Accepted with the headers of every response, and no deflate: it costs 130 KiB a socket."""

    def handshake(self) -> None:
        ws: Any = self.ws
        send, named = ws.send, self.environ.get(_NAMED, "")
        told = {routes.CONTRACT_HEADER: CONTRACT_VERSION, routes.REQUEST_ID_HEADER: named}
        headers = [(name.encode(), value.encode()) for name, value in told.items()]

        def accept(_event: Event) -> bytes:
            return send(AcceptConnection(extra_headers=headers))

        ws.send = accept
        super().handshake()
        del ws.send


class Gateway:
    """One per process. The set of sockets is only ever copied whole, so it needs no lock."""

    def __init__(self, db: Database, max_sockets: int, ping_seconds: float) -> None:
        self._db = db
        limits = {"ping_interval": ping_seconds, "max_message_size": _HEARD_BYTES}
        self._limits: dict[str, Any] = limits
        self._room = threading.BoundedSemaphore(max_sockets)
        self._open = set[_Socket]()
        self._closing: str | None = None
        self._nudges = queue.Queue[Nudge](_WAITING)
        self._turns = itertools.count(1)

    def __len__(self) -> int:
        return len(self._open)

    def serve(self, environ: dict[str, Any], who: Caller) -> None:
        """Hold a socket until it is closed. Raises 400 and 503 before the upgrade."""
        if not self._room.acquire(blocking=False):
            raise ApiError(ErrorCode.UNAVAILABLE, "no more sockets are open to agents here: poll")
        mine = _Socket(who)
        self._open.add(mine)
        mine.closing = self._closing  # read after it can be found by `close_all`
        try:
            self._hold(mine, environ)
        except RemoteProtocolError as fault:
            raise invalid("", f"this is no WebSocket handshake: {fault}") from fault
        finally:
            self._open.discard(mine)
            self._room.release()

    def _hold(self, mine: _Socket, environ: dict[str, Any]) -> None:
        connection = environ["gunicorn.socket"]
        own: Any = {"event_class": lambda: mine.wake, "thread_class": mine.reader}
        with suppress(ConnectionClosed, OSError):  # it may be gone before the upgrade, or with it
            ws: Any = _Upgrade(environ, **own, **self._limits)
            ws.input_buffer = deque[object](maxlen=1)  # read by nobody
            try:
                connection.settimeout(_SEND_SECONDS)  # what reads waits in a selector: only sending
                mine.talk(ws)
            finally:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes what reads
                ws.thread.join()

    def deliver(self, nudge: Nudge) -> None:
        """Pass a nudge on, soon. Called where nothing may wait: a transaction has just ended."""
        with suppress(queue.Full):
            self._nudges.put_nowait(nudge)

    def run(self) -> None:
        """Pass on what is delivered, for as long as the process lives."""
        while True:
            nudge = self._nudges.get()
            try:
                self._pass_on(nudge)
            except SQLAlchemyError as fault:
                log.warning("a nudge is left to polling, the database said: %s", fault)

    def _pass_on(self, nudge: Nudge) -> None:
        if nudge.kind == "keys_ended":
            self.close_ended()
            return
        theirs = [each for each in set(self._open) if each.who.tenant_id == nudge.tenant_id]
        if nudge.source_id is not None:
            theirs = [each for each in theirs if each.who.source_id == nudge.source_id]
        if theirs and nudge.kind != "command_cancelled":
            theirs = self._takers(theirs, nudge)
        said = messages.parse_message({"type": nudge.kind, "command_id": nudge.command_id})
        for each in theirs:
            each.tell(cast("messages.Message", said))

    def _takers(self, among: list[_Socket], nudge: Nudge) -> list[_Socket]:
        """The source that is meant, or a few that can do it; nobody who is paused."""
        wanted = select(Source).where(Source.tenant_id == nudge.tenant_id, ~Source.paused)
        if nudge.source_id is not None:
            wanted = wanted.where(Source.id == nudge.source_id)
        order = Command(type=nudge.type, tool=nudge.tool)
        with self._db.read() as tx:
            able = {row.id for row in tx.scalars(wanted) if nudge.source_id or can_do(row, order)}
        among.sort(key=lambda each: each.nudged)
        turn = list(dict.fromkeys(s.who.source_id for s in among if s.who.source_id in able))
        takers = [each for each in among if each.who.source_id in turn[:_FEW]]
        for each in takers:
            each.nudged = next(self._turns)
        return takers

    def nudge_all(self) -> None:
        """Nudges may have been missed: let everybody poll."""
        for each in set(self._open):
            each.tell(messages.CommandAvailableMessage())

    def close_ended(self) -> None:
        """Close the sockets whose key opens nothing any more, however that came."""
        if not (opened := set(self._open)):
            return
        with self._db.read() as tx:
            lasting = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > tx.now)
            live = (ApiKey.source_id.is_not(None), ApiKey.revoked_at.is_(None), lasting)
            keys = set(tx.scalars(select(ApiKey.id).where(*live)))
        _close((each for each in opened if each.who.key_id not in keys), "the key has ended")

    def close_all(self, reason: str) -> None:
        """Close what is open, and what is opened from now on."""
        self._closing = reason
        _close(set(self._open), reason)


def _close(sockets: Iterable[_Socket], reason: str) -> None:
    for each in sockets:
        each.closing = reason
        each.wake.set()
