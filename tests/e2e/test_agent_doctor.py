"""`rediver-agent doctor`: every fault is a line that says what to do, and no traceback."""

import json
import os
import socket
import ssl
import subprocess  # noqa: TID251 - the command line is what is looked at
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest
import trustme
import yaml
from house import BIN, wait_for
from stub_scanner import write_program

from rediver_agent.cli.doctor_server import server as look_at_server
from rediver_agent.contract.findings import Report
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool

POLLING = """
agent: {enable_command_polling: true}
server: {base_url: "http://127.0.0.1:1", api_key: x}
"""
COMMANDS = b'{"commands": [], "poll_interval_seconds": 30}'


def doctor(config, *arguments, env=None):
    """Exit code, and what it prints."""
    done = subprocess.run(
        [BIN / "rediver-agent", "doctor", *arguments, "--config", config],
        capture_output=True, text=True, timeout=100, env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout


def faults(config, env=None):
    """What is not ok, and what to do."""
    code, said = doctor(config, "--json", env=env)
    document = json.loads(said)
    assert code == (0 if document["ok"] else 1)
    return {check["what"]: check["to_do"] for check in document["checks"] if not check["ok"]}


def test_where_all_is_well_every_line_is_ok(house, stub_env, tmp_path):
    (tmp_path / "app").mkdir()
    agent = house.start_agent(tmp_path / "app", env=stub_env, scanners=[{"name": "stub"}])
    config = tmp_path / "agent-0.yaml"
    wait_for((tmp_path / "state" / "status.json").exists, "the agent runs")
    house.outcome(house.command("health_check", payload={}))

    code, said = doctor(config, env=stub_env)

    lines = said.splitlines()
    assert code == 0, said
    assert all(line.startswith("ok      ") for line in lines)
    for part in (
        "mode: server-controlled", "is private", "can be written", "the spool is whole, 0 wait",
        f"the agent, process {agent.process.pid}, is running", f"target {tmp_path / 'app'}",
        "scanner stub, stub-tool stub 1.0", "answers as a Rediver server does",
        "the server takes this agent's key", "contract 1", "differ by", "WebSocket: opens",
    ):  # fmt: skip
        assert sum(part in line for line in lines) == 1, part
    assert house.source["api_key"] not in said
    assert house.call("GET", "/api/v1/sources")[1]["sources"][0]["conflict"] is False
    assert not list((tmp_path / "state" / "work").glob("probe-*"))


def test_everything_that_is_wrong_on_this_machine_is_named_at_once(tmp_path, stub_plugin):
    state, broken, config = a_bad_machine(tmp_path)

    path = os.pathsep.join([str(stub_plugin), str(broken)])
    said = faults(config, env={"PYTHONPATH": path, "PATH": f"{stub_plugin / 'bin'}:/usr/bin:/bin"})

    expected = {
        f"{state} can be entered by others": "chmod 700",
        "MiB of disk are free": "free space",
        "the spool is whole, 1 wait, the oldest for 3 h": "spool list",
        "the server has refused 1": "spool retry",
        "set aside as spool.corrupt-20260101T000000Z": "the log of that time",
        f"target {tmp_path / 'nowhere'}": "no such file or directory",
        f"target {tmp_path / 'file'}": "not a directory",
        "plugin broken (rediver-broken 1.0)": "RuntimeError: no luck",
        "scanner stub": "exit code 3",
        "scanner gitleaks": "/no/gitleaks is not on PATH",
        "scanner semgrep": "no option 'colour'",
        "scanner unheard-of": "install rediver-unheard-of",
        "collector nobody": "install rediver-nobody",
        "server 127.0.0.1:1": "is it up",
    }
    for what, to_do in expected.items():
        found = [step for line, step in said.items() if what in line]
        assert len(found) == 1, (what, said)
        assert to_do in found[0], found
    assert len(said) == len(expected), said
    assert "hunter2" not in json.dumps(said)


def a_bad_machine(tmp_path):
    """The state directory, a plugin that cannot be loaded, and the configuration."""
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    (state / "spool.corrupt-20260101T000000Z.sqlite3").touch()
    spool = Spool(state, now=lambda: datetime.now(UTC) - timedelta(hours=3))
    park_something(spool)
    spool.close()
    bad = write_program(tmp_path / "bin" / "bad-tool", "raise SystemExit(3)")
    (tmp_path / "file").touch()
    broken = tmp_path / "broken"
    info = broken / "rediver_broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rediver-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rediver_agent]\nbroken = rediver_broken\n")
    (broken / "rediver_broken.py").write_text("raise RuntimeError('no luck')")
    config = tmp_path / "agent.yaml"
    document = {
        "agent": {"enable_command_polling": True},
        "server": {"base_url": "http://127.0.0.1:1", "api_key": "rs_src_hunter2"},
        "targets": [str(tmp_path / "nowhere"), str(tmp_path / "file")],
        "scanners": [
            {"name": "stub", "binary": str(bad)}, {"name": "gitleaks", "binary": "/no/gitleaks"},
            {"name": "semgrep", "config": {"colour": "red"}}, {"name": "unheard-of"},
        ],
        "collectors": [{"name": "nobody"}],
        "retry_queue": {"min_free_bytes": 1 << 60},
        "state_dir": str(state),
    }  # fmt: skip
    config.write_text(yaml.safe_dump(document))
    return state, broken, config


