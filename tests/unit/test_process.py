"""A program is run as it was ordered, and its outcome is told, whatever the outcome is."""

import asyncio
import os
import signal
import stat
from pathlib import Path

import anyio
import psutil
import pytest
from process_trees import Tree, until

from rediver_agent.errors import ToolError, ToolMissing
from rediver_agent.process import (
    CANCELLED,
    OUTPUT_TOO_LARGE,
    RecordedRun,
    StartedProcess,
    end_leftovers,
    run,
)
from rediver_agent.reaper import create_time, listed_children, scanned_children

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


async def test_exit_code_and_both_outputs_are_kept(tree):
    ended = await tree.run("sh", "-c", "echo out; echo err >&2; exit 3")

    assert (ended.exit_code, ended.signal, ended.reason) == (3, None, None)
    assert (ended.killed, ended.survivors, ended.guaranteed) == (0, 0, True)
    assert (tree.folder / "run.stdout").read_text() == "out\n"
    assert ended.stderr_tail == "err\n"
    assert tree.ended == [ended]
    assert [started.run_id for started in tree.started] == [tree.order("sh").run_id]


async def test_a_program_that_dies_of_a_signal_is_told_so(tree):
    ended = await tree.run("sh", "-c", "kill -SEGV $$")

    assert (ended.exit_code, ended.signal, ended.reason) == (None, signal.SIGSEGV, None)


async def test_only_the_end_of_a_long_standard_error_is_told(tree):
    ended = await tree.run("sh", "-c", "seq 100000 >&2; printf 'the \\377 end' >&2")

    assert ended.stderr_tail.endswith("100000\nthe \N{REPLACEMENT CHARACTER} end")
    assert len(ended.stderr_tail) < 10_000


async def test_environment_is_the_orders_and_the_run_id(tree, monkeypatch):
    monkeypatch.setenv("AGENT_SECRET", "s3cret")
    environment = {"PATH": os.defpath, "GREETING": "grüß dich"}

    await tree.run("env", "-0", environment=environment)

    entries = (tree.folder / "run.stdout").read_text().rstrip("\0").split("\0")
    run_id = tree.order("env").run_id
    assert dict(entry.split("=", 1) for entry in entries) == {
        **environment,
        "REDIVER_RUN_ID": run_id,
    }


async def test_no_descriptor_of_the_agent_reaches_the_program(tree):
    leaky = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leaky, True)
    directory = os.open(tree.folder, os.O_RDONLY)
    try:
        # The listing itself needs a descriptor, the lowest that is free: 3 if there are only three.
        await tree.run("ls", "/proc/self/fd", directory=directory)
    finally:
        os.close(leaky)
        os.close(directory)

    assert (tree.folder / "run.stdout").read_text().split() == ["0", "1", "2", "3"]


async def test_standard_input_is_empty(tree):
    assert (await tree.run("cat")).exit_code == 0


async def test_what_a_program_writes_is_its_users_alone(tree):
    await tree.run("touch", str(tree.folder / "made"))

    for name in ("made", "run.stdout", "run.stderr"):
        assert stat.S_IMODE((tree.folder / name).stat().st_mode) & 0o077 == 0


async def test_signals_have_their_usual_meaning(tree):
    await tree.run("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")

    masks = [line.split()[1] for line in (tree.folder / "run.stdout").read_text().splitlines()]
    # The C library has signals of its own, 32 and 33, which are not among the valid ones.
    changed = [n for n in signal.valid_signals() for mask in masks if int(mask, 16) >> (n - 1) & 1]
    assert len(masks) == 2
    assert changed == []


async def test_program_runs_in_the_directory_that_was_opened_though_it_was_renamed(tree):
    (tree.folder / "checked").mkdir()
    descriptor = os.open(tree.folder / "checked", os.O_RDONLY | os.O_DIRECTORY)
    (tree.folder / "checked").rename(tree.folder / "moved")
    (tree.folder / "checked").symlink_to("/")
    try:
        await tree.run("pwd", "-P", directory=descriptor)
    finally:
        os.close(descriptor)

    assert (tree.folder / "run.stdout").read_text() == f"{(tree.folder / 'moved').resolve()}\n"


