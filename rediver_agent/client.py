"""The server, one method a call, contract models in and out. Only this and `network` import
httpx.

What may fare better later is `ServerUnavailable`: network faults, 408, 425, 429, 5xx, any answer
that is not the server's own (a proxy's page). What the server refuses is `ServerRefused`. Redirects
are not followed. Nothing is retried here but the claim, whose lost reply would cost a command.
"""

import gzip
import json
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import httpx
from pydantic import BaseModel
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential
from typing_extensions import override

from rediver_agent import __version__
from rediver_agent.contract import routes
from rediver_agent.contract.base import CONTRACT_VERSION, dump, parse
from rediver_agent.contract.batches import Claim, ResultBatchReply
from rediver_agent.contract.commands import CommandList
from rediver_agent.contract.errors import ErrorBody
from rediver_agent.contract.findings import IngestReply
from rediver_agent.contract.heartbeat import Heartbeat, HeartbeatReply
from rediver_agent.contract.results import (
    Acknowledge,
    Acknowledged,
    Progress,
    ProgressReply,
    ResultReply,
)
from rediver_agent.contract.sources import Enroll, SourceCreated
from rediver_agent.credentials import ApiKey, Secrets
from rediver_agent.errors import ConfigurationError, ServerRefused, ServerUnavailable
from rediver_agent.network import (
    FAULTS,
    PROXY_WANTS_A_KEY,
    proxy_refused,
    trusted,
    unreachable,
    usable_addresses,
)
from rediver_agent.settings import ServerSection

CONNECT_SECONDS: Final = 5.0
MAX_RETRY_AFTER: Final = 3600.0  # no proxy silences an agent for longer
RETRYABLE: Final = frozenset({408, 425, 429})
GZIP_FROM_BYTES: Final = 1024
PATIENCE: Final = 10  # times server.timeout, for all of a call: an answer that trickles must end
MAX_REPLY_BYTES: Final = 64 << 20  # some commands whose payloads are at the server's cap
_OF_THE_BODY: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
SWITCHING: Final = 101
# Full jitter, 1 s ... 60 s (DESIGN section 4).
_BACKOFF: Final = wait_random_exponential(multiplier=1, max=60)

Reply = TypeVar("Reply", bound=BaseModel)


class _Bearer(httpx.Auth):
    """The key of the moment, on every request: a rotated one is used from the next call on."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    @override
    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        key = await anyio.to_thread.run_sync(self._key.current)
        request.headers[routes.AUTHORIZATION] = f"Bearer {key}"
        yield request


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says of itself in any answer: its contract's version and its clock."""

    contract: str | None
    clock_skew: timedelta | None


