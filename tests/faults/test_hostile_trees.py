"""Cancel means gone: what a program's processes do to stay, and that they do not.

The trees are real. Whether somebody is left is read from the process table, not from what the code
under test says; what it says must agree.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import psutil
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from process_trees import Tree, until

from rediver_agent.process import CANCELLED, SUPERVISOR_LOST
from rediver_agent.reaper import RUN_ID

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
SHORT = timedelta(seconds=0.3)

CHILD = """
here()
if os.fork() == 0:
    here()
stay()
"""
OWN_SESSION = """
here()
if os.fork() == 0:
    os.setsid()
    here()
stay()
"""
DAEMON = """
here()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        here()
        stay()
    os._exit(0)
stay()
"""
DEAF = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
here()
if os.fork() == 0:
    os.setsid()
    here()
stay()
"""
STOPPED = """
here()
if os.fork() == 0:
    here()
    os.kill(0, signal.SIGSTOP)
stay()
"""
CLEARED = """
if "again" not in sys.argv:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, "again"], {})
        os._exit(0)
assert ("REDIVER_RUN_ID" in os.environ) == ("again" not in sys.argv)
here()
stay()
"""
# Whoever dies is replaced, in a session of its own.
HYDRA = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
here()
heads = 0
while True:
    if heads == 12:
        os.wait()
        heads -= 1
    heads += 1
    if os.fork() == 0:
        os.setsid()
        here()
        stay()
"""
# Forks and exits in a loop: nobody is there for longer than a millisecond, and in no group twice.
COMET = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
here()
if os.fork() == 0:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if os.fork():
            os._exit(0)
        os.setsid()
        here()
    os._exit(0)
stay()
"""
# The first thread ends: the process looks like a zombie, and works on.
HEADLESS = """
import ctypes, platform, threading

def work():
    here()
    while True:
        time.sleep(0.01)

signal.signal(signal.SIGTERM, signal.SIG_IGN)
here()
threading.Thread(target=work).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""
# Ends by itself, with a daemon left behind that holds its output open.
LEAVER = """
ready, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    here()
    os.write(tell, b"x")
    stay()
os.read(ready, 1)
"""
# A process that nothing leads to (no parent, group or environment) kills the supervisor.
KILLER = """
if "again" not in sys.argv:
    supervisor = str(os.getppid())
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            os.execve(sys.executable, [*sys.orig_argv, "again", supervisor], {})
        os._exit(0)
    here()
    stay()
here()
os.kill(int(sys.argv[2]), signal.SIGKILL)
"""
RULE = """
rules:
  - id: eval
    pattern: eval(...)
    message: eval
    languages: [python]
    severity: ERROR
"""
TREES = {
    "child": CHILD,
    "own session": OWN_SESSION,
    "daemon": DAEMON,
    "deaf to SIGTERM": DEAF,
    "stopped": STOPPED,
    "cleared environment": CLEARED,
    "hydra": HYDRA,
    "comet": COMET,
    "headless": HEADLESS,
}

# An agent of its own: a subreaper, as the real one is. Prints how each of its runs ended.
AGENT = """
import json, sys, uuid
from functools import partial
from pathlib import Path
import anyio
from rediver_agent.process import Order, become_subreaper, run

async def one(number, argv):
    folder = Path(sys.argv[1])
    order = Order(tuple(argv), {"PATH": "/usr/bin:/bin"}, None,
        folder / f"{number}.stdout", folder / f"{number}.stderr", uuid.uuid4().hex)
    await run(order, started=lambda _: None, ended=partial(told, number))

def told(number, ended):
    print(json.dumps([number, ended.exit_code, ended.reason, ended.survivors]), flush=True)

async def main():
    async with anyio.create_task_group() as group:
        for number, argv in enumerate(json.loads(sys.argv[2])):
            group.start_soon(one, number, argv)

assert become_subreaper()
anyio.run(main)
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def tree(tmp_path: Path):
    tree = Tree(tmp_path)
    yield tree
    left = tree.living()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


@pytest.mark.parametrize("name", TREES)
async def test_cancel_ends_every_process_of_the_tree(tree, name):
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: tree.run(*tree.program(TREES[name]), grace=SHORT))
        await tree.stands(13 if name == "hydra" else 2)
        group.cancel_scope.cancel()

    assert tree.living() == []
    (ended,) = tree.ended
    assert (ended.reason, ended.survivors, ended.guaranteed) == (CANCELLED, 0, True)
    assert ended.killed >= (1 if name == "headless" else 2)


@pytest.mark.parametrize("body", [DAEMON, STOPPED], ids=["daemon", "stopped"])
async def test_who_heeds_sigterm_is_not_waited_for(tree, body):
    patient = timedelta(hours=1)  # were it waited for, the test would never end
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: tree.run(*tree.program(body), grace=patient))
        await tree.stands(2)
        group.cancel_scope.cancel()

    assert [(ended.signal, ended.killed) for ended in tree.ended] == [(signal.SIGTERM, 2)]


