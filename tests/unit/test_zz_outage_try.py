"""A server that is away for a day, on a clock that jumps: nobody gives up, and nobody hammers.

Loops, client, spool and sockets are the agent's own; only time is virtual.
"""

import json
import random
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta

import anyio
import pytest
import virtual_time
from agent_loops import Loops, Server, client_of, finished_scan

from rediver_agent.spool import Spool

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


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
        raise SystemError(str(dict(tried)))
        # Every 30 s (24 to 36) and every 20 s, while a result waits; within 5 min; within 1 min.
        assert 100 <= tried["polls"] / hours <= 151, tried
        # And once before each poll: what is held is named before anything is asked for.
        assert 279 <= tried["heartbeats"] / hours <= 331, tried
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