class Client:
    """One agent's connection to its server. Use it as `async with`."""

    def __init__(
        self,
        server: ServerSection,
        *,
        now: Callable[[], datetime],
        secrets: Secrets | None = None,
    ) -> None:
        if not server.base_url or not server.api_key:
            raise ConfigurationError("a server needs server.base_url and server.api_key; set both")
        self._now = now
        self._attempts = server.max_retries + 1
        self._longest = server.timeout.total_seconds() * PATIENCE
        self.clock_skew = timedelta()
        """The server's clock less ours, by its last heartbeat reply."""
        headers = {
            routes.CONTRACT_HEADER: CONTRACT_VERSION,
            "User-Agent": f"rediver-agent/{__version__}",
            "Accept": "application/json",
        }
        if server.source_id:
            headers[routes.SOURCE_ID_HEADER] = server.source_id
        with usable_addresses(server.base_url):
            self._http = httpx.AsyncClient(
                base_url=server.base_url,
                headers=headers,
                auth=_Bearer(ApiKey(server, secrets)),
                timeout=httpx.Timeout(server.timeout.total_seconds(), connect=CONNECT_SECONDS),
                verify=trusted(server),
            )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def poll(self, limit: int, types: Collection[str] | None = None) -> CommandList:
        """What this agent may take now: at most `limit`, only of `types` if given."""
        query: dict[str, str | int] = {"limit": limit, "status": "pending"}
        if types is not None:
            query["types"] = ",".join(sorted(types))
        return await self._call("GET", routes.COMMANDS, CommandList, params=query)

    async def acknowledge(self, command_id: str, claim: Acknowledge) -> Acknowledged:
        """Claim a command. Repeated until there is an answer, which repeats are safe for."""
        path = routes.COMMAND_ACKNOWLEDGE.format(id=command_id)
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(ServerUnavailable),
            wait=_wait,
            stop=stop_after_attempt(self._attempts),
            sleep=anyio.sleep,
            reraise=True,
        )
        return await attempts(self._call, "POST", path, Acknowledged, json=dump(claim))

    async def claim(self, claim: Claim) -> CommandList:
        """Poll and acknowledge in one. The same `claim_id` never claims anew: repeats are safe."""
        return await self._call("POST", routes.COMMANDS_CLAIM, CommandList, json=dump(claim))

    async def progress(self, command_id: str, progress: Progress) -> ProgressReply:
        """Renew the lease and say how far the command is."""
        path = routes.COMMAND_PROGRESS.format(id=command_id)
        return await self._call("POST", path, ProgressReply, json=dump(progress))

    async def send_result(self, command_id: str, body: str) -> ResultReply:
        """Deliver a result, as the spool holds it."""
        path = routes.COMMAND_RESULT.format(id=command_id)
        reply = await self._call("POST", path, ResultReply, **_json_text(body.encode()))
        if not reply.accepted:
            raise ServerUnavailable(f"the server did not accept the result of {command_id}")
        return reply

    async def send_results(self, results: Mapping[str, str]) -> ResultBatchReply:
        """Deliver results, by command id, as the spool holds them."""
        items = [f'{{"command_id":{json.dumps(id_)},{body[1:]}' for id_, body in results.items()]
        body = f'{{"results":[{",".join(items)}]}}'
        return await self._call(
            "POST", routes.COMMANDS_RESULTS, ResultBatchReply, **_json_text(body.encode())
        )

    async def send_findings(self, body: str) -> IngestReply:
        """Deliver one part of a report, as the spool holds it, compressed."""
        raw = body.encode()
        if len(raw) < GZIP_FROM_BYTES:
            return await self._call("POST", routes.INGEST_FINDINGS, IngestReply, **_json_text(raw))
        packed = await anyio.to_thread.run_sync(gzip.compress, raw, 6)
        request = _json_text(packed)
        request["headers"] = {**request["headers"], "Content-Encoding": "gzip"}
        return await self._call("POST", routes.INGEST_FINDINGS, IngestReply, **request)

    async def enroll(self, wanted: Enroll, idempotency_key: str) -> SourceCreated:
        """Make this agent a source. Its key is the enrollment token; repeats make no second one."""
        named = {routes.IDEMPOTENCY_KEY: idempotency_key}
        return await self._call(
            "POST", routes.ENROLL, SourceCreated, json=dump(wanted), headers=named
        )

    async def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatReply:
        """Say what this agent is able to do and what it holds."""
        reply = await self._call("POST", routes.HEARTBEAT, HeartbeatReply, json=dump(heartbeat))
        if reply.server_time is not None:
            self.clock_skew = reply.server_time - self._now()
        return reply

    @asynccontextmanager
    async def upgrade(
        self, path: str, headers: Mapping[str, str]
    ) -> AsyncGenerator[httpx.Response]:
        """A connection whose protocol the server has agreed to change, as `headers` ask for."""
        try:
            async with self._http.stream("GET", path, headers=headers) as response:
                if response.status_code != SWITCHING:
                    _raise_for_status(await _whole(response), self._now())
                    raise ServerUnavailable(
                        f"the answer {response.status_code} of {path} opens no WebSocket",
                        status=response.status_code,
                    )
                yield response
        except FAULTS as fault:
            raise unreachable(self._http.base_url, fault) from fault

    async def greet(self) -> Greeting:
        """Ask what there is to do and take nothing: whether the server opens for this key."""
        response = await self._request("GET", routes.COMMANDS, params={"limit": 1})
        _document(response, CommandList)
        moment = _moment(response.headers.get("Date", ""))
        return Greeting(
            response.headers.get(routes.CONTRACT_HEADER), moment - self._now() if moment else None
        )

    async def _call(self, method: str, path: str, model: type[Reply], **request: Any) -> Reply:
        return _document(await self._request(method, path, **request), model)

    async def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            with anyio.fail_after(self._longest):
                async with self._http.stream(method, path, **request) as answer:
                    response = await _whole(answer)
        except TimeoutError as fault:
            raise ServerUnavailable(
                f"{self._http.base_url} did not come to the end of an answer in {self._longest:g} s"
            ) from fault
        except FAULTS as fault:
            raise unreachable(self._http.base_url, fault) from fault
        _raise_for_status(response, self._now())
        return response


async def _whole(answer: httpx.Response) -> httpx.Response:
    """The answer with its body, inflated. One that does not end is not the server's."""
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            raise ServerUnavailable(
                f"{answer.request.url} answered more than {MAX_REPLY_BYTES >> 20} MiB, as no "
                "Rediver server does",
                status=answer.status_code,
            )
    headers = [
        (name, value) for name, value in answer.headers.raw if name.lower() not in _OF_THE_BODY
    ]
    return httpx.Response(
        answer.status_code,
        headers=headers,
        content=bytes(body),
        request=answer.request,
        extensions={"reason_phrase": answer.reason_phrase.encode()},
    )


def _document(response: httpx.Response, model: type[Reply]) -> Reply:
    try:
        return parse(model, response.json() if response.content else {})
    except (ValueError, RecursionError) as fault:  # pydantic's errors are ValueErrors
        raise ServerUnavailable(
            f"{response.request.url} did not answer as a Rediver server does"
        ) from fault


def _json_text(content: bytes) -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def _raise_for_status(response: httpx.Response, now: datetime) -> None:
    status = response.status_code
    if response.is_success:
        return
    if status == PROXY_WANTS_A_KEY:
        raise proxy_refused(response.request.url, f"407 {response.reason_phrase}")
    where = f"{response.request.method} {response.request.url.path}"
    if status in RETRYABLE or status >= 500:
        wait = _retry_after(response.headers.get(routes.RETRY_AFTER, ""), now)
        raise ServerUnavailable(
            f"the server answered {status} to {where}", retry_after=wait, status=status
        )
    try:
        error = parse(ErrorBody, response.json()).error
    except (ValueError, RecursionError):
        raise ServerUnavailable(
            f"something that is no Rediver server answered {status} to {where}", status=status
        ) from None
    message = f"the server refused {where}: {error.message} ({error.code})"
    raise ServerRefused(message, status=status, code=error.code)


def _retry_after(value: str, now: datetime) -> float:
    """Seconds, or a date (RFC 9110 section 10.2.3), an hour at most. What is neither is none."""
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER)
    if (moment := _moment(value)) is None:
        return 0.0
    return min(max(0.0, (moment - now).total_seconds()), MAX_RETRY_AFTER)


def _moment(value: str) -> datetime | None:
    """A date of HTTP; None for what is none."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _wait(state: RetryCallState) -> float:
    fault = state.outcome.exception() if state.outcome else None
    floor = fault.retry_after if isinstance(fault, ServerUnavailable) else 0.0
    return max(floor, _BACKOFF(state))
