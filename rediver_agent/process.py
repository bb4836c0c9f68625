"""Runs programs for the agent, and proves that nothing of them is left.

Every run has a supervisor process (`supervisor.py`), which ends the whole tree when the program has
ended, when the run is cancelled, and when the agent is gone. If it is the supervisor that is lost,
the agent does its work: as a subreaper it has inherited the orphans. A program gets the environment
of its order and a run id, /dev/null as its input, files as its output, and no other descriptor.
"""

import contextlib
import json
import os
import shutil
import subprocess  # noqa: TID251 - this is the module that runs programs for all others
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL
from typing import IO, Any, Final, Self, cast

import anyio

from rediver_agent.errors import ToolError, ToolMissing
from rediver_agent.orphans import (
    BIRTH,
    SUPERVISORS,
    RecordedRun,
    end_leftovers,
    end_unsupervised,
)
from rediver_agent.reaper import KILL_SECONDS, Tally, become_subreaper, is_subreaper
from rediver_agent.supervisor import CANCELLED, OUTPUT_TOO_LARGE, Instructions, Outcome, outcome

__all__ = [
    "CANCELLED",
    "OUTPUT_TOO_LARGE",
    "SUPERVISOR_LOST",
    "Ended",
    "Order",
    "RecordedRun",
    "StartedProcess",
    "become_subreaper",
    "end_leftovers",
    "run",
]

SUPERVISOR_LOST: Final = "supervisor_lost"
GRACE: Final = timedelta(seconds=10)  # DESIGN section 4
_MARGIN: Final = timedelta(seconds=5)  # for a supervisor on a busy host to say its last word
_TAIL: Final = 8192  # bytes of standard error that are kept
_ISOLATED: Final = ("-E", "-P")  # not -I: pip installs into the user's site for who is not root


@dataclass(frozen=True, slots=True)
class Order:
    """A program to be run. `argv[0]` is an absolute path, or a name for the environment's PATH.

    `directory` is an open descriptor that becomes the working directory (None: where stdout is).
    `output_cap` is in bytes, for each of the two files. `run_id` is unique.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: int | None
    stdout: Path
    stderr: Path
    run_id: str
    grace: timedelta = GRACE
    output_cap: int = 1 << 30


@dataclass(frozen=True, slots=True)
class StartedProcess(RecordedRun):
    """A program that runs. It leads a session and a process group of its own."""

    supervisor_pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    `exit_code` only of a program that ended by itself, within its limits; `signal` is what ended it
    otherwise. `reason` is None, `cancelled`, `output_too_large` or `supervisor_lost`. `killed`
    processes had to be ended, `survivors` could not be; it is the whole truth if `guaranteed`,
    which needs Linux.
    """

    exit_code: int | None
    signal: int | None
    killed: int
    survivors: int
    duration: timedelta
    stderr_tail: str
    reason: str | None
    guaranteed: bool


async def run(
    order: Order,
    *,
    started: Callable[[StartedProcess], None],
    ended: Callable[[Ended], None],
) -> Ended:
    """Run a program until nothing of it is left.

    `started` is called when it runs, `ended` when it is over. Cancelling the surrounding scope ends
    the whole tree within `grace` + 15 s; `ended` is called (`started` perhaps was not), and the
    cancellation goes on. So it is with an exception from `started`. Raises `ToolMissing` or
    `ToolError` where nothing could be started; then neither is called.
    """
    with _Supervisor(order) as supervisor:
        try:
            await supervisor.give_order()
            word = await supervisor.last_word(started)
            over = await supervisor.settle(word)
        except BaseException:
            with anyio.CancelScope(shield=True):
                ended(await supervisor.settle(await supervisor.stop()))
            raise
    if not supervisor.has_started:
        raise _refusal(order, word, over)
    ended(over)
    return over


