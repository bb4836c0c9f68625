"""The ways to the server: private authorities, client certificates, proxies. All real, on loopback.

Whatever is wrong is said in a sentence that names it and the next step; nobody is asked for a
password, and no proxy is trusted with more than bytes.
"""

import json
import socket
import ssl
import subprocess  # noqa: TID251 - the terminal is part of what is tested
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import anyio
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from tcp_proxy import ForwardProxy, Proxy

from rediver_agent.client import Client
from rediver_agent.errors import ConfigurationError, ServerError, ServerUnavailable
from rediver_agent.settings import ServerSection
from rediver_agent.websocket import listen

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE")


class _Answers(BaseHTTPRequestHandler):
    """No commands, ever; and no WebSocket, which is enough to know that it was asked for."""

    def do_GET(self):
        empty = "/api/v1/commands?" in self.path
        body = json.dumps({"commands": []} if empty else {}).encode()
        self.send_response(200 if empty else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority, a client's certificate in the ways that people keep one, and another's."""
    folder = tmp_path_factory.mktemp("pki")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "strange-ca.pem")
    mine = authority.issue_cert("agent.example.com")
    mine.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    mine.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in mine.cert_chain_pems))
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    (folder / "encrypted.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return SimpleNamespace(folder=folder, authority=authority)


@pytest.fixture(autouse=True)
def _no_proxy_of_ours(monkeypatch):
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def terminating(files, server, host="127.0.0.1", *, client_certificates=False):
    """TLS in front of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files.authority.issue_cert(host).configure_cert(context)
    if client_certificates:
        files.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return Proxy(server.server_port, tls=context)


@pytest.fixture
def tls(files, server):
    proxy = terminating(files, server)
    yield proxy
    proxy.close()


@pytest.fixture
def mutual(files, server):
    proxy = terminating(files, server, client_certificates=True)
    yield proxy
    proxy.close()


def ask(proxy, scheme="https", **settings):
    """One poll, and one request for a socket. Returns what came of each."""
    section = ServerSection(
        base_url=f"{scheme}://127.0.0.1:{proxy.port}", api_key="rs_src_x", **settings
    )

    async def one(call, *arguments):
        try:
            return await call(*arguments)
        except ServerError as fault:
            return fault

    async def main():
        async with Client(section, now=lambda: NOW) as client:
            return await one(client.poll, 1), await one(listen, client, print, print)

    return anyio.run(main)


def assert_well(answers, proxy):
    polled, socket = answers
    assert polled.commands == []
    assert "answered 404" in str(socket), "the socket goes the same way"
    assert len(proxy.requests) == 2


def test_a_private_authority_is_trusted_by_its_certificate(tls, files):
    assert_well(ask(tls, ca_file=files.folder / "ca.pem"), tls)


def test_a_private_authority_is_trusted_by_ssl_cert_file(tls, files, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(files.folder / "ca.pem"))
    assert_well(ask(tls), tls)


@pytest.mark.parametrize("settings", [{}, {"ca_file": "strange-ca.pem"}])
def test_another_authority_is_refused_before_anything_is_sent(tls, files, settings):
    settings = {name: files.folder / file for name, file in settings.items()}

    for fault in ask(tls, **settings):
        assert isinstance(fault, ServerUnavailable)
        assert "cannot be trusted" in str(fault)
        assert "server.ca_file" in str(fault)
    assert tls.requests == []


def test_a_certificate_of_another_host_is_refused(files, server):
    proxy = terminating(files, server, host="other.example.com")
    try:
        for fault in ask(proxy, ca_file=files.folder / "ca.pem"):
            assert "not valid for '127.0.0.1'" in str(fault)
            assert "server.base_url" in str(fault)
        assert proxy.requests == []
    finally:
        proxy.close()


@pytest.mark.parametrize(
    "settings",
    [{"client_cert": "cert.pem", "client_key": "key.pem"}, {"client_cert": "both.pem"}],
)
def test_a_client_certificate_opens_a_server_that_wants_one(mutual, files, settings):
    settings = {name: files.folder / file for name, file in settings.items()}
    assert_well(ask(mutual, ca_file=files.folder / "ca.pem", **settings), mutual)


def test_a_client_certificate_does_not_change_who_is_trusted(mutual, files, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(files.folder / "ca.pem"))
    assert_well(ask(mutual, client_cert=files.folder / "both.pem"), mutual)


def test_without_the_client_certificate_that_is_wanted_the_setting_is_named(files):
    """The server says so only after the handshake, when it seems to have gone well."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files.authority.issue_cert("127.0.0.1").configure_cert(context)
    files.authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    def refuse_two():
        for _ in range(2):
            connection, _ = listener.accept()
            secured = context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            with pytest.raises(ssl.SSLError):
                secured.do_handshake()
            with socket.socket(fileno=secured.detach()) as bare:
                bare.shutdown(socket.SHUT_WR)
                while bare.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse_two)
        thread.start()
        port = SimpleNamespace(port=listener.getsockname()[1])
        for fault in ask(port, ca_file=files.folder / "ca.pem"):
            assert isinstance(fault, ServerUnavailable)
            assert "set server.client_cert" in str(fault)
        thread.join()


def test_tls_that_is_garbled_on_the_way_is_a_fault_of_the_network(tls, files):
    async def main():
        section = ServerSection(
            base_url=f"https://127.0.0.1:{outer.port}", api_key="rs_src_x",
            ca_file=files.folder / "ca.pem",
        )  # fmt: skip
        async with Client(section, now=lambda: NOW) as client:
            await client.poll(1)
            outer.garbled = True
            with pytest.raises(ServerUnavailable, match="cannot be reached"):
                await client.poll(1)
            with pytest.raises(ServerUnavailable, match="cannot be reached"):
                await listen(client, print, print)
            outer.heal()
            await client.poll(1)

    outer = Proxy(tls.port)
    try:
        anyio.run(main)
    finally:
        outer.close()


def test_an_encrypted_key_is_a_sentence_and_no_question_on_the_terminal(files):
    script = (
        "from rediver_agent.client import Client; from rediver_agent.settings import ServerSection;"
        "Client(ServerSection(base_url='https://localhost', api_key='rs_src_x',"
        f" client_cert={str(files.folder / 'cert.pem')!r},"
        f" client_key={str(files.folder / 'encrypted.pem')!r}), now=None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input="secret\n", capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "is encrypted; write it without a password" in done.stderr
    assert "pass phrase" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "settings",
    [{"client_cert": "cert.pem"}, {"client_cert": "missing.pem"}, {"ca_file": "key.pem"}],
)
def test_files_that_cannot_be_used_are_named(files, settings):
    settings = {name: files.folder / file for name, file in settings.items()}
    section = ServerSection(base_url="https://localhost", api_key="rs_src_x", **settings)
    with pytest.raises(
        ConfigurationError, match=r"client_cert or client_key, or SSL_CERT_FILE .* cannot be used"
    ):
        Client(section, now=lambda: NOW)


def test_an_ssl_cert_file_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    section = ServerSection(base_url="https://localhost", api_key="rs_src_x")
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE of the environment"):
        Client(section, now=lambda: NOW)


@pytest.mark.parametrize(
    "address",
    ["http://user:s3cr#et@proxy:3128", "socks5://user:s3cr@proxy:3128", "http://[::1", "ftp://a"],
)
def test_a_proxy_that_cannot_be_used_is_a_sentence_without_its_password(monkeypatch, address):
    monkeypatch.setenv("HTTPS_PROXY", address)
    section = ServerSection(base_url="https://localhost", api_key="rs_src_x")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as said:
        Client(section, now=lambda: NOW)
    assert "s3cr" not in str(said.value)


@pytest.fixture
def forward(request):
    proxy = ForwardProxy(getattr(request, "param", ""))
    yield proxy
    proxy.close()


@pytest.mark.parametrize("forward", ["", "user:pass word"], indirect=True)
def test_https_goes_through_the_proxy_of_the_environment(tls, files, forward, monkeypatch):
    user = "user:pass%20word@" if forward.wanted else ""
    monkeypatch.setenv("HTTPS_PROXY", f"http://{user}127.0.0.1:{forward.port}")

    assert_well(ask(tls, ca_file=files.folder / "ca.pem"), tls)
    assert set(forward.requests) == {f"CONNECT 127.0.0.1:{tls.port} HTTP/1.1"}, "and no path"


def test_plain_http_goes_through_its_own_proxy(server, forward, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{forward.port}")
    target = SimpleNamespace(port=server.server_port, requests=forward.requests)

    assert_well(ask(target, "http"), target)


def test_what_no_proxy_names_goes_straight(tls, files, forward, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{forward.port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    assert_well(ask(tls, ca_file=files.folder / "ca.pem"), tls)
    assert forward.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("forward", ["user:right"], indirect=True)
def test_a_proxy_that_wants_credentials_is_a_sentence(tls, files, forward, monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://user:wrong@127.0.0.1:{forward.port}")

    for fault in ask(tls, scheme, ca_file=files.folder / "ca.pem"):
        assert isinstance(fault, ServerUnavailable)
        assert "407" in str(fault)
        assert f"{scheme.upper()}_PROXY" in str(fault)
        assert "wrong" not in str(fault)
    assert tls.requests == []


def test_a_proxy_that_is_not_there_is_named_as_such(tls, files, forward, monkeypatch):
    forward.refuse()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{forward.port}")

    polled, _ = ask(tls, ca_file=files.folder / "ca.pem")
    assert isinstance(polled, ServerUnavailable)
    assert "HTTPS_PROXY" in str(polled)
