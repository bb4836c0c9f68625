"""What `rediver-agent doctor` finds between here and the server: which step of the way fails.

The server is asked for work and none is taken; nothing that it knows of this agent is changed.
"""

import os
import ssl
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

import anyio

from rediver_agent.cli.doctor_checks import Check, not_ok, ok
from rediver_agent.client import CONNECT_SECONDS, Client, Greeting
from rediver_agent.contract.base import CONTRACT_VERSION
from rediver_agent.errors import ServerError, ServerRefused, ServerUnavailable
from rediver_agent.settings import ServerSection, Settings

MOST_SKEW: Final = timedelta(seconds=60)  # a lease lasts as long
SOCKET_SECONDS: Final = 10.0
PORTS: Final = {"http": 80, "https": 443}


async def server(settings: Settings, now: Callable[[], datetime]) -> list[Check]:
    """The way to the server, step by step, up to the first that fails."""
    section = settings.server
    if not section.base_url or not section.api_key:
        if section.base_url or section.api_key:
            return [not_ok("server", "set both server.base_url and server.api_key, or neither")]
        return [ok("server: none is configured; reports stay here")]
    client = Client(section, now=now)  # whose addresses and files can be used, or it says so
    host, port, whose = _first_stop(section.base_url)
    lines: list[Check] = []
    try:
        found = await anyio.getaddrinfo(host, port)
    except OSError as fault:
        return [not_ok(f"{whose} {host}", f"its name is not known here: {fault}; see your DNS")]
    lines.append(ok(f"{whose} {host} is {found[0][4][0]}"))
    try:
        with anyio.fail_after(CONNECT_SECONDS):
            stream = await anyio.connect_tcp(host, port)
        await stream.aclose()
    except TimeoutError:
        step = f"nobody answers within {CONNECT_SECONDS:.0f} s; does a firewall drop it?"
        return [*lines, not_ok(f"{whose} {host}:{port}", step)]
    except OSError as fault:
        step = f"{_why(fault)}; is it up, and let through?"
        return [*lines, not_ok(f"{whose} {host}:{port}", step)]
    lines.append(ok(f"{whose} {host}:{port} takes connections"))
    async with client:
        return [*lines, *await _call(client, section)]


def _why(fault: OSError) -> str:
    """The system's word for it, without the library's around it."""
    cause = fault.__cause__
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno).lower()
    return str(fault).lower()


async def _call(client: Client, section: ServerSection) -> list[Check]:
    try:
        greeting = await client.greet()
    except ServerRefused as fault:
        return [not_ok("key", f"{fault}; {_about_the_key(fault)}")]
    except ServerUnavailable as fault:
        return [not_ok(_step_of(fault), str(fault))]
    secure = ", and its certificate is trusted" if _is_https(section) else ""
    return [
        ok(f"{section.base_url} answers as a Rediver server does{secure}"),
        ok("the server takes this agent's key"),
        *_greeted(greeting),
        await _socket(client, section),
    ]


def _first_stop(base_url: str) -> tuple[str, int, str]:
    """Where a call goes first: to the proxy that the environment names for it, or to the server."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(host):
        stop = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return stop.hostname or "", stop.port or PORTS.get(stop.scheme, 80), "proxy"
    return host, parts.port or PORTS[parts.scheme], "server"


def _step_of(fault: ServerUnavailable) -> str:
    """Which step has failed, where there was no answer that can be understood."""
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "TLS"
        cause = cause.__cause__ or cause.__context__
    return "HTTP" if fault.status is None else f"HTTP {fault.status}"


def _about_the_key(fault: ServerRefused) -> str:
    if fault.status == 401:
        return "it is wrong, expired or revoked: have a new one made, and set server.api_key"
    if fault.status == 403:
        return "it is another source's, or no agent's: correct server.source_id or the key"
    return "see the server's log"


def _greeted(greeting: Greeting) -> list[Check]:
    lines: list[Check] = []
    spoken = f"contract {greeting.contract or 'of no version'}"
    if greeting.contract == CONTRACT_VERSION:
        lines.append(ok(spoken))
    else:
        lines.append(
            not_ok(spoken, f"this agent speaks {CONTRACT_VERSION}: upgrade the older of the two")
        )
    if greeting.clock_skew is None:
        return lines
    seconds = greeting.clock_skew.total_seconds()
    skew = f"this clock and the server's differ by {abs(seconds):.0f} s"
    fine = abs(greeting.clock_skew) <= MOST_SKEW
    return [*lines, ok(skew) if fine else not_ok(skew, "set both by NTP")]


async def _socket(client: Client, section: ServerSection) -> Check:
    """A WebSocket that does not open is no fault: work is then taken by the next poll."""
    if not section.websocket:
        return ok("WebSocket: switched off; work waits for the next poll")
    if find_spec("wsproto") is None:
        return ok(
            "WebSocket: not installed (rediver-agent[websocket]); work waits for the next poll"
        )
    opened = anyio.CancelScope(deadline=anyio.current_time() + SOCKET_SECONDS)
    is_open = False

    def note() -> None:
        nonlocal is_open
        is_open = True
        opened.cancel()

    problem = f"no answer within {SOCKET_SECONDS:.0f} s"
    with opened:
        try:
            # An agent without the extra does not have the library.
            listen = import_module("rediver_agent.websocket").listen
            problem = await listen(client, note, _pass_over)
        except ServerError as fault:
            problem = str(fault)
    if is_open:
        return ok("WebSocket: opens; work is begun at once")
    return ok(f"WebSocket: does not open, work waits for the next poll: {problem}")


def _pass_over(_message: object) -> None:
    """What the server says meanwhile is for the agent."""


def _is_https(section: ServerSection) -> bool:
    return urlsplit(section.base_url or "").scheme == "https"
