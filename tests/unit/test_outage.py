"""A server that is away for a day, on a clock that jumps: nobody gives up, and nobody hammers.

Loops, client, spool and sockets are the agent's own; only time is virtual.
"""

import asyncio
import json
import random
import re
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import anyio
import pytest
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
from rediver_agent.spool import Spool
from rediver_agent.status import Status

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
SERVER = {"base_url": "http://127.0.0.1", "api_key": "rs_src_x"}
UNAUTHORIZED = {"error": {"code": "UNAUTHORIZED", "message": "no such key"}}


class Server:
    """Answers an agent's calls, in the agent's own loop, while `open`; keeps when they came."""

    def __init__(self):
        self.now = asyncio.get_running_loop().now
        self.commands = []
        self.calls = []
        self.bodies = {}
        self.refuses_keys = False
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
                status, document = self._answer(path)
                text = json.dumps(document)
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
                )
        except (EOFError, OSError):
            writer.transport.abort()

    def _answer(self, path):
        if self.refuses_keys:
            return 401, UNAUTHORIZED
        if path.endswith("/claim"):
            commands, self.commands = self.commands, []
            return 200, {"commands": commands, "poll_interval_seconds": 30}
        if path.endswith("/heartbeat"):
            return 200, {"success": True, "server_time": self.now().isoformat()}
        if path.endswith("/findings"):
            return 200, {"success": True}
        if path.endswith("/result"):
            return 200, {"accepted": True, "command_id": "cmd_1", "status": "completed"}
        return 503, {}  # it has no socket free


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
        executor = build_executor(
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
            heartbeat_bell=heartbeat_bell, instance_id="i", now=now,
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


def finished_scan(spool):
    """A command whose work is done, and that the server has heard nothing of."""
    spool.claim("cmd_1")
    spool.begin("cmd_1", 1)
    spool.open_report("r1", "cmd_1")
    found = [Finding(type="vulnerability", title=str(n), severity="high") for n in range(3)]
    spool.add_findings("r1", "cmd_1", found)
    at = virtual_time.START
    report = Report(version="1.0", metadata={"id": "r1", "timestamp": at}, tool={"name": "stub"})
    result = CommandResult(status="completed", completed_at=at, attempt=1, findings_count=3)
    spool.finish("cmd_1", result, [report])


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(4)


@pytest.mark.parametrize("hours", [3, pytest.param(24, marks=pytest.mark.slow)])
def test_hours_without_a_server_are_sat_out_and_then_everything_is_delivered_once(tmp_path, hours):
    async def main(loop):
        server = Server()
        await server.open()
        await server.close()  # its port is known, and nobody listens
        spool = Spool(tmp_path, now=loop.now)
        finished_scan(spool)
        async with client_of(loop.now, server.port) as client:
            agent = Loops(loop.now, spool, tmp_path, client)
            every = (agent.poll, agent.heartbeat, agent.deliver, agent.notify)
            async with agent.running(*every):
                await anyio.sleep(hours * HOUR)
                tried = Counter(
                    polls=agent.status.poll.failed,
                    heartbeats=agent.status.heartbeat.failed,
                    sockets=len(agent.waits),
                    deliveries=sum(entry.attempts for entry in spool.entries()),
                )
                assert [entry.kind for entry in spool.entries()] == ["findings", "result"]
                await server.open(server.port)
                await anyio.sleep(10 * MINUTE)
                assert agent.status.poll.problem is agent.status.heartbeat.problem is None
        assert spool.entries() == spool.held() == []
        spool.close()
        await server.close()
        # Every 30 s (24 to 36) and every 20 s, while a result waits; within 5 min; within 1 min.
        assert 100 <= tried["polls"] / hours <= 151, tried
        assert 179 <= tried["heartbeats"] / hours <= 181, tried
        assert 12 <= tried["deliveries"] / hours <= 60, tried
        assert 60 <= tried["sockets"] / hours <= 200, tried
        assert len(server.times("/ingest/findings")) == 1
        assert len(server.times("/result")) == 1
        (result,) = server.bodies["/api/v1/commands/cmd_1/result"]
        assert (json.loads(result)["status"], json.loads(result)["findings_count"]) == (
            "completed",
            3,
        )

    virtual_time.run(main)


def test_an_outage_that_outlasts_the_spool_leaves_no_clean_result(tmp_path):
    async def main(loop):
        server = Server()
        await server.open()
        await server.close()
        spool = Spool(tmp_path, now=loop.now)
        finished_scan(spool)
        async with client_of(loop.now, server.port) as client:
            agent = Loops(loop.now, spool, tmp_path, client, max_age="24h")
            async with agent.running(agent.deliver):
                await anyio.sleep(DAY + 3 * HOUR)
                assert spool.entries() == []
                await server.open(server.port)
                await anyio.sleep(HOUR)
        spool.close()
        await server.close()
        assert server.calls == [], "nobody is told that all was well"

    virtual_time.run(main)


def test_a_refused_key_costs_one_poll_a_minute_and_no_more_once_it_is_good(tmp_path, caplog):
    async def main(loop):
        server = Server()
        await server.open()
        server.refuses_keys = True
        spool = Spool(tmp_path, now=loop.now)
        finished_scan(spool)
        async with client_of(loop.now, server.port) as client:
            agent = Loops(loop.now, spool, tmp_path, client, command_poll_interval="1s")
            async with agent.running(agent.poll, agent.deliver):
                await anyio.sleep(HOUR)
                assert 50 <= len(server.times("/claim")) <= 76
                assert len(spool.entries()) == 2, "nothing is given up for a key"
                server.refuses_keys = False
                await anyio.sleep(6 * MINUTE)
                assert agent.status.poll.problem is None
        assert spool.entries() == []
        spool.close()
        await server.close()

    virtual_time.run(main)
    assert "no such key" in caplog.text
    assert "server.api_key" in caplog.text


@pytest.mark.parametrize("agents", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_many_agents_do_not_come_back_as_a_herd(tmp_path, agents):
    """They were started together and lost their server together."""

    async def main(loop):
        server = Server()
        await server.open()
        spool = Spool(tmp_path, now=loop.now)  # one for all: nothing is claimed
        async with AsyncExitStack() as stack:
            for number in range(agents):
                client = client_of(loop.now, server.port, f"rs_src_{number}")
                await stack.enter_async_context(client)
                agent = Loops(loop.now, spool, tmp_path, client)
                await stack.enter_async_context(agent.running(agent.poll, agent.notify))
            await anyio.sleep(MINUTE)
            await server.close()
            await anyio.sleep(5 * MINUTE)
            server.calls.clear()
            back = anyio.current_time()
            await server.open(server.port)
            await anyio.sleep(2 * MINUTE)
        for path in ("/claim", "/agents/ws"):
            first = {}
            for at, called, key in server.calls:
                if called.endswith(path):
                    first.setdefault(key, at - back)
            fifths = Counter(int(at / 7.2) for at in first.values() if at < 36)
            late = sum(at >= 36 for at in first.values())
            assert len(first) == agents, path
            assert max(fifths.values()) <= 0.4 * agents, (path, fifths, late)
            assert min(fifths[n] for n in range(4)) >= 0.05 * agents, (path, fifths, late)
        spool.close()
        await server.close()

    virtual_time.run(main)


@pytest.mark.parametrize(
    ("hours_off", "expires_in", "reason"),
    [(1, 60, "unknown_scanner"), (-1, 60, "unknown_scanner"), (-1, -1, "expired")],
)
def test_a_command_expires_by_the_servers_clock_whatever_the_agents_says(
    tmp_path, hours_off, expires_in, reason
):
    """Not early where the agent is an hour ahead, and not run late where it is behind."""

    async def main(loop):
        def now():
            return loop.now() + timedelta(hours=hours_off)

        server = Server()
        await server.open()
        expires_at = (loop.now() + timedelta(seconds=expires_in)).isoformat()
        payload = {"scanner": "none", "target": "/"}
        command = {"id": "cmd_1", "type": "scan", "payload": payload, "expires_at": expires_at}
        server.commands = [{**command, "attempt": 1}]
        spool = Spool(tmp_path, now=now)
        async with client_of(now, server.port) as client:
            agent = Loops(now, spool, tmp_path, client)
            await agent.heartbeat.beat()
            async with agent.running(agent.poll, agent.deliver):
                await anyio.sleep(10)
        spool.close()
        await server.close()
        (result,) = server.bodies["/api/v1/commands/cmd_1/result"]
        assert json.loads(result)["metadata"]["reason"] == reason

    virtual_time.run(main)
