"""The client against a real server on loopback that answers what each test tells it to."""

import gzip
import json
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

from rediver_agent.client import MAX_REPLY_BYTES, Client
from rediver_agent.contract import Acknowledge, Heartbeat
from rediver_agent.errors import ConfigurationError, ServerRefused, ServerUnavailable
from rediver_agent.settings import ServerSection

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ERROR = {"error": {"code": "NOT_CLAIMED", "message": "nobody holds it", "details": {}}}


class Script:
    """A server whose answers are (status, headers, body), one after the other."""

    def __init__(self):
        self.answers = []
        self.requests = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                script.requests.append((self.command, self.path, dict(self.headers), body))
                status, headers, content = script.answers.pop(0)
                if status is None:  # a connection that dies before the answer
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815 - the base class asks for this name

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, status, body=None, **headers):
        content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        self.answers.append((status, headers, content))

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def script():
    script = Script()
    yield script
    script.close()


def call(script, method, *arguments, **settings):
    """What one method of the client returns or raises."""
    section = ServerSection(
        base_url=f"http://127.0.0.1:{script.server.server_port}", api_key="rs_src_x", **settings
    )

    async def main():
        async with Client(section, now=lambda: NOW) as client:
            return await getattr(client, method)(*arguments), client.clock_skew

    return anyio.run(main)


def test_a_poll_asks_for_free_slots_and_names_who_asks(script):
    script.answer(200, {"commands": [], "poll_interval_seconds": 30})

    reply, _ = call(script, "poll", 2, {"scan", "cancel"}, source_id="src_1")

    ((method, path, headers, _),) = script.requests
    assert reply.poll_interval_seconds == 30
    assert (method, path) == ("GET", "/api/v1/commands?limit=2&status=pending&types=cancel%2Cscan")
    assert headers["Authorization"] == "Bearer rs_src_x"
    assert headers["X-Rediver-Source-ID"] == "src_1"
    assert headers["X-Rediver-Contract"] == "1"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_fare_better_later_is_unavailable(script, status):
    script.answer(status, ERROR, **{"Retry-After": "7"})

    with pytest.raises(ServerUnavailable) as fault:
        call(script, "poll", 1)
    assert fault.value.retry_after == 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("Thu, 01 Jan 2026 00:01:00 GMT", 60), ("soon", 0), ("-5", 0), ("", 0),
     ("Wed, 31 Dec 2025 00:00:00 GMT", 0), ("9" * 400, 3600), ("\u00b2", 0),
     ("Thu, 01 Jan 2099 00:00:00 GMT", 3600), ("Thu, 01 Jan 99999999999999999999 00:00 GMT", 0),
     ("Thu, 01 Jan 2026 00:00:00 +99999999999999", 0)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(script, value, seconds):
    script.answer(503, ERROR, **{"Retry-After": value})

    with pytest.raises(ServerUnavailable) as fault:
        call(script, "poll", 1)
    assert fault.value.retry_after == seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413])
def test_what_the_server_refuses_carries_its_code(script, status):
    script.answer(status, ERROR)

    with pytest.raises(ServerRefused) as fault:
        call(script, "send_result", "cmd_1", "{}")
    assert (fault.value.status, fault.value.code) == (status, "NOT_CLAIMED")
    assert "nobody holds it" in str(fault.value)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>please log in</html>"),
        (403, b"<html>blocked by the proxy</html>"),
        (404, b'{"detail": "no such page"}'),
        (302, b""),
        (204, b""),
        (200, b"[]"),
        (200, b"[" * 200_000),
        (200, b"\xff\xfe"),
        (None, b""),
    ],
)
def test_an_answer_that_is_no_rediver_servers_proves_nothing(script, status, body):
    script.answer(status, body, Location="http://127.0.0.1:9/")

    with pytest.raises(ServerUnavailable):
        call(script, "poll", 1)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"accepted": true, "command_id": "cmd_1"}'])
