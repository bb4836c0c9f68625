"""The loops of an agent that talk to its server, and a server of a test's own, in virtual time.

Loops, client, spool and sockets are the agent's own; only time is virtual.
"""

import asyncio
import json
import random
import re
from contextlib import asynccontextmanager

import anyio
import virtual_time

from rediver_agent.agent import build_executor
from rediver_agent.client import Client
from rediver_agent.configuration import Configuration
from rediver_agent.contract import CommandResult, Finding, Report
from rediver_agent.loops.deliver import DeliverLoop
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.heartbeat import HeartbeatLoop
from rediver_agent.loops.notify import NotifyLoop
from rediver_agent.loops.poll import PollLoop
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.status import Status

SERVER = {"base_url": "http://127.0.0.1", "api_key": "rs_src_x"}
UNAUTHORIZED = {"error": {"code": "UNAUTHORIZED", "message": "no such key"}}


class Server:
    """Answers an agent's calls, in the agent's own loop, while `open`; keeps when they came.

    `says` are answers of a test's own, by the end of a path: a status, a document and headers, or
    what makes them when they are asked for.
    """

    def __init__(self):
        self.now = asyncio.get_running_loop().now
        self.commands = []
        self.calls = []
        self.bodies = {}
        self.refuses_keys = False
        self.says = {}
        self._connections = set()

    async def open(self, port=0):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self):
        self._server.close()
        for writer in self._connections:
            writer.transport.abort()
        await anyio.sleep(0.1)

    def times(self, path):
        return [at for at, called, _ in self.calls if called.endswith(path)]

    async def _serve(self, reader, writer):
        self._connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                path = head.split(" ")[1]
                key = re.search(r"bearer (\S+)", head, re.IGNORECASE)[1]
                self.calls.append((anyio.current_time(), path, key))
                self.bodies.setdefault(path, []).append(body)
                answer = self._answer(path)
                status, document, headers = await answer() if callable(answer) else answer
                text = json.dumps(document)
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(
                    f"HTTP/1.1 {status} X\r\n{lines}"
                    f"Content-Length: {len(text)}\r\n\r\n{text}".encode()
                )
        except (EOFError, OSError):
            writer.transport.abort()

    def _answer(self, path):
        if self.refuses_keys:
            return 401, UNAUTHORIZED, {}
        for end, answer in self.says.items():
            if path.endswith(end):
                return answer
        if path.endswith("/claim"):
            commands, self.commands = self.commands, []
            return 200, {"commands": commands, "poll_interval_seconds": 30}, {}
        if path.endswith("/heartbeat"):
            return 200, {"success": True, "server_time": self.now().isoformat()}, {}
        if path.endswith("/findings"):
            return 200, {"success": True}, {}
        if path.endswith("/result"):
            return 200, {"accepted": True, "command_id": "cmd_1", "status": "completed"}, {}
        return 503, {}, {}  # it has no socket free


class Loops:
    """What of an agent talks to its server."""

    def __init__(self, now, spool, state, client, max_age="168h", **agent):
        agent = {"name": "a", "enable_command_polling": True, **agent}
        settings = Settings(
            agent=agent, server=SERVER, state_dir=state, retry_queue={"max_age": max_age}
        )
        configuration = Configuration(settings)
        self.status = Status(now(), "server-controlled")
        self.bell, outbox_bell, heartbeat_bell = Doorbell(), Doorbell(), Doorbell()
        self.executor = executor = build_executor(
            configuration, Registry({}, {}), spool, now=now, clock_skew=lambda: client.clock_skew
        )
        self.tasks = anyio.create_task_group()
        self.deliver = DeliverLoop(client, spool, configuration, outbox_bell, now)
        self.heartbeat = HeartbeatLoop(
            client=client, executor=executor, spool=spool, configuration=configuration,
            runtime=self.status, scanners=list, collectors=list, hostname="h", instance_id="i",
            started=now(), now=now, bell=heartbeat_bell, on_damage=lambda: None,
        )  # fmt: skip
        self.poll = PollLoop(
            client=client, executor=executor, spool=spool, configuration=configuration,
            status=self.status, tasks=self.tasks, bell=self.bell, outbox_bell=outbox_bell,
            heartbeat_bell=heartbeat_bell, name_what_is_held=self.heartbeat.catch_up,
            instance_id="i", now=now,
        )  # fmt: skip
        self.waits = []
        self.notify = NotifyLoop(client, self.bell, bool, self.status, self._uniform)

    def _uniform(self, low, high):
        self.waits.append(random.uniform(low, high))
        return self.waits[-1]

    @asynccontextmanager
    async def running(self, *loops):
        async with self.tasks:
            for each in loops:
                self.tasks.start_soon(each.run)
            yield self
            self.tasks.cancel_scope.cancel()


def client_of(now, port, key="rs_src_x"):
    server = {"base_url": f"http://127.0.0.1:{port}", "api_key": key}
    return Client(Settings(server=server).server, now=now)


def finished_scan(spool, command_id="cmd_1"):
    """A command whose work is done, and that the server has heard nothing of."""
    report_id = f"{command_id}.report"
    spool.claim(command_id)
    spool.begin(command_id, 1)
    spool.open_report(report_id, command_id)
    found = [Finding(type="vulnerability", title=str(n), severity="high") for n in range(3)]
    spool.add_findings(report_id, command_id, found)
    at = virtual_time.START
    metadata = {"id": report_id, "timestamp": at}
    report = Report(version="1.0", metadata=metadata, tool={"name": "stub"})
    result = CommandResult(status="completed", completed_at=at, attempt=1, findings_count=3)
    spool.finish(command_id, result, [report])
