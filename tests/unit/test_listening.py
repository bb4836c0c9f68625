"""Whatever a collector does that is pushed to, the agent goes on, says how it stands, and keeps
what it was given.
"""

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager
from itertools import pairwise

import anyio
import pytest
import virtual_time
from pydantic import BaseModel, SecretStr

from rediver_agent import Asset, Collector, CommandError, ToolError
from rediver_agent.agent import build_executor, mode_of, open_spool, usable_collectors
from rediver_agent.configuration import Configuration
from rediver_agent.contract import CollectCommand, Finding, FindingStatus
from rediver_agent.errors import NotKept, PluginError
from rediver_agent.executor import Job
from rediver_agent.handlers.listen_context import Keeper
from rediver_agent.handlers.plugin_options import collector_problem
from rediver_agent.interfaces import ToolInfo
from rediver_agent.loops.listen import ListenLoop
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool_database import FILE_NAME
from rediver_agent.status import Status

SECRET = "hush-hush-hush"
SERVER = {"base_url": "https://rediver.example.com", "api_key": "rs_src_x"}
ASSET = Asset(id="r", type="repository", value="https://hub/shop", name="shop")
FOUND = Finding(type="vulnerability", title="one", severity="high", status="resolved")
TOOL = ToolInfo("hub", "1.0")


class Options(BaseModel, extra="forbid"):
    secret: SecretStr = SecretStr("")
    port: int = 0


class Ears(Collector[Options]):
    name = "ears"
    options = Options

    def __init__(self, listen):
        self._listen, self.begun = listen, []

    async def listen(self, ctx, options):
        self.begun.append((anyio.current_time(), options.port))
        await self._listen(ctx)


class Agent:
    """What of an agent listens."""

    def __init__(self, loop, directory, listen, **settings):
        self.directory = directory
        self.ears = Ears(listen)
        self.configuration = Configuration(self.settings(**settings))
        self.registry = Registry({}, {}, collectors={"ears": self.ears})
        self.spool = open_spool(self.configuration.settings, loop.now)
        self.status = Status(loop.now(), "standalone")
        self.rung, self.damaged = [], []
        keeper = Keeper(
            self.configuration, self.spool, loop.now,
            lambda: self.rung.append(1), lambda: self.damaged.append(1),
        )  # fmt: skip
        self.loop = ListenLoop(
            self.configuration, self.registry, keeper, self.status, lambda: [SECRET]
        )

    def settings(self, enabled=True, server=None, **config):
        section = {"name": "ears", "enabled": enabled, "config": config}
        return Settings(
            state_dir=self.directory, collectors=[section], server=server or {},
            retry_queue={"min_free_bytes": config.pop("min_free_bytes", 0)},
        )  # fmt: skip

    @asynccontextmanager
    async def running(self):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.loop.run)
            await anyio.sleep(0.1)
            yield self
            await self.loop.stop()
        self.spool.close()

    @property
    def problem(self):
        return self.status.listening["ears"].problem


def listens(tmp_path, listen, check, **settings):
    async def main(loop):
        agent = Agent(loop, tmp_path, listen, **settings)
        async with agent.running():
            await check(agent)

    virtual_time.run(main)


async def forever(ctx):
    ctx.progress(None, f"listening with {SECRET}")
    await anyio.sleep_forever()


def test_one_that_listens_says_so_without_its_secrets(tmp_path):
    async def check(agent):
        listening = agent.status.listening["ears"]
        assert (listening.message, listening.problem) == ("listening with ***", None)

    listens(tmp_path, forever, check)