async def test_a_very_long_order_arrives_whole(tree):
    arguments = [b"x" * 100_000] * 10 + [b"not UTF-8: \xe9"]

    await tree.run("printf", "%s", *map(os.fsdecode, arguments))

    assert (tree.folder / "run.stdout").read_bytes() == b"".join(arguments)


@pytest.mark.parametrize("name", ["no-such-tool", "/no/such/tool", "/etc/passwd"])
async def test_a_missing_program_is_named(tree, name):
    with pytest.raises(ToolMissing, match=f"{name} is not on PATH or not executable; install it"):
        await tree.run(name)
    assert (tree.started, tree.ended) == ([], [])


@pytest.mark.parametrize("path", [".", "", "bin", "..:bin"])
async def test_a_relative_path_never_finds_a_program_in_the_target(tree, path, monkeypatch):
    (tree.folder / "bin").mkdir()
    for place in (tree.folder, tree.folder / "bin"):
        (place / "semgrep").write_text("#!/bin/sh\necho owned\n")
        (place / "semgrep").chmod(0o755)
    monkeypatch.chdir(tree.folder)

    for name in ("semgrep", "./semgrep", "bin/semgrep"):
        with pytest.raises(ToolMissing):
            await tree.run(name, environment={"PATH": path})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"\0\1\2\3", "Exec format error"), (b"#!/no/such/interpreter\n", "No such file")],
)
async def test_a_program_that_the_system_refuses_is_an_error(tree, content, complaint):
    (tree.folder / "broken").write_bytes(content)
    (tree.folder / "broken").chmod(0o755)

    with pytest.raises(ToolError, match=f"broken could not be started: {complaint}"):
        await tree.run(str(tree.folder / "broken"))
    assert (tree.started, tree.ended) == ([], [])


async def test_an_argument_with_a_nul_is_an_error(tree):
    with pytest.raises(ToolError, match="null byte; check the program and its arguments"):
        await tree.run("true", "a\0b")


@pytest.mark.parametrize("redirect", ["", ">&2"])
async def test_a_flood_of_output_ends_the_run(tree, redirect):
    flood = f"trap '' TERM; exec yes {redirect}"

    ended = await tree.run("sh", "-c", flood, output_cap=1_000_000)

    assert (ended.exit_code, ended.reason) == (None, OUTPUT_TOO_LARGE)
    assert ended.survivors == 0


async def test_too_much_output_is_no_success_though_the_program_says_so(tree):
    ended = await tree.run("printf", "too much", output_cap=7)

    assert (ended.exit_code, ended.reason) == (None, OUTPUT_TOO_LARGE)


async def test_cancel_gives_the_program_time_to_end_and_then_goes_on(tree):
    tool = tree.program(
        """
def leave(*_):
    print("cleaned up", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
here()
stay()
"""
    )
    async with anyio.create_task_group() as group:
        group.start_soon(tree.run, *tool)
        await tree.stands(1)
        group.cancel_scope.cancel()

    assert group.cancel_scope.cancelled_caught
    (ended,) = tree.ended
    assert (ended.exit_code, ended.signal, ended.reason) == (None, None, CANCELLED)
    assert (ended.killed, ended.survivors) == (1, 0)
    assert (tree.folder / "run.stdout").read_text() == "cleaned up\n"
    assert tree.living() == []


async def test_a_time_out_is_a_cancel_of_the_callers_scope(tree):
    with anyio.move_on_after(0.5) as scope:
        await tree.run("sleep", "60")

    assert scope.cancelled_caught
    assert [ended.signal for ended in tree.ended] == [signal.SIGTERM]


@pytest.mark.parametrize("after", [0.001, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08])
async def test_cancel_while_it_starts_leaves_nothing(tree, after):
    with anyio.move_on_after(after):
        await tree.run(*tree.program("here()\nstay()\n"))

    assert [(ended.reason, ended.survivors) for ended in tree.ended] == [(CANCELLED, 0)]
    assert tree.living() == []


