"""Small programs that start processes, and whether all of these are gone again.

Every process of such a program writes its id and start time into one file when it has come to its
place, so a test knows when the tree stands, and afterwards looks each one up by itself.
"""

import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio

from rediver_agent.process import Ended, Order, StartedProcess, run

PREAMBLE: Final = """
import os, signal, sys, time

def here():
    signal.alarm(60)  # to be gone some time, whatever the test did wrong
    start = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
    fd = os.open({roll!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{{os.getpid()}} {{start}}\\n".encode())
    os.close(fd)

def stay():
    while True:
        signal.pause()
"""


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds, looking often. TimeoutError after `seconds`."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await anyio.sleep(0.01)


class Tree:
    """The processes of one program, and the folder where it lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.roll = folder / "roll"
        self.unique = uuid.uuid4().hex
        self.started: list[StartedProcess] = []
        self.ended: list[Ended] = []

    def program(self, body: str, name: str = "tool") -> tuple[str, ...]:
        """What starts a Python program that has `here()` and `stay()`."""
        script = self.folder / f"{name}.py"
        script.write_text(PREAMBLE.format(roll=str(self.roll)) + body)
        return sys.executable, "-I", "-S", str(script)

    def order(self, *argv: str, name: str = "run", **changes: Any) -> Order:
        """An order for it, with a PATH and nothing else in its environment."""
        settings: dict[str, Any] = {
            "environment": {"PATH": os.defpath},
            "directory": None,
            "stdout": self.folder / f"{name}.stdout",
            "stderr": self.folder / f"{name}.stderr",
            "run_id": f"{self.unique}-{name}",
        }
        return Order(argv=argv, **(settings | changes))

    async def run(self, *argv: str, name: str = "run", **changes: Any) -> Ended:
        """Run it to its end."""
        order = self.order(*argv, name=name, **changes)
        return await run(order, started=self.started.append, ended=self.ended.append)

    def members(self) -> list[tuple[int, str]]:
        """Everyone who ever signed the roll: process id and start time."""
        if not self.roll.exists():
            return []
        lines = [line.split() for line in self.roll.read_text().splitlines()]
        return [(int(pid), start) for pid, start in lines]

    def living(self) -> list[int]:
        """Those who are alive. A zombie is not, unless only its first thread has ended."""
        return [pid for pid, start in self.members() if _is_alive(pid, start)]

    async def stands(self, count: int) -> None:
        """Wait until so many processes have come to their place."""
        await until(lambda: len(self.members()) >= count)


def _is_alive(pid: int, start: str) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, threads, began = fields[0], int(fields[17]), fields[19]
    return began == start and (state not in "ZX" or threads > 1)
