"""Runs one program and ends its whole process tree: one small process for each run.

It exists because only a parent of its own can adopt the orphans of one run among several, and
because it outlives the agent: whichever way the agent dies, the pipe from it closes, and everything
is killed at once. `process.py` starts it and repeats what it says.

It reads one JSON line, the order, and waits for the first of: the program ends; another line (a
cancel); the end of the pipe (the agent is gone); too much output. It writes a JSON line `started`,
or `failed` where the program cannot be, and when nothing of the tree is left the outcome.
Standard library and psutil only, so that it starts fast; nothing else of the agent is imported.
"""

import contextlib
import json
import os
import select
import signal
from types import FrameType
from typing import Any, Final, TypedDict

from rediver_agent.reaper import RUN_ID, Hunt, Tally, become_subreaper, children, create_time

CANCELLED: Final = "cancelled"
OUTPUT_TOO_LARGE: Final = "output_too_large"
_AGENT_LOST: Final = "agent_lost"
_CONTROL, _REPORT, _STDERR = 0, 1, 2
_SIZE_STEP: Final = 0.25  # seconds between looks at the size of the output
_ASK_STEP: Final = 0.05  # seconds between looks at a tree that was asked to end
_DEFENDED: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class Instructions(TypedDict):
    """The order, as it travels. `stdout` and `directory` are descriptors; stderr is inherited."""

    program: str
    argv: list[str]
    environment: dict[str, str]
    directory: int | None
    stdout: int
    run_id: str
    grace_seconds: float
    output_cap: int


class Outcome(TypedDict):
    """How it ended. `exit_code` only of a program that ended by itself, within its limits.

    `guaranteed`: the system let no process leave the tree, so that `survivors` is the whole truth.
    """

    exit_code: int | None
    signal: int | None
    killed: int
    survivors: int
    reason: str | None
    guaranteed: bool


class _Line:
    """The line to the agent, and the bell that rings when a child has died."""

    def __init__(self) -> None:
        self.cancelled = False
        self.agent_lost = False
        self._bell, bell_rope = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(bell_rope, False)
        signal.set_wakeup_fd(bell_rope, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ring)

    def read_order(self) -> Instructions | None:
        """The order, or None if the agent let go before it had given one."""
        heard = b""
        while b"\n" not in heard:
            if not (more := os.read(_CONTROL, 1 << 16)):
                return None
            heard += more
        order, _, rest = heard.partition(b"\n")
        self.cancelled = bool(rest)
        return json.loads(order)

    def wait(self, seconds: float) -> None:
        """Until a child dies, the agent says something or is gone, or time has passed."""
        listening = [self._bell] if self.agent_lost else [self._bell, _CONTROL]
        ready, _, _ = select.select(listening, [], [], seconds)
        if self._bell in ready:
            os.read(self._bell, 1 << 16)
        if _CONTROL in ready:
            said = os.read(_CONTROL, 1 << 16)
            self.cancelled |= bool(said)
            self.agent_lost = not said

    def say(self, message: dict[str, Any] | Outcome) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens to an agent's last words
            os.write(_REPORT, json.dumps(message).encode() + b"\n")


def _ring(_number: int, _frame: FrameType | None) -> None:
    """Nothing: without a handler, Python would not write to the bell."""


class _Run:
    """The program and all that comes of it."""

    def __init__(self, order: Instructions, line: _Line) -> None:
        self._order = order
        self._line = line
        self._guaranteed = become_subreaper()
        self._tool = 0
        self._status: int | None = None

    def start(self) -> None:
        """Raises OSError where the system refuses, ValueError for a NUL in what was ordered."""
        order = self._order
        os.umask(0o077)
        if order["directory"] is not None:
            os.fchdir(order["directory"])
            os.close(order["directory"])
        os.set_inheritable(order["stdout"], False)
        self._tool = os.posix_spawn(
            order["program"],
            order["argv"],
            {**order["environment"], RUN_ID: order["run_id"]},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, order["stdout"], 1),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
        self._line.say({"started": self._tool, "create_time": create_time(self._tool)})

    def wait(self) -> str | None:
        """Why the run is over: None if the program has ended by itself."""
        while True:
            self._children()
            if (
                max(os.fstat(self._order["stdout"]).st_size, os.fstat(_STDERR).st_size)
                > (self._order["output_cap"])
            ):
                return OUTPUT_TOO_LARGE
            if self._status is not None:
                return None
            if self._line.agent_lost:
                return _AGENT_LOST
            if self._line.cancelled:
                return CANCELLED
            self._line.wait(_SIZE_STEP)

    def end(self, reason: str | None) -> Outcome:
        """Leave nothing running, and say how it went."""
        hunt = Hunt(self._children, {self._order["run_id"]})
        if reason in {None, CANCELLED}:  # else nobody waits for it, or it is filling the disk
            hunt.ask(self._order["grace_seconds"], self._patient)
        return outcome(reason, hunt.kill(), self._status, guaranteed=self._guaranteed)

    def _patient(self) -> bool:
        self._line.wait(_ASK_STEP)
        return not self._line.agent_lost

    def _children(self) -> list[int] | None:
        """Collect the dead. None if no child is left: then, and only then, the tree is gone."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return children(os.getpid())
            if pid == self._tool:
                self._status = os.waitstatus_to_exitcode(status)


def outcome(
    reason: str | None, tally: Tally, status: int | None = None, *, guaranteed: bool
) -> Outcome:
    """`status` as waitstatus_to_exitcode gives it: negative for a signal, None if not known."""
    return Outcome(
        exit_code=status if status is not None and status >= 0 and reason is None else None,
        signal=-status if status is not None and status < 0 else None,
        killed=tally.killed,
        survivors=tally.survivors,
        reason=reason,
        guaranteed=guaranteed,
    )


def main() -> None:
    """The supervisor's whole life."""
    for number in _DEFENDED:  # a service manager may signal all processes of its service
        signal.signal(number, signal.SIG_IGN)
    line = _Line()
    if (order := line.read_order()) is None:
        line.say(outcome(CANCELLED, Tally(0, 0), guaranteed=True))
        return
    run = _Run(order, line)
    try:
        run.start()
    except (OSError, ValueError) as fault:
        line.say({"failed": getattr(fault, "strerror", None) or str(fault)})
        return
    line.say(run.end(run.wait()))


if __name__ == "__main__":
    main()