class _Supervisor:
    """One supervisor process, as the agent sees it."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._began = time.monotonic()
        self._heard = b""
        self._ordered = False
        self._started: StartedProcess | None = None
        program = _found(order)
        try:
            with _output(order.stdout) as stdout, _output(order.stderr) as stderr:
                self._instructions = _instructions(order, program, stdout.fileno())
                self._process = _launch(order, stdout, stderr)
        except OSError as fault:
            raise ToolError(f"{order.argv[0]} could not be started: {fault}") from fault
        self._control = cast("IO[bytes]", self._process.stdin)
        self._report = cast("IO[bytes]", self._process.stdout)
        os.set_blocking(self._control.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of it. One that has not ended takes that as its agent's death, and kills."""
        self._control.close()
        self._report.close()
        self._process.wait()
        SUPERVISORS.discard(self._process.pid)

    @property
    def has_started(self) -> bool:
        """Whether it said that the program runs."""
        return self._started is not None

    async def give_order(self) -> None:
        order = json.dumps(self._instructions).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):  # it is lost, which its silence will tell
            while order:
                await anyio.wait_writable(self._control)
                order = order[os.write(self._control.fileno(), order) :]
        self._ordered = True

    async def last_word(self, started: Callable[[StartedProcess], None]) -> dict[str, Any] | None:
        """What it says when all is over: an outcome or `failed`; None if it is lost."""
        while (word := await self._hear()) is not None:
            if "started" not in word:
                return word
            self._began = time.monotonic()
            self._started = StartedProcess(
                self._order.run_id, word["started"], word["create_time"], self._process.pid
            )
            started(self._started)
        return None

    async def stop(self) -> dict[str, Any] | None:
        """Have it end everything, and hear its last word; None if it is lost or does not answer."""
        with anyio.move_on_after((self._order.grace + _MARGIN).total_seconds() + KILL_SECONDS):
            if self._ordered:
                with contextlib.suppress(BrokenPipeError, BlockingIOError):
                    os.write(self._control.fileno(), b"cancel\n")
            else:
                self._control.close()
            return await self.last_word(lambda _: None)
        return None

    async def settle(self, word: dict[str, Any] | None) -> Ended:
        """How the run ended. Does what the supervisor should have done, if it is lost."""
        self._process.kill()  # it has said its last word, or it will not
        self._process.wait()
        if word is None:
            tally = await end_unsupervised(self._order.run_id, self._started)
            over = outcome(SUPERVISOR_LOST, tally, -SIGKILL, guaranteed=is_subreaper())
        elif "failed" in word:
            over = outcome(CANCELLED, Tally(0, 0), guaranteed=True)
        else:
            over = cast("Outcome", word)
        return Ended(
            **over,
            duration=timedelta(seconds=time.monotonic() - self._began),
            stderr_tail=_tail(self._order.stderr),
        )

    async def _hear(self) -> dict[str, Any] | None:
        while b"\n" not in self._heard:
            await anyio.wait_readable(self._report)
            if not (more := os.read(self._report.fileno(), 1 << 16)):
                return None
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)


def _refusal(order: Order, word: dict[str, Any] | None, over: Ended) -> ToolError:
    why = (
        f"{word['failed']}; check the program and its arguments"
        if word is not None
        else f"its supervisor ended first; is rediver-agent installed whole? {over.stderr_tail}"
    )
    return ToolError(f"{order.argv[0]} could not be started: {why}", stderr_tail=over.stderr_tail)


def _found(order: Order) -> str:
    """The program's absolute path. Never by a relative PATH, which would begin at the target."""
    name, path = order.argv[0], order.environment.get("PATH", os.defpath)
    places = [place for place in path.split(os.pathsep) if Path(place).is_absolute()]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None or not Path(found).is_absolute():
        raise ToolMissing(
            f"{name} is not on PATH or not executable; install it or set scanners[].binary"
        )
    return found


def _instructions(order: Order, program: str, stdout: int) -> Instructions:
    return Instructions(
        program=program,
        argv=list(order.argv),
        environment=dict(order.environment),
        directory=order.directory,
        stdout=stdout,
        run_id=order.run_id,
        grace_seconds=order.grace.total_seconds(),
        output_cap=order.output_cap,
    )


def _output(path: Path) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _launch(order: Order, stdout: IO[bytes], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    passed = (stdout.fileno(), *(() if order.directory is None else (order.directory,)))
    with BIRTH:
        process = subprocess.Popen(
            [sys.executable, *_ISOLATED, "-m", "rediver_agent.supervisor"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=order.stdout.parent,
            env={name: os.environ[name] for name in ("HOME",) if name in os.environ},
            pass_fds=passed,
            start_new_session=True,  # Ctrl-C at the agent is the agent's to handle
        )
        SUPERVISORS.add(process.pid)
    return process


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL))
        return stream.read(_TAIL).decode(errors="replace")
    return ""
