"""What systemd hears of an agent, by real sockets: and that nothing is said for one that hangs."""

import os
import socket
import threading
from contextlib import closing
from datetime import UTC, datetime

import anyio
import anyio.to_thread
import pytest
import virtual_time
from house import wait_for

from rediver_agent.configuration import Configuration
from rediver_agent.loops.watchdog import WatchdogLoop
from rediver_agent.service import Service
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.state_dir import StateLock
from rediver_agent.state_holder import holder_of
from rediver_agent.status import Status


@pytest.fixture(params=["path", "abstract"])
def door(request, tmp_path):
    """What systemd listens at, and what it is called in the environment."""
    name = str(tmp_path / "notify")
    if request.param == "abstract":
        name = f"@rediver-test-{os.getpid()}-{id(request)}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(name.replace("@", "\0") if name[0] == "@" else name)
        listener.setblocking(False)
        yield listener, name


def heard(listener):
    """Everything that has been said."""
    messages = []
    while True:
        try:
            messages.append(listener.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_systemd_hears_what_an_agent_has_to_say(door):
    listener, name = door
    service = Service({"NOTIFY_SOCKET": name}, os.getpid())
    service.ready()
    service.doing("2 of 2 slots busy\nREADY=0")
    service.doing("2 of 2 slots busy\nREADY=0")
    service.alive()
    service.stopping()

    assert heard(listener) == [
        "READY=1", "STATUS=2 of 2 slots busy READY=0", "WATCHDOG=1", "STOPPING=1",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [None, "", "/nobody/listens/here", "@nobody", "vsock:2:1234"])
def test_where_nobody_listens_an_agent_goes_on(name):
    service = Service({} if name is None else {"NOTIFY_SOCKET": name}, os.getpid())
    service.ready()
    service.alive()


def test_a_manager_that_hangs_keeps_nobody_waiting(door):
    listener, name = door
    service = Service({"NOTIFY_SOCKET": name}, os.getpid())
    for number in range(5000):  # more than any socket's buffer takes
        service.doing(f"{number} done")

    assert 0 < len(heard(listener)) < 5000


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),  # meant for another
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_signs_of_life_are_given_where_they_are_wanted(environment, seconds):
    wanted = Service({"NOTIFY_SOCKET": "/run/notify", **environment}, os.getpid()).watchdog

    assert (wanted.total_seconds() if wanted else None) == seconds


class Watched:
    """An agent's watchdog with a real spool and a real socket, in the time of a loop."""

    def __init__(self, now, door, directory, seconds=120.0):
        self.listener, name = door
        self.now = now
        self.spool = Spool(directory / "state", now=now)
        self.status = Status(now(), "server-controlled")
        wanted = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": str(round(seconds * 1e6))}
        service = Service(wanted, os.getpid())
        configuration = Configuration(Settings(state_dir=directory / "state"))
        self.watchdog = WatchdogLoop(service, self.spool, self.status, configuration)

    async def signs(self, seconds):
        """How many signs of life it gives in that time."""
        heard(self.listener)
        with anyio.move_on_after(seconds):
            await self.watchdog.run()
        return heard(self.listener).count("WATCHDOG=1")


@pytest.fixture
def in_virtual_time(door, tmp_path):
    def run(story):
        async def main(loop):
            watched = Watched(loop.now, door, tmp_path)
            try:
                await story(watched)
            finally:
                watched.spool.close()

        virtual_time.run(main)

    return run


def test_an_agent_that_works_alone_gives_a_sign_every_half_of_the_time(in_virtual_time):
    async def story(watched):
        assert await watched.signs(599) == 10

    in_virtual_time(story)


def test_a_poll_that_does_not_come_round_ends_the_signs_and_one_that_does_brings_them_back(
    in_virtual_time,
):
    async def story(watched):
        poll = watched.status.poll

        def round_of_poll():
            poll.went_well(watched.now())
            poll.next_at = watched.now()

        round_of_poll()
        assert await watched.signs(10) == 1
        await anyio.sleep(3600)  # it hangs
        assert await watched.signs(3600) == 0
        round_of_poll()
        assert await watched.signs(10) == 1
        await anyio.sleep(3600)
        watched.status.draining = True  # nothing is polled by then, and what runs is finished
        assert await watched.signs(10) == 1

    in_virtual_time(story)


def test_a_spool_that_does_not_answer_ends_the_signs(door, tmp_path, caplog):
    held, let_go = threading.Event(), threading.Event()

    def hold(spool):
        with spool._database.transaction():  # as one that waits for a dead disk would
            held.set()
            let_go.wait(60)

    async def until(condition):
        await anyio.to_thread.run_sync(wait_for, condition, "the watchdog goes on")

    async def main():
        watched = Watched(lambda: datetime.now(UTC), door, tmp_path, seconds=0.2)
        holder = threading.Thread(target=hold, args=[watched.spool])
        holder.start()
        held.wait(60)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.watchdog.run)
            await until(lambda: caplog.text.count("the spool does not answer") == 3)
            assert heard(watched.listener) == []
            let_go.set()
            holder.join()
            await until(lambda: heard(watched.listener))
            tasks.cancel_scope.cancel()
        watched.spool.close()

    anyio.run(main)


def test_asking_who_holds_a_directory_never_keeps_an_agent_from_starting(tmp_path):
    done = threading.Event()
    asked = []

    def ask():
        while not done.is_set():
            asked.append(holder_of(tmp_path))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(300):
            with StateLock(tmp_path):  # refused, this raises
                assert holder_of(tmp_path).pid == os.getpid()
    finally:
        done.set()
        asking.join()
    assert holder_of(tmp_path) is None
    assert {holder.pid for holder in asked if holder} <= {os.getpid()}
