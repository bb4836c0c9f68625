"""Requests over kept-alive connections, one after another on each: their rate and their times.

A bare asyncio client: next to a Python server it costs next to nothing, and it knows each time.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any, Final

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SILENCE_SECONDS: Final = 60

Request = Callable[[], bytes]


def http_request(method: str, path: str, body: object = None, key: str = "") -> bytes:
    """A whole request as it is sent."""
    text = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(text)}"]
    lines += ["Content-Type: application/json"] if text else []
    lines += [f"Authorization: Bearer {key}"] if key else []
    return "\r\n".join([*lines, "", ""]).encode() + text


def load(
    port: int, request: Request, connections: int, seconds: float, *, unless: bytes = b"\0"
) -> dict[str, float]:
    """The rate, p50 and p99 of requests. Raises for a reply that is no success or has `unless`."""
    return asyncio.run(_load(port, request, connections, seconds, unless))


def times(port: int, request: Request, count: int, *, unless: bytes = b"\0") -> list[float]:
    """Milliseconds of so many requests, one after another."""

    async def one_by_one() -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found = [await _answered(reader, writer, request(), unless) for _ in range(count)]
        writer.close()
        return found

    return asyncio.run(one_by_one())


async def _load(
    port: int, request: Request, connections: int, seconds: float, unless: bytes
) -> dict[str, float]:
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    began = time.perf_counter()

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[float]:
        found: list[float] = []
        while time.perf_counter() < began + seconds:
            found.append(await _answered(reader, writer, request(), unless))
        writer.close()
        return found

    each = await asyncio.gather(*(call(*streams) for streams in opened))
    took = time.perf_counter() - began
    found = sorted(milliseconds for one in each for milliseconds in one)
    return {
        "req_s": len(found) / took,
        "p50_ms": percentile(found, 50),
        "p99_ms": percentile(found, 99),
    }


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, unless: bytes
) -> float:
    began = time.perf_counter()
    writer.write(request)
    async with asyncio.timeout(_SILENCE_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
    took = (time.perf_counter() - began) * 1e3
    if not head.startswith(b"HTTP/1.1 2") or unless in body:
        raise RuntimeError(f"this is not what was asked for: {head[:100]!r} {body[:300]!r}")
    return took


def percentile(ordered: list[float], per_cent: float) -> float:
    """By nearest rank."""
    return ordered[max(0, round(len(ordered) * per_cent / 100) - 1)]


def facts(values: list[float], name: str) -> dict[str, Any]:
    """The median and the greatest."""
    ordered = sorted(values)
    return {f"{name}_ms": percentile(ordered, 50), f"{name}_p99_ms": percentile(ordered, 99)}
