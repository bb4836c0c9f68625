"""`rediver-server` as a program: what it prints, what it refuses, and that it serves."""

import json
import signal
import socket
import subprocess  # noqa: TID251 - the program under test is the server's own command line
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rediver_server.cli import main

PROGRAM = Path(sys.executable).with_name("rediver-server")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cli.db'}"


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"REDIVER_SERVER_DATABASE_URL": url} if url else {}
    return subprocess.run(
        [PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


def made(url: str, *arguments: str) -> dict[str, str]:
    done = run(url, *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@contextmanager
def serving(url: str, *arguments: str) -> Iterator[str]:
    """The address that a server says it listens on. It has to end well."""
    process = subprocess.Popen(
        [PROGRAM, "serve", "--port", "0", *arguments],
        env={"REDIVER_SERVER_DATABASE_URL": url},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        assert line.startswith("rediver-server listening on http://"), line
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_two_commands_from_nothing_to_an_answer(url: str):
    with serving(url) as address:
        tenant = made(url, "tenant", "create", "acme")  # beside the running server
        assert set(tenant) == {"tenant_id", "api_key"}
        source = made(url, "source", "create", "--tenant", "acme", "--name", "build-1")
        assert source["type"] == "agent"
        assert {"id", "api_key", "api_key_prefix", "status", "created_at"} <= set(source)
        viewer = made(url, "key", "create", "--tenant", tenant["tenant_id"], "--role", "viewer")
        assert set(viewer) == {"key_id", "api_key"}
        for key, path in (
            (tenant["api_key"], "sources"),
            (source["api_key"], "commands"),
            (viewer["api_key"], "findings"),
        ):
            headers = {"Authorization": f"Bearer {key}"}
            assert httpx.get(f"{address}/api/v1/{path}", headers=headers).status_code == 200
        assert httpx.get(f"{address}/readyz").json()["status"] == "ready"

        run(url, "key", "revoke", viewer["key_id"])
        headers = {"Authorization": f"Bearer {viewer['api_key']}"}
        assert httpx.get(f"{address}/api/v1/findings", headers=headers).status_code == 401


def test_what_is_not_http_is_answered_with_json_too(url: str):
    with serving(url) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(b"NONSENSE\r\n\r\n")
            reply = raw.makefile("rb").read()
        head, _, body = reply.partition(b"\r\n\r\n")
        assert b"400 Bad Request" in head
        assert json.loads(body)["error"]["code"] == "INVALID_REQUEST"

        chunks = iter([b'{"name": "n",', b' "type": "agent"}'])
        tenant = made(url, "tenant", "create", "acme")
        headers = {
            "Authorization": f"Bearer {tenant['api_key']}",
            "Content-Type": "application/json",
        }
        chunked = httpx.post(f"{address}/api/v1/sources", content=chunks, headers=headers)
        assert chunked.status_code == 201


def test_it_restarts_on_the_same_database(url: str):
    key = made(url, "tenant", "create", "acme")["api_key"]
    headers = {"Authorization": f"Bearer {key}"}
    order = {"type": "health_check", "payload": {}}
    with serving(url) as address:
        api = f"{address}/api/v1/commands"
        command = httpx.post(api, json=order, headers=headers).json()["id"]
    with serving(url) as address:
        listed = httpx.get(f"{address}/api/v1/commands", headers=headers).json()["commands"]
    assert [row["id"] for row in listed] == [command]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "--workers", "2"], "--workers 1"),
        (["serve", "--port", "99999"], "--port"),
        (["serve", "--host", "256.0.0.1", "--port", "0"], "cannot listen"),
        (["key", "create", "--tenant", "nobody", "--role", "viewer"], "no tenant nobody"),
        (["key", "create", "--tenant", "nobody", "--role", "source"], "--role"),
        (["key", "revoke", "key_nobody"], "no key key_nobody"),
        (["source", "create", "--tenant", "nobody", "--name", "n"], "no tenant nobody"),
        (["source", "create", "--tenant", "nobody", "--name", "n", "--type", "x"], "--type"),
        (["tenant", "create"], "NAME"),
        (["frobnicate"], "frobnicate"),
        (["migrate", "--database-url", "mysql://localhost/x"], "mysql"),
        (["migrate", "--database-url", "postgresql://127.0.0.1:1/x"], "database cannot be used"),
        (["migrate", "--database-url", "sqlite://"], "memory"),
        (["migrate", "--database-url", "nonsense"], "sqlite:///"),
        (["migrate", "--database-url", "postgresql://u:p@h:port/x"], "database_url: write it"),
        (["migrate", "--database-url", "sqlite:////nowhere/at/all.db"], "No such file"),
        (["migrate", "--database-url", "sqlite:////etc/hostname"], "not a database"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_2(
    url: str,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("REDIVER_SERVER_DATABASE_URL", url)
    monkeypatch.setattr(sys, "argv", ["rediver-server", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert said in printed.err
    assert printed.err.startswith("rediver-server: ")
    assert printed.err.count("\n") == 1


def test_a_port_that_is_taken_is_one_sentence(url: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(url, "serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["", "  ", "a\x1b[31mb", "x" * 256])
def test_a_tenants_name_is_one_that_can_be_shown(url: str, name: str):
    done = run(url, "tenant", "create", name)

    assert (done.returncode, done.stdout) == (2, "")
    assert "printable" in done.stderr


def test_a_tenant_of_a_name_that_is_taken_is_refused(url: str):
    made(url, "tenant", "create", "acme")
    done = run(url, "tenant", "create", "acme")
    assert (done.returncode, done.stdout) == (2, "")
    assert "choose another name" in done.stderr


def test_the_database_is_only_its_owners_to_read(url: str, tmp_path: Path):
    run(url, "migrate")
    assert (tmp_path / "cli.db").stat().st_mode & 0o077 == 0
