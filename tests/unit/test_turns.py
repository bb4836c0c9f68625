"""Work on one thing is done by one at a time: within an agent, and between processes."""

import subprocess  # noqa: TID251 - another process holds the lock
import sys

import anyio
import pytest

from rediver_agent.handlers.turns import Turns, alone_in

HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_turns_are_taken_in_the_order_of_asking_and_only_who_waits_is_told():
    turns, order, told = Turns(), [], []

    async def work(name, key):
        async with turns.take(key, lambda: told.append(name)):
            order.append(name)
            await anyio.lowlevel.checkpoint()
            order.append(f"{name} done")

    async def main():
        async with anyio.create_task_group() as tasks:
            for name, key in (("a", 1), ("b", 1), ("c", 1), ("d", 2)):
                tasks.start_soon(work, name, key)

    anyio.run(main)

    same = [entry for entry in order if not entry.startswith("d")]
    assert same == ["a", "a done", "b", "b done", "c", "c done"]
    assert told == ["b", "c"]
    assert order.index("d") < order.index("a done")


def test_one_who_gives_up_waiting_holds_up_nobody():
    turns = Turns()

    async def main():
        async with anyio.create_task_group() as tasks, turns.take("x", lambda: None):
            waiting = anyio.Event()

            async def impatient():
                async with turns.take("x", waiting.set):
                    raise AssertionError("it was cancelled before")

            tasks.start_soon(impatient)
            await waiting.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(10):
            async with turns.take("x", lambda: pytest.fail("nobody holds it")):
                pass

    anyio.run(main)


def test_a_directory_is_held_against_other_processes_until_they_let_go(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout.readline() == b"held\n"

    async def main():
        with anyio.fail_after(30):
            # What lets the other one go is that this one says it waits.
            async with alone_in(tmp_path, other.stdin.close):
                assert other.wait(10) == 0

    anyio.run(main)
    other.stdout.close()
