"""Whoever can reach the door can neither hold it, nor fill the memory behind it, nor make it say
more than a sentence; and when it is closed nothing is left of it.
"""

import asyncio
import json
import socket
from contextlib import suppress

import anyio
import pytest
import virtual_time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rediver_agent.testing import FakeListenContext
from rediver_webhook import Webhook

SECRET = "It's a Secret to Everybody"
LARGEST = 4096
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
ALERTS = ["code_scanning_alert", "dependabot_alert", "secret_scanning_alert"]
KEYS = [
    "number", "state", "rule", "tool", "most_recent_instance", "instances", "dependency",
    "security_advisory", "security_vulnerability", "secret", "secret_type", "resolution",
    "updated_at", "html_url", "location", "severity", "cvss", "package", "description",
]  # fmt: skip
ODD = st.recursive(
    st.none() | st.integers() | st.text() | st.just("2026-01-01T00:00:00Z"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=15,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory, listening):
    """One that takes small bodies only."""
    with listening(tmp_path_factory.mktemp("small"), max_body_bytes=LARGEST) as hook:
        yield hook


def many(function):
    """The usual number of examples; nothing is reset between them, and nothing has to be."""
    checks = [HealthCheck.function_scoped_fixture]
    return settings(suppress_health_check=checks, deadline=None, max_examples=60)(function)


@many
@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_signed_has_an_answer(hook, caplog, body):
    for event in (*ALERTS, "push"):
        assert hook.post(body, event)[0] in (200, 400, 422)
    assert not caplog.records


@many
@given(event=st.sampled_from(ALERTS), alert=ODD, number=st.integers(), repository=ODD)
def test_whatever_an_alert_says_has_an_answer(hook, caplog, event, alert, number, repository):
    if isinstance(alert, dict):
        alert["number"] = number
    if isinstance(repository, dict):
        repository["full_name"] = "acme/shop"
    body = {"action": "created", "alert": alert, "repository": repository}

    assert hook.post(body, event)[0] in (202, 422)
    assert not caplog.records


@many
@given(junk=st.binary(min_size=1, max_size=300))
def test_what_is_no_http_is_answered_shortly_or_not_at_all(hook, caplog, junk):
    with socket.create_connection((hook.host, hook.port), timeout=30) as connection:
        connection.sendall(junk)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)

    assert len(answer) < 400
    assert not caplog.records
    assert hook.post({}, "ping")[0] == 200


def test_a_body_that_is_too_long_is_refused_as_soon_as_that_is_known(small):
    assert small.post(b" " * LARGEST)[0] == 400
    assert small.post(b" " * (LARGEST + 1))[0] == 413
    start = f"POST {small.path} HTTP/1.1\r\nHost: x\r\n"
    said = small.raw(f"{start}Content-Length: 99999999999\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"more than 4096 bytes" in said
    endless = b"400\r\n" + b"x" * 1024 + b"\r\n"
    said = small.raw(f"{start}Transfer-Encoding: chunked\r\n\r\n".encode(), *([endless] * 5))
    assert said.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (b"/webhook/github/", b"404"), (b"/", b"404"), (b"//webhook/github", b"404"),
        (b"/webhook/../webhook/github", b"404"), (b"/webhook%2fgithub", b"404"),
        (b"/webhook/githu%62", b"404"), (b"http://x/webhook/github", b"404"), (b"*", b"404"),
        (b"/webhook/github?a=b", b"401"),
    ],
)  # fmt: skip
def test_only_the_one_path_is_there(hook, target, answer):
    said = hook.raw(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")

    assert said.startswith(b"HTTP/1.1 " + answer)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"OPTIONS", b"BREW"])
def test_only_post_is_a_delivery(hook, method):
    said = hook.raw(method + b" /webhook/github HTTP/1.1\r\nHost: x\r\n\r\n")

    assert said.startswith(b"HTTP/1.1 405 ")
    assert b"allow: POST" in said
    assert b"uvicorn" not in said


