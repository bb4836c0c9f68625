"""A server as its users run it: `rediver-server serve`, its processes, and WebSockets to it.

It is ended by its own process id when the test ends.
"""

import json
import re
import socket
import threading
from pathlib import Path

import httpx
from click.testing import CliRunner
from house import BIN, Program, wait_for
from rediver_server_fixtures import Server
from simple_websocket import Client, ConnectionClosed

from rediver_server.cli import commands

SCAN = {"type": "scan", "payload": {"scanner": "semgrep", "target": "/srv/app"}}
CONFIG = {"type": "config_update", "payload": {"config_data": {}}}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
AVAILABLE = {"type": "command_available"}
UPDATE = {"type": "config_update"}


class Served:
    """A running server over a database that has its schema."""

    def __init__(self, url: str, folder: Path, *options: str, **environment: str) -> None:
        self.url = url
        self.log = folder / f"serve-{len(list(folder.glob('serve-*')))}.log"
        flags = ("--port", "0", "--database-url", url, *options)
        # Killed, it leaves its folder of counts: let that go with the test.
        always = {"REDIVER_SERVER_CREATIONS_PER_MINUTE": "0", "TMPDIR": str(folder)}
        self.program = Program(
            self.log, str(BIN / "rediver-server"), "serve", *flags, env={**always, **environment}
        )
        listening = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
        found = wait_for(lambda: listening.search(self.log.read_text()), f"it listens: {self.log}")
        self.port = int(found[1])
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self.sockets: list[Ears] = []
        self.tenants = 0

    def cli(self, *arguments: str) -> dict:
        return Server.cli(self, *arguments)  # the same command line, on this database

    def revoke(self, key_id: str) -> None:
        """As somebody does on the command line."""
        done = CliRunner().invoke(commands, ["key", "revoke", key_id, "--database-url", self.url])
        assert done.exit_code == 0, done.output

    def tenant(self) -> "Tenant":
        self.tenants += 1
        made = self.cli("tenant", "create", f"{self.log.stem}-{self.tenants}")
        return Tenant(self, made["api_key"], made["tenant_id"])

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        master = self.program.process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text()
        return [int(pid) for pid in children.split()]

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def upgraded(self, key: str, **headers: str) -> socket.socket:
        """A bare connection whose upgrade was asked for."""
        sent = {"Host": "x", "Authorization": f"Bearer {key}", **UPGRADE, **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        connection = self.connect()
        connection.sendall(f"GET /api/v1/agents/ws HTTP/1.1\r\n{lines}\r\n".encode())
        return connection

    def close(self) -> None:
        for ears in self.sockets:
            ears.end()
        self.http.close()
        if self.program.process.poll() is None:
            self.program.crash()


class Caller:
    """Somebody with a key."""

    def __init__(self, served: Served, key: str, row: str = "") -> None:
        self.served, self.key, self.id = served, key, row

    def call(self, method: str, path: str, body=None, **headers: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}", **headers}
        return self.served.http.request(method, f"/api/v1{path}", json=body, headers=headers)

    def ok(self, method: str, path: str, body=None) -> dict:
        reply = self.call(method, path, body)
        assert reply.status_code < 300, reply.text
        return reply.json() if reply.content else {}


class Agent(Caller):
    def listen(self) -> "Ears":
        ears = Ears(self.served.port, self.key)
        self.served.sockets.append(ears)
        return ears

    def acknowledge(self, command: str) -> str:
        self.ok("POST", f"/commands/{command}/acknowledge", {})
        return command


class Tenant(Caller):
    """Its admin."""

    def agent(self, *scanners: str) -> Agent:
        made = self.ok("POST", "/sources", {"name": "agent", "type": "agent"})
        agent = Agent(self.served, made["api_key"], made["id"])
        if scanners:
            said = {"name": "agent", "status": "running", "scanners": scanners}
            agent.ok("POST", "/ingest/heartbeat", said)
        return agent

    def order(self, agent: Agent | None = None, kind: dict = SCAN) -> str:
        order = {**kind, **({"source_id": agent.id} if agent else {})}
        return self.ok("POST", "/commands", order)["id"]


class Ears:
    """An open WebSocket, and what it has heard."""

    def __init__(self, port: int, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self.ws = Client(f"ws://127.0.0.1:{port}/api/v1/agents/ws", headers=headers)
        self.heard: list[dict] = []
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        try:
            while True:
                self.heard.append(json.loads(self.ws.receive()))
        except ConnectionClosed:
            self.closed.set()

    def hear(self, *messages: dict) -> None:
        """Wait until these have come, and check that no others did."""
        wait_for(lambda: len(self.heard) >= len(messages), f"{messages}, not {self.heard}")
        assert self.heard == list(messages)
        self.heard.clear()

    def end(self) -> None:
        if self.ws.connected:
            self.ws.close()
        self.thread.join()
