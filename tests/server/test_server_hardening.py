"""What any peer may send, to a real server process and by bytes on its socket, and what it gets."""

import json
import re
import socket
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from house import House
from rediver_server_fixtures import Server, Tenant, start

MIB = 1024 * 1024
SOURCE = b'{"name": "n", "type": "agent"}'
CHUNKED = "Transfer-Encoding: chunked"
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/commands", 200),
        ("POST", "/sources", 201),
        ("DELETE", "/sources/{agent}", 204),
        ("POST", "/commands", 400),
        ("GET", "/commands/cmd_x", 404),
        ("PUT", "/commands", 405),
    ],
)
def test_every_reply_has_the_security_headers(tenant: Tenant, method: str, path: str, status: int):
    body = {"name": "n", "type": "agent"} if method == "POST" else None
    reply = tenant.admin.call(method, path.format(agent=tenant.agent().id), body)
    assert reply.status_code == status
    assert {name: reply.headers.get(name) for name in ALWAYS} == ALWAYS
    assert "Strict-Transport-Security" not in reply.headers


@pytest.mark.parametrize(("proxies", "secure"), [(1, True), (0, False)])
def test_only_a_trusted_proxy_says_that_a_request_came_by_https(
    server: Server, proxies: int, secure: bool
):
    other = start(server.url, trusted_proxies=proxies)
    reply = other.app.test_client().get("/healthz", headers={"X-Forwarded-Proto": "https"})
    other.app.extensions["rediver"].close()
    assert ("Strict-Transport-Security" in reply.headers) == secure


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server process over SQLite."""
    made = House(tmp_path_factory.mktemp("house"))
    made.start_server()
    yield made
    made.server.stop()


class Replies:
    """Sends bytes on a new connection and reads what is answered until the server closes it."""

    def __init__(self, house: House) -> None:
        self.house = house

    def __call__(self, head: str, *body: bytes, ends: bool = False) -> tuple[int, dict, bytes]:
        """Status and document of the first reply, and all that came after it."""
        address, said = ("127.0.0.1", self.house.port), b""
        with socket.create_connection(address, timeout=30) as connection:
            with suppress(ConnectionError):  # it may say no, and hang up, before it has read all
                for piece in (head.replace("{key}", self.house.admin_key).encode("latin-1"), *body):
                    connection.sendall(piece)
                if ends:
                    connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while more := connection.recv(MIB):
                    said += more
        self.head, _, rest = said.partition(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", self.head)[1])
        return int(self.head.split()[1]), json.loads(rest[:length]), rest[length:]


@pytest.fixture
def replies(house: House) -> Replies:
    return Replies(house)


def request(line: str, *headers: str) -> str:
    """A request's head. It asks for the connection to be closed, and has an admin's key."""
    always = ("Host: x", "Connection: close", "Authorization: Bearer {key}")
    return "\r\n".join((line, *always, *headers, "", ""))


def post(path: str, *headers: str) -> str:
    return request(f"POST /api/v1{path} HTTP/1.1", "Content-Type: application/json", *headers)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


GET = "GET /api/v1/commands HTTP/1.1"
MANY = [f"X-{number}: a" for number in range(10_000)]
TRAILERS = "\r\n".join(("0", *MANY, "", "")).encode()


BYTES = {
    "a plain one": (request(GET), b"", 200),
    "absolute form": (request("GET http://other.example/api/v1/commands HTTP/1.1"), b"", 200),
    "HTTP/1.0": (request("GET /api/v1/commands HTTP/1.0"), b"", 200),
    "10,000 headers": (request(GET, *MANY), b"", 431),
    "a header of 1 MiB": (request(GET, "X-Long: " + "a" * MIB), b"", 431),
    "a path of 1 MiB": (request(f"GET /{'a' * MIB} HTTP/1.1"), b"", 414),
    "two keys": (request(GET, "Authorization: Bearer other"), b"", 401),
    "one key twice": (request(GET, "Authorization: Bearer {key}"), b"", 401),
    "a folded header": (request(GET, "X-Folded: a", " b"), b"", 400),
    "HTTP/0.9": ("GET /healthz\r\n", b"", 400),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"", 400),
    "chunks": (post("/sources", CHUNKED), chunk(SOURCE) + chunk(b""), 201),
    "a chunk of no size": (post("/sources", CHUNKED), b"zz\r\n", 400),
    "an endless size": (post("/sources", CHUNKED), b"1" * MIB, 400),
    "10,000 trailers": (post("/sources", CHUNKED), chunk(SOURCE) + TRAILERS, 400),
    "chunks of 11 MiB": (post("/sources", CHUNKED), chunk(bytes(MIB)) * 11 + chunk(b""), 413),
    "chunks and a length": (post("/sources", CHUNKED, "Content-Length: 5"), chunk(SOURCE), 400),
    "two lengths": (post("/sources", "Content-Length: 30", "Content-Length: 5"), SOURCE, 400),
    "a length below 0": (post("/sources", "Content-Length: -5"), SOURCE, 400),
    "too short a length": (post("/sources", "Content-Length: 5"), SOURCE, 400),
    "a length of 99 GB": (post("/sources", "Content-Length: 99999999999"), SOURCE, 413),
}


@pytest.mark.parametrize(("head", "body", "status"), BYTES.values(), ids=BYTES)
def test_whatever_is_sent_is_answered_in_json_and_the_next_one_is_served(
    replies: Replies, head: str, body: bytes, status: int
):
    answered, document, rest = replies(head, body)
    assert (answered, rest) == (status, b"")
    assert b"\r\nX-Request-ID: " in replies.head
    assert b"\r\nX-Rediver-Contract: 1\r\n" in replies.head
    assert ("error" in document) == (status >= 400)
    assert replies(request("GET /healthz HTTP/1.1"))[0] == 200


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (post("/commands/cancel", "Content-Length: 20"), b""),
        (post("/commands/cancel", "Content-Length: 20"), b"{}"),
        (post("/commands/cancel", CHUNKED), b""),
        (post("/commands/cancel", CHUNKED), chunk(b"{}")),
        (post("/commands/cancel", CHUNKED), b"20\r\n{}"),
    ],
)
def test_a_body_that_is_cut_off_is_not_taken_for_a_whole_one(
    house: House, replies: Replies, head: str, body: bytes
):
    command = house.command("health_check", payload={})
    status, document, _ = replies(head, body, ends=True)
    assert (status, document["error"]["code"]) == (400, "INVALID_REQUEST")
    assert house.get(command)["status"] == "pending"


def test_a_body_that_nobody_read_is_not_the_next_request(replies: Replies):
    hidden = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST /api/v1/sources HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n"
    status, _, rest = replies(head, hidden, request("GET /nothing HTTP/1.1").encode())
    assert (status, rest.count(b"HTTP/1.1 "), rest[:12]) == (401, 1, b"HTTP/1.1 404")


@pytest.mark.parametrize("header", ["SCRIPT_NAME: /api", "X-Forwarded-Proto: https"])
def test_a_peer_on_loopback_is_no_trusted_proxy(replies: Replies, header: str):
    assert replies(request(GET, header))[0] == 200
    assert b"Strict-Transport-Security" not in replies.head


def test_a_bomb_of_a_gigabyte_leaves_the_servers_memory_flat(house: House, replies: Replies):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(squeeze.compress(bytes(MIB)) for _ in range(1024)) + squeeze.flush()
    headers = ("Content-Encoding: gzip", f"Content-Length: {len(bomb)}")
    process = psutil.Process(house.server.process.pid)
    family = [process.pid, *(child.pid for child in process.children(recursive=True))]
    before = peak_memory(family)
    for _ in range(3):
        assert replies(post("/sources", *headers), bomb)[0] == 413
    assert peak_memory(family) - before < 64 * MIB


def peak_memory(pids: list[int]) -> int:
    """The bytes that these processes held when they held most."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024 for text in texts)