def test_the_second_of_two_requests_in_one_breath_is_not_taken(hook, sign, dependency):
    body, known = json.dumps(dependency()).encode(), len(hook.ctx.kept)
    head = (
        f"POST {hook.path} HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: dependabot_alert\r\n"
        f"X-Hub-Signature-256: {sign(body)}\r\nContent-Length: {len(body)}\r\n"
    )

    said = hook.raw(
        *(f"{head}X-GitHub-Delivery: breath-{n}\r\n\r\n".encode() + body for n in (1, 2))
    )

    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(b"HTTP/1.1 202 ")
    assert len(hook.ctx.kept) == known + 1


def test_an_upgrade_or_a_length_that_is_none_opens_nothing(hook):
    start = f"POST {hook.path} HTTP/1.1\r\nHost: x\r\n"
    for odd in (
        "Content-Length: -1", "Content-Length: " + "9" * 5000, "Transfer-Encoding: gzip",
        "Content-Length: 1\r\nContent-Length: 2", "X: " + "y" * 20_000,
        "Connection: Upgrade\r\nUpgrade: websocket",
    ):  # fmt: skip
        said = hook.raw(f"{start}{odd}\r\n\r\n".encode())
        assert said[9:12] in (b"400", b"401", b"501"), odd


def in_virtual_time(tmp_path, visit):
    """A webhook in an event loop whose hours pass at once. `visit` gets its port and context; what
    it returns is waited for when the door is closed.
    """
    ctx = FakeListenContext(tmp_path)
    valid = Webhook.options.model_validate({"secrets": [SECRET], "port": 0})

    async def main(_loop):
        before = asyncio.all_tasks()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Webhook().listen, ctx, valid)
            while not ctx.said:
                await anyio.lowlevel.checkpoint()
            port = int(ctx.said[0][1].rpartition(":")[2].partition("/")[0])
            later = await visit(port, ctx)
            tasks.cancel_scope.cancel()
        assert asyncio.all_tasks() == before, "no task is left"
        if later is not None:
            await later()
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
        socket.create_server(("127.0.0.1", port)).close()  # it is free

    virtual_time.run(main)
    return ctx


async def connected(port, *parts):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
    return reader, writer


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        (b"", b""),
        (b"POST /webhook/github HT", b""),
        (b"POST /webhook/github HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", b"408"),
    ],
)
def test_whoever_is_slow_is_let_go(tmp_path, part, answer):
    async def visit(port, _ctx):
        reader, writer = await connected(port, part)
        began, said = anyio.current_time(), b""
        with suppress(ConnectionResetError):
            said = await reader.read()
        assert said[9:12] == answer
        assert anyio.current_time() - began <= 12
        writer.close()

    in_virtual_time(tmp_path, visit)


def test_many_connections_leave_the_agent_its_descriptors(tmp_path):
    async def visit(port, _ctx):
        opened = [await connected(port) for _ in range(200)]
        await anyio.sleep(1)
        gone = [reader.at_eof() or reader.exception() for reader, _ in opened]
        assert sum(map(bool, gone)) >= 60
        await anyio.sleep(15)
        reader, writer = await connected(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
        for _, each in [*opened, (reader, writer)]:
            each.close()

    in_virtual_time(tmp_path, visit)


def test_what_is_being_kept_when_it_is_closed_is_answered(tmp_path, sign, dependency):
    body = json.dumps(dependency()).encode()
    head = (
        f"POST /webhook/github HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: dependabot_alert\r\n"
        f"X-Hub-Signature-256: {sign(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    async def visit(port, ctx):
        begun, keep = anyio.Event(), ctx.keep

        async def slowly(*what):
            begun.set()
            await anyio.sleep(3)
            await keep(*what)

        ctx.keep = slowly
        reader, writer = await connected(port, head.encode(), body)
        await begun.wait()

        async def later():
            assert (await reader.read()).startswith(b"HTTP/1.1 202 ")
            writer.close()

        return later

    assert len(in_virtual_time(tmp_path, visit).kept) == 1
