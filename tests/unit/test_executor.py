"""Outcomes are written once, and what the operator's own agent does is no server's to end."""

import sqlite3
from contextlib import closing

import anyio
import pytest

from rediver_agent.agent import build_executor, utc_now
from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import ScanCommand
from rediver_agent.errors import SpoolError
from rediver_agent.executor import Cause, Job, Outcome
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool


class Waiting:
    """Work that takes until `done`."""

    def __init__(self):
        self.begun, self.done = anyio.Event(), anyio.Event()

    async def handle(self, _job):
        self.begun.set()
        await self.done.wait()
        return Outcome()


def job(command_id, **fields):
    payload = {"scanner": "stub", "target": "/srv"}
    return Job(ScanCommand(id=command_id, type="scan", payload=payload), **fields)


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path, now=utc_now)
    yield spool
    spool.close()


def executor_of(spool, tmp_path):
    return build_executor(Configuration(Settings(state_dir=tmp_path)), Registry({}, {}), spool)


def test_a_server_ends_what_it_has_ordered_and_nothing_else(spool, tmp_path):
    """A heartbeat's reply may name any id."""

    async def main():
        executor, work = executor_of(spool, tmp_path), Waiting()
        executor.add_handler("scan", work)
        spool.begin_local("local_1", "scan", "stub", "/srv")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(executor.execute, job("local_1", commanded=False))
            with anyio.fail_after(20):
                await work.begun.wait()
            for cause in (Cause.CANCELLED, Cause.LEASE_LOST):
                assert not executor.cancel("local_1", cause)
            work.done.set()
        assert spool.local_runs()[0].result.status == "completed"

    anyio.run(main)


def test_an_outcome_that_could_not_be_written_is_written_once_whoever_asks(spool, tmp_path):
    """The poll and the local schedule both do, when the disk has room again."""

    def on_disk(statement):
        with closing(sqlite3.connect(tmp_path / "spool.sqlite3")) as other:
            other.execute(statement)
            other.commit()

    async def main():
        executor = executor_of(spool, tmp_path)
        spool.begin_claimed([("cmd_1", 1)])
        on_disk("CREATE TRIGGER broken BEFORE INSERT ON outbox BEGIN SELECT RAISE(FAIL, 'no'); END")
        await executor.execute(
            job("cmd_1", attempt=1)
        )  # refused by policy: an outcome all the same
        with pytest.raises(SpoolError):
            await executor.write_late()
        on_disk("DROP TRIGGER broken")
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(executor.write_late)
        assert [entry.kind for entry in spool.entries()] == ["result"]

    anyio.run(main)
