"""Observers are told what an agent does, in order, and hold up nobody."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest
import virtual_time
from pydantic import BaseModel

from rediver_agent import CommandHandler, NoOptions, Observer
from rediver_agent.agent import build_executor, open_spool
from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import UnknownCommand
from rediver_agent.executor import Cause, Job
from rediver_agent.loops.observe import LAST_SECONDS, QUEUE, Observers, observers_of
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool

TOKEN = "t0ken-of-the-operator"


class Payload(BaseModel, extra="forbid"):
    seconds: float = 0.0


class Work(CommandHandler[Payload, NoOptions]):
    command_type = "work"
    payload = Payload

    async def handle(self, _ctx, payload, _options):
        await anyio.sleep(payload.seconds)
        return {"said": f"with {TOKEN}"}


class Options(BaseModel, extra="forbid"):
    token: str = ""


class Watcher(Observer[Options]):
    """Keeps what it is told, after doing what a test says."""

    options = Options

    def __init__(self, name="watcher", do=None):
        self.name, self.do, self.told = name, do, []

    async def started(self, command, _options):
        await self._take("started", command, None)

    async def finished(self, command, result, _options):
        await self._take("finished", command, result)

    async def _take(self, what, command, result):
        if self.do is not None:
            await self.do()
        self.told.append((what, command, result))

    @property
    def names(self):
        return [(what, command.id) for what, command, _ in self.told]


class Agent:
    """An executor that is observed."""

    def __init__(self, loop, directory, *watchers):
        listed = [{"name": watcher.name, "config": {"token": TOKEN}} for watcher in watchers]
        self.settings = Settings(
            state_dir=directory, observers=listed, security={"allowed_command_types": ["work"]}
        )
        registry = Registry(
            {}, {}, handlers={"work": Work()}, observers={each.name: each for each in watchers}
        )
        self.spool: Spool = open_spool(self.settings, loop.now)
        self.executor = build_executor(
            Configuration(self.settings), registry, self.spool, now=loop.now
        )
        self.observers = Observers(observers_of(self.settings, registry), self.settings.secrets)
        self.executor.on_begin = self.observers.started
        self.executor.on_result = self.observers.finished

    @asynccontextmanager
    async def running(self):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.observers.run)
            yield self
            await self.observers.stop()
        self.spool.close()

    async def do(self, command_id, kind="work", **payload):
        self.spool.claim(command_id)
        command = UnknownCommand(id=command_id, type=kind, payload=payload)
        return await self.executor.execute(Job(command, 3))


def observed(tmp_path, check, *watchers):
    async def main(loop):
        agent = Agent(loop, tmp_path, *watchers)
        async with agent.running():
            await check(agent)

    virtual_time.run(main)


def test_it_is_told_of_the_start_and_of_the_end_when_the_result_is_on_disk(tmp_path):
    watcher, waiting = Watcher(), []

    async def look():
        waiting.append(len(agents[0].spool.entries()))

    async def check(agent):
        agents.append(agent)
        await agent.do("cmd_1", seconds=2)
        await agent.do("cmd_2", kind="forbidden")

    agents = []
    watcher.do = look
    observed(tmp_path, check, watcher)

    assert watcher.names == [
        ("started", "cmd_1"), ("finished", "cmd_1"), ("started", "cmd_2"), ("finished", "cmd_2"),
    ]  # fmt: skip
    assert waiting[1] >= 1
    _, command, result = watcher.told[1]
    assert (command.type, command.attempt, command.commanded) == ("work", 3, True)
    assert (result.status, result.duration_ms) == ("completed", 2000)
    assert result.metadata == {"said": "with ***"}
    assert watcher.told[3][2].metadata["reason"] == "type_not_allowed"


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("boom"),
        SystemExit(3),
        asyncio.CancelledError(),
        ExceptionGroup("x", [OSError()]),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_an_error_of_one_is_logged_with_its_name_and_hurts_nobody(tmp_path, caplog, fault):
    async def fails():
        raise fault

    good = Watcher("good")

    async def check(agent):
        assert (await agent.do("cmd_1")).status == "completed"

    observed(tmp_path, check, Watcher("bad", fails), good)

    assert good.names == [("started", "cmd_1"), ("finished", "cmd_1")]
    assert "the observer bad failed at the start of cmd_1" in caplog.text
    assert type(fault).__name__ in caplog.text


def test_a_call_that_takes_too_long_is_ended_and_the_next_is_made(tmp_path, caplog):
    async def hangs_once():
        if not hung:
            hung.append(1)
            await anyio.sleep_forever()

    async def check(agent):
        began = anyio.current_time()
        await agent.do("cmd_1")
        assert anyio.current_time() == began  # it holds up nobody
        await anyio.sleep(60)

    hung, slow = [], Watcher("slow", hangs_once)
    observed(tmp_path, check, slow)

    assert slow.names == [("finished", "cmd_1")]
    assert (
        "the observer slow failed at the start of cmd_1: it was not done after 30 s" in caplog.text
    )


def test_what_one_cannot_take_in_time_is_left_out_and_named(tmp_path, caplog):
    blocked, good = Watcher("blocked", anyio.sleep_forever), Watcher("good")

    async def check(agent):
        job = Job(UnknownCommand(id="cmd_1", type="work"))
        job.started_at = virtual_time.START
        for _ in range(QUEUE + 3):
            agent.observers.started(job)
            await anyio.sleep(0.001)

    observed(tmp_path, check, blocked, good)

    assert caplog.text.count("the observer blocked is behind: the start of cmd_1 is left out") == 2
    assert len(good.told) == QUEUE + 3


def test_at_the_end_they_get_a_moment_for_what_is_queued_and_no_more(tmp_path, caplog):
    async def takes_a_second():
        await anyio.sleep(1)

    async def check(agent):
        for number in range(4):  # eight calls
            await agent.do(f"cmd_{number}")

    slow = Watcher("slow", takes_a_second)
    observed(tmp_path, check, slow)

    assert LAST_SECONDS - 1 <= len(slow.told) <= LAST_SECONDS
    assert "the observer slow is left without" in caplog.text


def test_a_cancelled_command_is_told_and_one_that_another_agent_has_is_not(tmp_path):
    watcher = Watcher()

    async def check(agent):
        async with anyio.create_task_group() as tasks:
            for command_id, cause in (("cmd_1", Cause.CANCELLED), ("cmd_2", Cause.LEASE_LOST)):
                tasks.start_soon(lambda id_=command_id: agent.do(id_, seconds=60))
                await anyio.sleep(1)
                agent.executor.cancel(command_id, cause)

    observed(tmp_path, check, watcher)

    assert ("finished", "cmd_1") in watcher.names
    assert ("finished", "cmd_2") not in watcher.names


def test_one_that_cannot_be_used_is_named_and_the_others_are_told(tmp_path, caplog):
    settings = Settings(
        state_dir=tmp_path,
        observers=[
            {"name": "gone"}, {"name": "off", "enabled": False},
            {"name": "odd", "config": {"x": 1}}, {"name": "good"},
        ],
    )  # fmt: skip
    registry = Registry({}, {}, observers={name: Watcher(name) for name in ("odd", "good")})

    usable = observers_of(settings, registry)

    assert [plugin.name for plugin, _ in usable] == ["good"]
    assert "no plugin provides 'gone' (installed: good, odd)" in caplog.text
    assert "the config of odd: x is not a setting" in caplog.text