async def test_a_scope_that_was_cancelled_before_runs_nothing(tree):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await tree.run(*tree.program("here()\n"))

    assert [(ended.reason, ended.killed) for ended in tree.ended] == [(CANCELLED, 0)]
    assert tree.members() == []


async def test_nothing_runs_on_when_its_start_cannot_be_recorded(tree):
    def refuse(_: StartedProcess) -> None:
        raise OSError("the disk is full")

    order = tree.order(*tree.program("here()\nstay()\n"))
    with pytest.raises(OSError, match="the disk is full"):
        await run(order, started=refuse, ended=tree.ended.append)

    assert [ended.survivors for ended in tree.ended] == [0]
    assert tree.living() == []


async def test_eight_runs_at_once_keep_to_themselves(tree):
    async def one(number: int) -> None:
        await tree.run("sh", "-c", f"sleep 0.1; exit {number}", name=f"run{number}")

    with anyio.move_on_after(30) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(tree.run, "sleep", "60")
            async with anyio.create_task_group() as eight:
                for number in range(1, 8):
                    eight.start_soon(one, number)
            codes = sorted(ended.exit_code for ended in tree.ended)
            scope.cancel()

    assert codes == [1, 2, 3, 4, 5, 6, 7]
    assert [ended.reason for ended in tree.ended[7:]] == [CANCELLED]


async def test_fifty_runs_leave_no_descriptor_child_or_task(tree):
    def held() -> tuple[int, int, int]:
        own = Path("/proc/self/fd")
        return len(list(own.iterdir())), len(psutil.Process().children()), len(asyncio.all_tasks())

    await tree.run("true")
    before = held()
    for _ in range(25):
        await tree.run("true")
        with pytest.raises(ToolError):
            await tree.run("true", "\0")

    assert held() == before


async def test_both_ways_to_list_children_agree(tree):
    async with await anyio.open_process(tree.program("os.fork()\nhere()\nstay()\n")) as process:
        await tree.stands(2)
        child = next(pid for pid in tree.living() if pid != process.pid)

        for children in (listed_children, scanned_children):
            assert process.pid in children(os.getpid())
            assert children(process.pid) == [child]
            assert children(child) == []
        for pid in tree.living():
            os.kill(pid, signal.SIGKILL)


class TestLeftovers:
    """What a predecessor left: a supervisor would have ended it, had it not been killed as well."""

    @pytest.fixture
    async def abandoned(self, tree):
        """A tree that nobody supervises: a leader without environment, three below it."""
        body = """
os.setpgid(0, 0)
if os.fork() == 0:
    os.setsid()
here()
if os.fork() == 0:
    here()
stay()
"""
        async with await anyio.open_process(tree.program(body), env={}, stdout=None) as leader:
            await tree.stands(4)
            yield leader
            for pid in tree.living():
                os.kill(pid, signal.SIGKILL)
        await until(lambda: not tree.living())

    async def test_a_recorded_program_is_ended_with_all_below_it(self, tree, abandoned):
        recorded = RecordedRun("other", abandoned.pid, create_time(abandoned.pid))

        assert await end_leftovers([recorded]) == 4
        assert tree.living() == []
        assert await end_leftovers([recorded]) == 0

    async def test_another_program_with_the_same_number_is_left_alone(self, tree, abandoned):
        recorded = RecordedRun("other", abandoned.pid, create_time(abandoned.pid) - 3600)

        assert await end_leftovers([recorded]) == 0
        assert len(tree.living()) == 4

    async def test_whatever_carries_a_run_id_is_ended(self, tree):
        tool, run_id = tree.program("here()\nstay()\n"), tree.order("true").run_id
        environment = {"REDIVER_RUN_ID": run_id}
        async with (
            await anyio.open_process(tool, env=environment, start_new_session=True) as carrier,
            await anyio.open_process(tool, env={"REDIVER_RUN_ID": "another"}) as bystander,
        ):
            await tree.stands(2)

            assert await end_leftovers([RecordedRun(run_id, 2**22 + 1, 0.0)]) == 1
            assert await carrier.wait() == -signal.SIGKILL
            assert tree.living() == [bystander.pid]
            bystander.kill()
