"""The server, one method a call, contract models in and out. The only importer of httpx.

What may fare better later is `ServerUnavailable`: network faults, 408, 425, 429, 5xx, any answer
that is not the server's own (a proxy's page). What the server refuses is `ServerRefused`. Redirects
are not followed. Nothing is retried here but the claim, whose lost reply would cost a command.
"""

import gzip
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
from pydantic import BaseModel
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

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
from rediver_agent.errors import ConfigurationError, ServerRefused, ServerUnavailable
from rediver_agent.settings import ServerSection

CONNECT_SECONDS: Final = 5.0
MAX_RETRY_AFTER: Final = 3600.0  # no proxy silences an agent for longer
RETRYABLE: Final = frozenset({408, 425, 429})
GZIP_FROM_BYTES: Final = 1024
SWITCHING: Final = 101
PROXY_WANTS_A_KEY: Final = 407
# Full jitter, 1 s ... 60 s (DESIGN section 4).
_BACKOFF: Final = wait_random_exponential(multiplier=1, max=60)

Reply = TypeVar("Reply", bound=BaseModel)


class Client:
    """One agent's connection to its server. Use it as `async with`."""

    def __init__(self, server: ServerSection, *, now: Callable[[], datetime]) -> None:
        if not server.base_url or not server.api_key:
            raise ConfigurationError("a server needs server.base_url and server.api_key; set both")
        self._now = now
        self._attempts = server.max_retries + 1
        self.clock_skew = timedelta()
        """The server's clock less ours, by its last heartbeat reply."""
        headers = {
            routes.AUTHORIZATION: f"Bearer {server.api_key.get_secret_value()}",
            routes.CONTRACT_HEADER: CONTRACT_VERSION,
            "User-Agent": f"rediver-agent/{__version__}",
            "Accept": "application/json",
        }
        if server.source_id:
            headers[routes.SOURCE_ID_HEADER] = server.source_id
        self._http = httpx.AsyncClient(
            base_url=server.base_url,
            headers=headers,
            timeout=httpx.Timeout(server.timeout.total_seconds(), connect=CONNECT_SECONDS),
            verify=_tls(server),
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
                    await response.aread()
                    _raise_for_status(response, self._now())
                    raise ServerUnavailable(
                        f"what answers at {response.request.url} speaks no WebSocket",
                        status=response.status_code,
                    )
                yield response
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as fault:
            raise _unreachable(self._http.base_url, fault) from fault

    async def _call(self, method: str, path: str, model: type[Reply], **request: Any) -> Reply:
        try:
            response = await self._http.request(method, path, **request)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as fault:
            raise _unreachable(self._http.base_url, fault) from fault
        _raise_for_status(response, self._now())
        try:
            return parse(model, response.json() if response.content else {})
        except (ValueError, RecursionError) as fault:  # pydantic's errors are ValueErrors
            raise ServerUnavailable(
                f"{response.request.url} did not answer as a Rediver server does"
            ) from fault


def _unreachable(url: httpx.URL, fault: Exception) -> ServerUnavailable:
    """Why there was no answer, and what to do where that is known."""
    causes = list(_causes(fault))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message.rstrip(".")
            return ServerUnavailable(
                f"{url} cannot be trusted: {why}; name the authority's certificate in "
                "server.ca_file, or the host as its certificate does in server.base_url"
            )
    if isinstance(fault, httpx.ProxyError):
        return _proxy_refused(url, str(fault))
    why = next((text for cause in causes if (text := str(cause))), type(fault).__name__)
    return ServerUnavailable(f"{url} cannot be reached: {why}")


def _proxy_refused(url: httpx.URL, answer: str) -> ServerUnavailable:
    step = "see HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
    if answer.startswith("407"):
        step = "write its user and password into HTTPS_PROXY: http://user:password@proxy:3128"
    return ServerUnavailable(f"the proxy does not connect to {url}: {answer}; {step}")


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__


def _json_text(content: bytes) -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def _raise_for_status(response: httpx.Response, now: datetime) -> None:
    status = response.status_code
    if response.is_success:
        return
    if status == PROXY_WANTS_A_KEY:
        raise _proxy_refused(response.request.url, f"407 {response.reason_phrase}")
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
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), MAX_RETRY_AFTER)


def _wait(state: RetryCallState) -> float:
    fault = state.outcome.exception() if state.outcome else None
    floor = fault.retry_after if isinstance(fault, ServerUnavailable) else 0.0
    return max(floor, _BACKOFF(state))


def _tls(server: ServerSection) -> ssl.SSLContext | bool:
    """What to trust. Plain http needs none, and loading it costs an idle agent memory."""
    if urlsplit(server.base_url or "").scheme != "https":
        return False
    if not server.ca_file and not server.client_cert:
        return True
    try:
        if server.ca_file:
            context = ssl.create_default_context(cafile=server.ca_file)
        else:
            context = httpx.create_ssl_context()  # the public authorities, or SSL_CERT_FILE
        if server.client_cert:
            context.load_cert_chain(server.client_cert, server.client_key, _no_password)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigurationError(
            f"server.ca_file, client_cert or client_key cannot be used: {fault}"
        ) from fault
    return context


def _no_password() -> str:
    """Instead of OpenSSL's own question on the terminal, which would hold an agent for ever."""
    raise ConfigurationError(
        "the key of server.client_cert is encrypted; write it without a password into a file that "
        "only the agent can read, and name that in server.client_key"
    )