@pytest.mark.parametrize("last", ["os._exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"])
async def test_what_a_program_leaves_behind_is_ended_with_it(tree, last):
    ended = await tree.run(*tree.program(LEAVER + last))

    assert (ended.killed, ended.survivors, ended.reason) == (1, 0, None)
    assert (ended.exit_code, ended.signal) in {(7, None), (None, signal.SIGKILL)}
    assert tree.living() == []


async def test_signals_meant_for_the_agent_do_not_end_its_supervisors(tree):
    tool = tree.program("here()\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\n")
    go = tree.folder / "go"
    async with anyio.create_task_group() as group:
        group.start_soon(tree.run, *tool, str(go))
        await tree.stands(1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            os.kill(tree.started[0].supervisor_pid, number)
        go.touch()

    assert [(ended.exit_code, ended.reason) for ended in tree.ended] == [(0, None)]


async def test_a_program_that_kills_its_supervisor_is_found_by_its_run_id(tree):
    # The child stays out of it: it would kill its own parent, the program, and maybe first.
    child = OWN_SESSION.removesuffix("stay()\n") + "    stay()\n"
    body = child + "os.kill(os.getppid(), signal.SIGKILL)\nstay()\n"

    ended = await tree.run(*tree.program(body))

    assert (ended.exit_code, ended.reason, ended.survivors) == (None, SUPERVISOR_LOST, 0)
    assert not ended.guaranteed  # the test is no subreaper: an orphan may have got away
    assert tree.living() == []


@pytest.mark.slow
async def test_a_program_that_freezes_its_supervisor_is_ended_by_the_agent(tree):
    tool = tree.program("os.kill(os.getppid(), signal.SIGSTOP)\nhere()\nstay()\n")
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: tree.run(*tool, grace=SHORT))
        await tree.stands(1)
        group.cancel_scope.cancel()

    assert [(ended.reason, ended.survivors) for ended in tree.ended] == [(SUPERVISOR_LOST, 0)]
    assert tree.living() == []


class TestAgent:
    """An agent in a process of its own."""

    @pytest.fixture
    def agent(self, tree):
        """Starts one that runs these programs at once."""
        script = tree.folder / "agent.py"
        script.write_text(AGENT)

        def start(*programs: tuple[str, ...]):
            return anyio.open_process(
                [sys.executable, str(script), str(tree.folder), json.dumps(programs)], stderr=None
            )

        return start

    @pytest.mark.parametrize("name", ["child", "deaf to SIGTERM", "cleared environment", "comet"])
    async def test_nobody_outlives_an_agent_that_is_killed(self, tree, agent, name):
        async with await agent(tree.program(TREES[name])) as process:
            await tree.stands(2)
            process.kill()
            await process.wait()

        await until(lambda: not tree.living())

    @pytest.mark.parametrize("body", [KILLER + "stay()", KILLER + COMET], ids=["still", "comet"])
    async def test_who_kills_its_supervisor_is_ended_by_the_agent(self, tree, agent, body):
        go = tree.folder / "go"
        other = ("sh", "-c", f"while ! test -e {go}; do sleep 0.05; done")
        async with await agent(tree.program(body), other) as process:
            lines = BufferedByteReceiveStream(process.stdout)
            with anyio.fail_after(30):
                first = json.loads(await lines.receive_until(b"\n", 1000))
                left = tree.living()
                go.touch()
                second = json.loads(await lines.receive_until(b"\n", 1000))

        assert first == [0, None, SUPERVISOR_LOST, 0]
        assert left == []
        assert second == [1, 0, None, 0]  # another run of the same agent is not disturbed


@pytest.mark.tools
async def test_cancelled_semgrep_leaves_no_core(tree):
    semgrep = shutil.which("semgrep", path=f"{ROOT / '.tools' / 'bin'}:{os.environ['PATH']}")
    assert semgrep is not None, "semgrep is missing: make setup"
    (tree.folder / "target").mkdir()
    for number in range(200):
        (tree.folder / "target" / f"m{number}.py").write_text("eval(input())\n" * 2000)
    rule = tree.folder / "rule.yml"
    rule.write_text(RULE)
    environment = {
        "PATH": f"{Path(semgrep).parent}:{os.defpath}",
        "HOME": str(tree.folder),
        "SEMGREP_ENABLE_VERSION_CHECK": "0",
    }
    order = tree.order("semgrep")
    argv = ("semgrep", "scan", "--metrics=off", f"--config={rule}", str(tree.folder / "target"))

    def at_work() -> dict[int, str]:
        found: dict[int, str] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(RUN_ID) == order.run_id:
                    found[process.pid] = process.name()
        return found

    def core_scans() -> bool:  # the first process passes through that name as well
        return list(at_work().values()).count("semgrep-core") > 1

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: tree.run(*argv, environment=environment))
        await until(core_scans, 60)
        group.cancel_scope.cancel()

    assert at_work() == {}
    (ended,) = tree.ended
    assert (ended.reason, ended.survivors) == (CANCELLED, 0)
    assert ended.killed >= 1  # not each of them: on SIGTERM, some end with their parent
