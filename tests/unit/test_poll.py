"""An agent asks for work as often as the server lets it, under names that can still claim, and
after it has named what it holds.
"""

import json
import random

import anyio
import pytest
import virtual_time
from agent_loops import Loops, Server, client_of, finished_scan

from rediver_agent.contract.commands import ScanCommand
from rediver_agent.executor import Job, Outcome
from rediver_agent.spool import Spool

MINUTE, HOUR = 60.0, 3600.0
SCAN = {"id": "cmd_1", "type": "scan", "payload": {"scanner": "none", "target": "/"}, "attempt": 1}
TRY_LATER = {"error": {"code": "RATE_LIMITED", "message": "later"}}


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(4)


def with_server(tmp_path, main):
    """Run `main(server, agent, spool)` in virtual time."""

    async def begin(loop):
        server = Server()
        await server.open()
        spool = Spool(tmp_path, now=loop.now)
        async with client_of(loop.now, server.port) as client:
            await main(server, Loops(loop.now, spool, tmp_path, client), spool)
        spool.close()
        await server.close()

    virtual_time.run(begin)


def claim_names(server):
    return [json.loads(body)["claim_id"] for body in server.bodies["/api/v1/commands/claim"]]


def test_a_claim_of_which_nothing_is_held_any_more_does_not_keep_its_name(tmp_path):
    """A server remembers a name for a day, and gives nothing new under it."""

    async def main(server, agent, spool):
        of_predecessor = spool.claim_id()  # its answer was lost, and so is what it claimed
        async with agent.running(agent.poll):
            await anyio.sleep(2 * MINUTE)
            in_peace = claim_names(server)
            server.says["/claim"] = 502, {}, {}  # who knows what was claimed
            await anyio.sleep(MINUTE)
            server.says.clear()
            await anyio.sleep(2 * MINUTE)
        assert in_peace[0] == of_predecessor
        assert len(set(in_peace[1:])) == 1, "nothing is written as long as there is no doubt"
        assert in_peace[1] != of_predecessor
        assert claim_names(server)[-1] != in_peace[-1]

    with_server(tmp_path, main)


def test_what_is_held_is_named_before_anything_new_is_asked_for(tmp_path):
    """Else a server that has missed it for a minute hands it out anew, to the same agent."""

    async def main(server, agent, spool):
        spool.claim("cmd_1")
        spool.begin("cmd_1", 1)
        port = server.port
        async with agent.running(agent.poll, agent.heartbeat):
            await anyio.sleep(MINUTE)
            await server.close()
            await anyio.sleep(1.5 * MINUTE)
            server.calls.clear()
            await server.open(port)
            agent.bell.ring()  # as the WebSocket does when it is open again
            await anyio.sleep(5)
        paths = [path.rpartition("/")[2] for _, path, _ in server.calls]
        assert paths.index("heartbeat") < paths.index("claim"), paths

    with_server(tmp_path, main)


class Slow:
    """Work, and a heartbeat's answer, that both wait until they are let go."""

    def __init__(self):
        self.begun, self.asked, self.go = anyio.Event(), anyio.Event(), anyio.Event()
        self.ended = "from outside"

    async def handle(self, _job):
        self.begun.set()
        await anyio.sleep(MINUTE)
        self.ended = "by itself"
        return Outcome()

    async def answer(self):
        self.asked.set()
        await self.go.wait()
        said = {"success": True, "server_time": virtual_time.START.isoformat(), "lost": ["cmd_1"]}
        return 200, said, {}