def park_something(spool):
    """Two reports: one waits, one was refused."""
    for name in ("one", "two"):
        spool.open_report(name, name)
        report = Report.model_validate(
            {
                "version": "1.0",
                "metadata": {"id": name, "timestamp": "2026-01-01T00:00:00Z"},
                "tool": {"name": "stub"},
            }
        )
        spool.finish(name, None, [report])
    spool.park(spool.entries()[0], "it is malformed")


@pytest.mark.parametrize(
    ("text", "what", "to_do"),
    [
        ("agent: {naem: x}", "configuration", "did you mean name?"),
        ("state_dir: {dir}/gone/state", "cannot be made", "a part of it is a file"),
        ("state_dir: {dir}/state", "the spool is damaged", "sets it aside at its next start"),
        (POLLING, "allowed targets", "set security.allowed_targets"),
        ("{}", "mode", "nothing to do"),
        ("scanners: []", "no scanner is usable", "rediver-agent plugins"),
    ],
)
def test_a_fault_is_a_line(tmp_path, text, what, to_do):
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "spool.sqlite3").write_text("no database " * 1000)
    (tmp_path / "gone").touch()  # a file where the directory should be
    config = tmp_path / "agent.yaml"
    config.write_text(text.replace("{dir}", str(tmp_path)))
    home = {"XDG_STATE_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}

    said = [step for line, step in faults(config, env=home).items() if what in line]

    assert len(said) == 1
    assert to_do in said[0]


class _Answer(BaseHTTPRequestHandler):
    """Whatever a test says that a server answers."""

    def do_GET(self):
        answer = self.server.answer
        body = answer.get("body", COMMANDS)
        self.send_response_only(answer.get("status", 200))
        self.send_header(
            "Date", format_datetime(datetime.now(UTC) + answer.get("skew", timedelta()))
        )
        self.send_header("X-Rediver-Contract", answer.get("contract", "1"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(params=["http", "https"])
def answering(request, authority):
    """A server of any kind, plain and with TLS that nobody trusts yet."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    server.answer = {}
    server.url = f"{request.param}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def looked_at(**server):
    """Every line about a server."""
    settings = Settings.model_validate({"server": {"api_key": "rs_src_x", **server}})
    lines = anyio.run(look_at_server, settings, lambda: datetime.now(UTC))
    return [(line.ok, line.what, line.to_do) for line in lines]


def error(status, code):
    body = {"error": {"code": code, "message": "no"}}
    return {"status": status, "body": json.dumps(body).encode()}


@pytest.mark.parametrize("answering", ["http"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "what", "to_do"),
    [
        ({"body": b"<html>log in</html>"}, "HTTP", "did not answer as a Rediver server does"),
        ({"status": 404, "body": b"<html>"}, "HTTP 404", "something that is no Rediver server"),
        ({"status": 502}, "HTTP 502", "the server answered 502"),
        (error(401, "UNAUTHORIZED"), "key", "have a new one made"),
        (error(403, "FORBIDDEN"), "key", "correct server.source_id"),
        ({"contract": "2"}, "contract 2", "upgrade the older"),
        ({"skew": timedelta(hours=1)}, "differ by 3", "NTP"),
        ({"skew": timedelta(hours=-1)}, "differ by 3", "NTP"),
    ],
)
def test_the_step_that_fails_on_the_way_to_the_server_is_named(answering, answer, what, to_do):
    answering.answer = answer
    lines = looked_at(base_url=answering.url)
    (bad,) = [line for line in lines if not line[0]]

    assert what in bad[1]
    assert to_do in bad[2]
    assert all(line[0] for line in lines[:2])  # its name and its port are well


def test_a_server_without_a_socket_is_no_fault_and_costs_a_remark(answering, authority, tmp_path):
    certificate = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(certificate))
    lines = looked_at(base_url=answering.url, ca_file=str(certificate))

    assert all(line[0] for line in lines)
    assert "work waits for the next poll" in lines[-1][1]


@pytest.mark.parametrize("answering", ["https"], indirect=True)
def test_a_certificate_that_is_not_trusted_is_a_fault_of_tls(answering):
    (*_, (ok, what, to_do)) = looked_at(base_url=answering.url)

    assert (ok, what) == (False, "TLS")
    assert "server.ca_file" in to_do


def test_a_name_that_nobody_knows_and_a_port_that_nobody_answers_are_told_apart(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    ((_, unknown, dns),) = looked_at(base_url="https://nobody.invalid")
    *_, (_, closed, firewall) = looked_at(base_url=f"http://127.0.0.1:{port}")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    *_, (_, proxy, _) = looked_at(base_url="https://nobody.invalid")

    assert unknown == "server nobody.invalid"
    assert "DNS" in dns
    assert closed == f"server 127.0.0.1:{port}"
    assert "is it up" in firewall
    assert proxy == f"proxy 127.0.0.1:{port}"
