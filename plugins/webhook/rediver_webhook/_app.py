"""What a delivery gets for an answer. 202 is said when it is on the agent's disk, and not before.

Every answer is a JSON object with a sentence, and ends its connection: GitHub does not use one
twice, and whoever has no signature is not to hold one.
"""

import json
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import anyio.to_thread

from rediver_agent import CommandError, ListenContext, ToolInfo
from rediver_webhook._alerts import Alert, alert_in
from rediver_webhook._body import Bodies, Receive, drain
from rediver_webhook._counts import Counts
from rediver_webhook._deliveries import Deliveries
from rediver_webhook._delivery import Delivery, Refused, delivery

Send = Callable[[dict[str, Any]], Awaitable[None]]

TOOL: Final = ToolInfo("github")  # as alerts that are fetched: one alert is one finding
RETRY_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class App:
    """The ASGI application."""

    path: str
    secrets: Sequence[bytes]
    repositories: Sequence[str] | None
    bodies: Bodies
    deliveries: Deliveries
    counts: Counts
    ctx: ListenContext
    _one_by_one: anyio.Lock = field(default_factory=anyio.Lock)
    """Else a delivery and its replay could both be new."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """See ASGI."""
        whole = False
        try:
            answer = self._at_the_wrong_door(scope)
            if answer is None:
                body = await self.bodies.read(scope["headers"], receive)
                whole = True
                answer = await self._taken(scope["headers"], body)
        except Refused as refused:
            self.counts.add(refused.count)
            retry = ((b"retry-after", b"%d" % RETRY_SECONDS),) if refused.status == 503 else ()
            answer = Answer(refused.status, str(refused), retry)
        await _say(answer, send, None if whole else receive)

    def _at_the_wrong_door(self, scope: dict[str, Any]) -> Answer | None:
        if scope["raw_path"] != self.path.encode():
            self.counts.add("to another path")
            return Answer(404, "nothing is here")
        if scope["method"] != "POST":
            self.counts.add("not by POST")
            return Answer(405, "webhooks come by POST", ((b"allow", b"POST"),))
        return None

    async def _taken(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Answer:
        """Raises `Refused`."""
        # Off the event loop: a stranger's body has to be hashed too.
        signed = await anyio.to_thread.run_sync(delivery, headers, body, self.secrets)
        if signed.event == "ping":
            self.counts.add("ping")
            return Answer(200, "this is the Rediver agent; alerts can come")
        alert = alert_in(signed)
        if alert is None:
            self.counts.add("other events")
            return Answer(200, "there is no alert in it: nothing to do")
        if not self._is_wanted(alert.repository):
            self.counts.add("other repositories")
            return Answer(200, "alerts of this repository are not taken here")
        return await self._kept(signed, alert)

    def _is_wanted(self, repository: str) -> bool:
        if self.repositories is None:
            return True
        full_name = repository.lower()
        return bool({full_name, f"{full_name.partition('/')[0]}/*"} & set(self.repositories))

    async def _kept(self, signed: Delivery, alert: Alert) -> Answer:
        async with self._one_by_one:
            known = await anyio.to_thread.run_sync(self._known, signed, alert)
            if known is not None:
                count, sentence = known
                self.counts.add(count)
                return Answer(200, sentence)
            try:
                await self.ctx.keep(alert.asset, [alert.finding], TOOL)
            except CommandError as fault:
                self.ctx.log.error("webhook: a delivery is not taken: %s", fault)
                raise Refused(503, "not kept", "it cannot be written now; send it again") from fault
            await anyio.to_thread.run_sync(self._remember, signed, alert)
        self.counts.add("taken")
        return Answer(202, "it is on the agent's disk")

    def _known(self, signed: Delivery, alert: Alert) -> tuple[str, str] | None:
        """Why there is nothing to take, if so. Blocks. Rather twice than never: a memory that
        cannot be asked keeps nothing out.
        """
        try:
            if self.deliveries.has(signed.id):
                return "replayed", "this delivery was taken already"
            if self.deliveries.has_newer(alert.identity, alert.updated_at):
                return "out of date", "a newer state of this alert was taken already"
        except sqlite3.Error as fault:
            self.ctx.log.warning("webhook: which deliveries were taken cannot be read: %s", fault)
        return None

    def _remember(self, signed: Delivery, alert: Alert) -> None:
        """Blocks. It is kept already; a replay would be kept as well."""
        try:
            self.deliveries.add(signed.id, alert.identity, alert.updated_at)
        except sqlite3.Error as fault:
            self.ctx.log.warning("webhook: a delivery's id is not remembered: %s", fault)


async def _say(answer: Answer, send: Send, unread: Receive | None) -> None:
    body = json.dumps({"message": answer.message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if unread is not None:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await drain(unread)
        body = b""
    await send({"type": "http.response.body", "body": body})
