"""Round trips of no-ops through queues: Rediver's, and the shared bench's Celery and Huey.

What is measured is what the shared bench measures, by the same names; sizes are ours.
"""

import os
import shutil
import statistics
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from load import percentile
from programs import SHARED, WAIT_SECONDS, pss
from record import Run, Size
from rediver_queue import RediverQueue

_DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")
_WARM_UP: Final = 5
_DRAIN_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.001


def queues(bench: Run, ours: Iterable[Any], peers: Mapping[Any, str]) -> None:
    """Each in turn, every round. `peers` are queues with the URL of their redis."""
    for number in range(1, bench.size.queue_rounds + 1):
        for queue, url in {**dict.fromkeys(ours, ""), **peers}.items():
            with bench.peer(queue.name):
                row = _measure(queue({"redis": url}), bench.size)
                bench.add("queues", queue.name, number, row)


@contextmanager
def on_redis(bench: Run, installed: Callable[[str], bool]) -> Generator[dict[Any, str]]:
    """The shared bench's Celery with one solo worker, on a redis of each kind, and its Huey."""
    lacking = [] if SHARED.is_dir() else ["../shared/bench"]
    needed = ("celery", "huey", "redis")
    lacking += [f"{name} (bench.lock)" for name in needed if not installed(name)]
    if shutil.which("redis-server") is None:
        lacking.append("redis-server (apt install redis-server)")
    if lacking:
        bench.miss(f"Celery's and Huey's round trips and memory: not found: {', '.join(lacking)}")
        yield {}
        return
    shared = import_module("bench_queues")

    class Durable(shared.CelerySolo):
        name = "Celery on Redis, every write synced"

    class Plain(shared.CelerySolo):
        name = "Celery on Redis"

    class Huey(shared.HueyRedis):
        name = "Huey on Redis"

    with ExitStack() as stack:
        start = import_module("common").redis
        peers: dict[Any, str] = {}
        with bench.peer("redis-server"):
            peers[Plain] = peers[Huey] = stack.enter_context(start())
            peers[Durable] = stack.enter_context(start(_DURABLE))
        yield peers


def _measure(queue: Any, size: Size) -> dict[str, float]:
    """One round of one queue: memory of its idle worker, rate of many commands, wait for one."""
    is_agent = isinstance(queue, RediverQueue)
    queue.start()
    try:
        for _ in range(_WARM_UP):
            queue.wait_one()
        row = {"worker_mib": pss(queue.worker.pid) / 2**20}
        row |= _many(queue, size.jobs if is_agent else size.plain_jobs)
        serial: list[float] = []
        end = time.perf_counter() + size.serial_seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            queue.wait_one()
            serial.append((time.perf_counter() - began) * 1e3)
        idle = sorted(_probed(queue) for _ in range(size.probes))
    finally:
        queue.stop()
    return row | {
        "serial_ms_p50": statistics.median(serial),
        "serial_ms_p99": percentile(sorted(serial), 99),
        "idle_ms_p50": statistics.median(idle),
        "idle_ms_max": idle[-1],
    }


def _many(queue: Any, jobs: int) -> dict[str, float]:
    getattr(queue, "mark", lambda: None)()  # what some need before they can count
    before, began = queue.done(), time.perf_counter()
    queue.enqueue(jobs)
    enqueued = time.perf_counter()
    while (done := queue.done() - before) < jobs and time.perf_counter() < began + _DRAIN_SECONDS:
        time.sleep(_LOOK_SECONDS)
    if done < jobs:
        raise TimeoutError(f"{done} of {jobs} were done in {_DRAIN_SECONDS:.0f} s")
    return {
        "jobs_s": done / (time.perf_counter() - began),
        "enq_s": jobs / (enqueued - began),
        "done": done,
    }


def _probed(queue: Any) -> float:
    """Milliseconds from just before a command is sent to a quiet queue until it runs."""
    time.sleep(queue.idle_gap)
    path = Path(os.environ["BENCH_TMP"]) / "probe.txt"
    path.unlink(missing_ok=True)
    sent = time.monotonic()
    queue.probe(str(path))
    while time.monotonic() < sent + WAIT_SECONDS:
        with suppress(FileNotFoundError):
            if (text := path.read_text()).endswith("\n"):
                return (float(text) - sent) * 1e3
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"a probe did not run in {WAIT_SECONDS:.0f} s")
