"""Programs that the bench starts, each in a group of its own, and ends by their own id."""

import os
import re
import signal
import subprocess  # noqa: TID251 - a bench starts the programs that it measures
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil

ROOT: Final = Path(__file__).parents[2]
BIN: Final = ROOT / ".venv" / "bin"
SHARED: Final = ROOT.parent / "shared" / "bench"
WAIT_SECONDS: Final = 30.0


@contextmanager
def program(
    log: Path,
    *command: object,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    **pipes: Any,
) -> Generator[subprocess.Popen[bytes]]:
    """A running program. What it says goes to `log`, unless `pipes` say otherwise."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command], env={**os.environ, **(environment or {})}, cwd=cwd,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, **pipes},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(WAIT_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # of the group that was made for it
        process.wait()


def port_of(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that a server names in its log when it listens."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(
            r"(?:[Ll]istening|running) (?:at: |on )http://\S+?:(\d+)", log.read_text()
        ):
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError(f"{log.name} shows no server that listens: {log.read_text()[-500:]}")


def said(*command: object, cwd: Path | None = None) -> str:
    """The output of a program that ends by itself. Raises with its last words if it failed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    return done.stdout


def pss(pid: int) -> int:
    """Bytes of a process and its children; a page that several share counts in part."""
    return sum(_each(pid, lambda process: process.memory_full_info().pss))


def cpu_seconds(pid: int) -> float:
    """Of a process and its children so far."""
    return sum(_each(pid, lambda process: sum(process.cpu_times()[:2])))


def threads(pid: int) -> int:
    return sum(_each(pid, lambda process: process.num_threads()))


def _each(pid: int, what: Any) -> Sequence[Any]:
    root = psutil.Process(pid)
    found: list[Any] = []
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found.append(what(process))
    return found