FAULTS = [
    (ToolError("the port is taken"), "the port is taken"),
    (RuntimeError("boom"), "RuntimeError: boom"),
    (SystemExit(3), "SystemExit: 3"),
    (asyncio.CancelledError(), "CancelledError"),
    (ExceptionGroup("many", [ValueError("a")]), "ExceptionGroup: many"),
    (None, "come to an end by itself"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS, ids=lambda each: str(each)[:20])
def test_one_that_fails_is_begun_anew_after_waits_that_grow(tmp_path, fault, said):
    async def fails(_ctx):
        if fault is not None:
            raise fault

    async def check(agent):
        await anyio.sleep(600)
        times = [at for at, _ in agent.ears.begun]
        waits = [round(after - at) for at, after in pairwise(times)]
        assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
        assert said in agent.problem

    listens(tmp_path, fails, check)


def test_one_that_has_listened_for_long_begins_with_a_short_wait_again(tmp_path):
    async def listens_for_a_while(ctx):
        await anyio.sleep(100 if len(agents[0].ears.begun) > 5 else 0)
        raise ToolError("the network is gone")

    async def check(agent):
        agents.append(agent)
        await anyio.sleep(300)
        (before, _), (after, _) = agent.ears.begun[-2:]
        assert after - before == pytest.approx(101)

    agents = []
    listens(tmp_path, listens_for_a_while, check)


def test_options_that_are_wrong_wait_for_others_and_are_named(tmp_path, caplog):
    async def check(agent):
        await anyio.sleep(3600)
        assert agent.ears.begun == []
        assert "has no option 'prot' (it has: port, secret)" in agent.problem
        assert collector_problem("ears", agent.configuration.settings, agent.registry)
        assert caplog.text.count("does not listen") == 1

        agent.configuration.replace(agent.settings(port=1))
        await anyio.sleep(0.1)

        assert agent.problem is None
        assert [port for _, port in agent.ears.begun] == [1]

    listens(tmp_path, forever, check, prot=1)


def test_settings_that_change_are_heeded_when_the_old_door_is_closed(tmp_path):
    open_now = []

    async def one_at_a_time(_ctx):
        assert not open_now
        open_now.append(1)
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
            open_now.clear()

    async def check(agent):
        agent.configuration.replace(agent.settings(port=1))
        agent.configuration.replace(agent.settings(port=2))
        await anyio.sleep(10)
        agent.configuration.replace(agent.settings(port=2))
        await anyio.sleep(10)
        assert [port for _, port in agent.ears.begun] == [0, 2]
        agent.configuration.replace(agent.settings(enabled=False))
        await anyio.sleep(10)
        assert (agent.status.listening, open_now) == ({}, [])
        agent.configuration.replace(agent.settings(port=3))
        await anyio.sleep(10)
        assert [port for _, port in agent.ears.begun] == [0, 2, 3]

    listens(tmp_path, one_at_a_time, check)


@pytest.mark.parametrize("way", ["swallows", "raises"])
def test_one_that_minds_being_ended_ends_all_the_same(tmp_path, way):
    async def rude(_ctx):
        try:
            await anyio.sleep_forever()
        except BaseException:  # noqa: BLE001 - the fault that the agent must bear
            if way == "raises":
                raise SystemExit(1) from None

    async def check(agent):
        agent.configuration.replace(agent.settings(port=1))
        await anyio.sleep(1)
        assert [port for _, port in agent.ears.begun] == [0, 1]

    listens(tmp_path, rude, check)


def kept(tmp_path, *given, meddle=None, **settings):
    """What came of one push: the fault if there is one, and the agent it came to."""
    came = []

    async def keeps(ctx):
        try:
            await ctx.keep(*given)
        except CommandError as fault:
            came.append(fault)
        else:
            came.append(None)
        await anyio.sleep_forever()

    async def check(agent):
        await anyio.sleep(1)
        rows = []
        while not came[0] and (due := agent.spool.next_due()) is not None:
            rows.append(json.loads(due[1]))
            agent.spool.delivered(due[0])
        runs = [] if came[0] else agent.spool.local_runs()
        results.append((came[0], rows, runs, agent))

    results = []

    async def main(loop):
        agent = Agent(loop, tmp_path, keeps, **settings)
        if meddle:
            meddle(agent)
        async with agent.running():
            await check(agent)

    virtual_time.run(main)
    return results[0]


def test_a_push_is_a_report_of_its_own_that_resolves_nothing(tmp_path):
    fault, (report,), runs, agent = kept(tmp_path, ASSET, [FOUND, FOUND], TOOL, server=SERVER)

    assert (fault, runs) == (None, [])
    assert (agent.rung, agent.status.listening) == ([1], {})
    metadata = report["metadata"]
    assert (metadata["source_type"], metadata["coverage_type"]) == ("collector", "partial")
    assert "command_id" not in metadata
    assert report["tool"]["name"] == "hub"
    assert report["assets"][0]["value"] == "https://hub/shop"
    assert len({finding["fingerprint"] for finding in report["findings"]}) == 2
    assert report["findings"][0]["status"] == "resolved"


def test_without_a_server_a_push_is_kept_as_a_local_report(tmp_path):
    still_open = FOUND.model_copy(update={"status": FindingStatus.OPEN})
    _, _, (run,), _ = kept(tmp_path, ASSET, [FOUND, still_open], TOOL)

    assert (run.work.kind, run.work.name) == ("collect", "ears")
    assert run.result.findings_count == 1, "what is resolved does not count"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((ASSET, [FOUND], "hub"), "must keep an Asset, findings and a ToolInfo"),
        (("shop", [FOUND], TOOL), "must keep an Asset"),
        ((ASSET, [TOOL], TOOL), "not ToolInfo"),
        ((ASSET, [FOUND.model_copy(update={"title": ""})], TOOL), "keeps what is none: title"),
        ((ASSET.model_copy(update={"value": ""}), [FOUND], TOOL), "keeps what is none: value"),
    ],
)
def test_what_is_no_push_is_refused_and_nothing_is_kept(tmp_path, given, sentence):
    fault, _, _, agent = kept(tmp_path, *given, server=SERVER)

    assert isinstance(fault, PluginError)
    assert sentence in str(fault)
    assert agent.rung == []