@pytest.mark.parametrize(("attempt", "ended"), [(1, "from outside"), (2, "by itself")])
def test_what_a_server_says_of_one_attempt_does_not_end_the_next(tmp_path, attempt, ended):
    """Its word that the first is lost comes when the second has begun: on this very agent."""

    async def main(server, agent, spool):
        slow = Slow()
        agent.executor.add_handler("scan", slow)
        server.says["/heartbeat"] = slow.answer
        spool.claim("cmd_1")
        spool.begin("cmd_1", 1)
        async with agent.running(agent.deliver):
            agent.tasks.start_soon(agent.heartbeat.beat)
            await slow.asked.wait()
            command = ScanCommand.model_validate(SCAN)
            agent.tasks.start_soon(agent.executor.execute, Job(command, attempt=attempt))
            await slow.begun.wait()
            slow.go.set()
            await anyio.sleep(2 * MINUTE)
        assert slow.ended == ended

    with_server(tmp_path, main)


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        ((429, TRY_LATER, {"Retry-After": "600"}), 1),
        ((401, {"error": {"code": "UNAUTHORIZED", "message": "no such key"}}, {}), 12),
    ],
)
def test_no_bell_makes_an_agent_ask_sooner_than_the_server_lets_it(tmp_path, answer, calls):
    async def main(server, agent, _):
        server.says["/claim"] = answer
        async with agent.running(agent.poll):
            for _ in range(590):  # local scans end, and the next is to begin
                agent.bell.ring()
                await agent.poll.ask()
                await anyio.sleep(1)
        assert 1 <= len(server.times("/claim")) <= calls + 1

    with_server(tmp_path, main)


def test_a_claim_in_single_calls_is_made_again_where_the_server_claims_by_now(tmp_path):
    async def main(server, agent, spool):
        server.says["/claim"] = 404, {}, {}
        server.says["&status=pending"] = 200, {"commands": [SCAN]}, {}
        server.says["/acknowledge"] = 502, {}, {}
        async with agent.running(agent.poll):
            await anyio.sleep(MINUTE)
            assert [command.state for command in spool.held()] == ["claiming"]
            server.says["&status=pending"] = 502, {}, {}
            await anyio.sleep(15 * MINUTE)
            server.says.clear()
            server.says["/acknowledge"] = 200, {"acknowledged": True, "command_id": "cmd_1"}, {}
            await anyio.sleep(15 * MINUTE)
            assert [command.state for command in spool.held()] == ["finished"]
        assert "claim" in server.calls[-1][1]

    with_server(tmp_path, main)


@pytest.mark.parametrize("attempt", [2**70, -1, "two"])
def test_an_attempt_that_is_none_costs_its_command_and_nothing_else(tmp_path, attempt):
    async def main(server, agent, spool):
        server.commands = [{**SCAN, "attempt": attempt}]
        async with agent.running(agent.poll, agent.deliver):
            await anyio.sleep(MINUTE)
        assert spool.held() == []
        (result,) = server.bodies["/api/v1/commands/cmd_1/result"]
        assert json.loads(result)["status"] == "failed"

    with_server(tmp_path, main)


def test_retry_after_holds_for_everything_that_waits(tmp_path):
    async def main(server, agent, spool):
        for number in range(20):
            finished_scan(spool, f"cmd_{number}")
        server.says["/findings"] = 429, TRY_LATER, {"Retry-After": "60"}
        server.says["/results"] = 404, {}, {}
        async with agent.running(agent.deliver):
            await anyio.sleep(50)
            assert len(server.times("/findings")) == 1
            del server.says["/findings"]
            await anyio.sleep(10 * MINUTE)
        assert spool.entries() == []

    with_server(tmp_path, main)


def test_a_clock_that_is_set_back_an_hour_delays_nothing_that_waits(tmp_path):
    async def main(loop):
        behind = virtual_time.timedelta()
        server = Server()
        await server.open()

        def now():
            return loop.now() - behind

        spool = Spool(tmp_path, now=now)
        finished_scan(spool)
        server.says["/findings"] = 503, {}, {}
        async with client_of(now, server.port) as client:
            agent = Loops(now, spool, tmp_path, client)
            async with agent.running(agent.deliver):
                await anyio.sleep(1)
                server.says.clear()
                behind = virtual_time.timedelta(hours=1)
                await anyio.sleep(10 * MINUTE)
        assert spool.entries() == []
        spool.close()
        await server.close()

    virtual_time.run(main)