def test_a_result_is_delivered_whatever_a_server_says_besides_yes(script, body):
    script.answer(200, body)

    assert call(script, "send_result", "cmd_1", "{}")[0].accepted is True


@pytest.mark.parametrize("body", [b"<html>please log in</html>", b"[]", b'{"accepted": false}'])
def test_a_result_is_not_delivered_by_a_proxys_page(script, body):
    script.answer(200, body)

    with pytest.raises(ServerUnavailable):
        call(script, "send_result", "cmd_1", "{}")


def test_an_answer_that_inflates_without_end_is_cut_off(script):
    bomb = gzip.compress(b" " * (MAX_REPLY_BYTES + 1), 9)
    script.answer(200, bomb, **{"Content-Encoding": "gzip"})

    with pytest.raises(ServerUnavailable, match="more than 64 MiB"):
        call(script, "poll", 1)


def test_an_answer_that_trickles_without_end_is_given_up():
    over = threading.Event()

    def trickle(listener):
        connection, _ = listener.accept()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with connection, suppress(OSError):
            while not over.wait(0.01):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        section = ServerSection(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", api_key="k", timeout="50ms"
        )

        async def main():
            async with Client(section, now=lambda: NOW) as client:
                with anyio.fail_after(20):
                    await client.poll(1)

        try:
            with pytest.raises(ServerUnavailable, match="did not come to the end"):
                anyio.run(main)
        finally:
            over.set()
            thread.join()


def test_a_compressed_answer_is_understood(script):
    script.answer(200, gzip.compress(b'{"commands": []}'), **{"Content-Encoding": "gzip"})

    assert call(script, "poll", 1)[0].commands == []


def test_a_server_that_is_not_there_is_unavailable():
    section = ServerSection(base_url="http://127.0.0.1:9", api_key="rs_src_x")

    async def main():
        async with Client(section, now=lambda: NOW) as client:
            await client.poll(1)

    with pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:9"):
        anyio.run(main)


def test_a_claim_whose_reply_was_lost_is_made_again(script):
    script.answer(None)
    script.answer(200, {"acknowledged": True, "command_id": "cmd_1", "attempt": 2})

    reply, _ = call(script, "acknowledge", "cmd_1", Acknowledge(instance_id="one"))

    assert reply.attempt == 2
    assert [body for *_, body in script.requests] == [b'{"instance_id":"one"}'] * 2


def test_a_claim_is_not_made_again_when_it_is_refused(script):
    script.answer(409, ERROR)

    with pytest.raises(ServerRefused):
        call(script, "acknowledge", "cmd_1", Acknowledge())
    assert len(script.requests) == 1


def test_findings_are_sent_compressed_and_whole(script):
    script.answer(200, {"success": True})
    body = json.dumps({"text": "x" * 5000})

    call(script, "send_findings", body)

    ((_, path, headers, raw),) = script.requests
    assert path == "/api/v1/ingest/findings"
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Type"] == "application/json"
    assert gzip.decompress(raw).decode() == body


def test_a_heartbeat_learns_how_far_the_clocks_are_apart(script):
    script.answer(200, {"success": True, "server_time": "2026-01-01T01:00:00Z", "new": 1})

    reply, skew = call(script, "heartbeat", Heartbeat(name="a", status="running"))

    assert (reply.cancel, reply.lost) == ([], [])
    assert skew == timedelta(hours=1)


def test_a_client_needs_an_address_and_a_key():
    with pytest.raises(ConfigurationError, match=r"server\.api_key"):
        Client(ServerSection(base_url="http://localhost"), now=lambda: NOW)


def test_a_certificate_authority_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    section = ServerSection(
        base_url="https://localhost", api_key="rs_src_x", ca_file=tmp_path / "ca.pem"
    )
    with pytest.raises(ConfigurationError, match="ca_file"):
        Client(section, now=lambda: NOW)