def test_a_disk_that_is_nearly_full_keeps_nothing_new(tmp_path):
    fault, *_ = kept(tmp_path, ASSET, [FOUND], TOOL, min_free_bytes=1 << 62)

    assert (fault.reason, fault.retryable) == ("disk_full", True)


def test_a_spool_that_is_full_has_nothing_of_a_push_it_could_not_keep(tmp_path):
    def shrink(agent):
        with agent.spool._database.reading() as db:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"PRAGMA max_page_count = {pages + 1}")

    large = FOUND.model_copy(update={"description": "x" * 90_000})
    fault, *_ = kept(tmp_path, ASSET, [large], TOOL, server=SERVER, meddle=shrink)

    assert fault.reason == "disk_full"
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        assert db.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM reports").fetchone() == (0,)
    db.close()


def test_a_spool_that_cannot_be_written_keeps_nothing_and_says_so(tmp_path):
    fault, _, _, agent = kept(
        tmp_path, ASSET, [FOUND], TOOL, meddle=lambda agent: agent.spool.close()
    )

    assert isinstance(fault, NotKept)
    assert "push it again" in str(fault)
    assert (agent.damaged, fault.retryable) == ([], True)


def test_who_only_listens_is_neither_fetched_from_nor_offered_for_it(tmp_path):
    async def check(agent):
        settings = agent.configuration.settings
        assert mode_of(settings) == "standalone"
        assert usable_collectors(settings, agent.registry) == []
        executor = build_executor(agent.configuration, agent.registry, agent.spool)
        command = CollectCommand(id="cmd_1", type="collect", payload={"collector": "ears"})
        outcome = await executor.execute(Job(command, commanded=False))
        assert outcome.metadata["reason"] == "invalid_payload"
        assert "fetches nothing: it is pushed to" in outcome.error

    listens(tmp_path, forever, check)
