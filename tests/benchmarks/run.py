"""`make bench`: ours beside its peers, in turn, in one run. Writes what was measured as JSON.

    python tests/benchmarks/run.py RESULTS.json [--quick]

Peers and instruments are the shared bench's (../shared/bench), through adapters of ours; where it
is absent our own instruments (alone.py) measure ours. What cannot be measured is named; nothing
gates, and only a fault of ours is an error.
Only processes that were started here are ended, and all of them are.
"""

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import sqlite3
import subprocess  # noqa: TID251 - a bench starts the programs that it measures
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, Final

import alone
from rediver_queue import BIN, RediverQueue

ROOT: Final = Path(__file__).parents[2]
SHARED: Final = ROOT.parent / "shared" / "bench"
SCRATCH: Final = ROOT / ".bench" / "run"
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")
OUR_PARSER: Final = f"{Path(__file__).with_name('sarif_adapter.py')}:parse"
PARSER: Final = "rediver-sarif"
OURS: Final = frozenset({PARSER, RediverQueue.name})


@dataclass(frozen=True)
class Size:
    """How much is measured. Sizes of reports in MB."""

    start_rounds: int = 15
    sarif_rounds: int = 3
    sarif_sizes: tuple[float, float] = (10, 100)
    queue_rounds: int = 3
    jobs: int = 500


QUICK: Final = Size(start_rounds=2, sarif_rounds=1, sarif_sizes=(1, 3), queue_rounds=1, jobs=50)


@dataclass
class Run:
    """What a run has measured, and what it could not."""

    size: Size
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    missing: list[str] = field(default_factory=list[str])

    def add(self, group: str, name: str, number: int, row: Mapping[str, Any]) -> None:
        """Keep a row of round `number`, and show it."""
        self.rows.append({"group": group, "name": name, "round": number, **row})
        shown = {key: round(value, 2) for key, value in row.items()}
        print(f"{group}, round {number}: {name}: {shown}", flush=True)

    def miss(self, what: str) -> None:
        """Name what cannot be measured, once."""
        if what not in self.missing:
            self.missing.append(what)
            print(f"not measured: {what}", flush=True)

    @contextmanager
    def peer(self, name: str) -> Generator[None]:
        """What breaks costs its own figures, unless it is ours: that is raised."""
        try:
            yield
        except Exception as fault:  # foreign code: whatever it raises, ours is still measured
            if name in OURS:
                raise
            self.miss(f"{name} broke: {type(fault).__name__}: {fault}")


def start_up(bench: Run, run: Callable[[list[str]], Any]) -> None:
    """Wall time of programs that end by themselves."""
    programs = {"python -c pass": [sys.executable, "-c", "pass"]}
    celery = Path(sys.executable).with_name("celery")
    if celery.exists():
        programs["celery --help"] = [str(celery), "--help"]
    else:
        bench.miss("celery's start-up: celery is not installed (bench.lock)")
    for command in ("--help", "config check", "plugins"):
        programs[f"rediver-agent {command}"] = [str(BIN / "rediver-agent"), *command.split()]
    for argv in programs.values():  # warms the page cache, and proves that it works
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for number in range(1, bench.size.start_rounds + 1):
        for name, argv in programs.items():
            bench.add("start-up", name, number, {"ms": run(argv)[0]})


def sarif(bench: Run, write: Callable[[Path, float], int], program: str) -> None:
    """Reports to findings: `program` parses one report by one parser, in a process of its own."""
    parsers = _parsers(bench)
    for megabytes in bench.size.sarif_sizes:
        path = SCRATCH / f"{megabytes:g}.sarif"
        results = write(path, megabytes)
        for number in range(1, bench.size.sarif_rounds + 1):
            for name, (python, parser, how) in parsers.items():
                with bench.peer(name):
                    row = _said(python, program, parser, str(path), how)
                    bench.add(f"sarif {megabytes:g} MB", name, number, row | {"results": results})
        path.unlink()


def _parsers(bench: Run) -> dict[str, tuple[str, str, str]]:
    """Interpreter, parser, and whether it lists its findings or drops each; by name, ours first."""
    found = {PARSER: (str(BIN / "python"), OUR_PARSER, "iter")}
    if _installed("orjson"):
        found["orjson.loads alone"] = (sys.executable, "orjson_only", "list")
    else:
        bench.miss("orjson.loads: orjson is not installed (bench.lock)")
    for name, how in (("msgspec", "list"), ("ijson", "iter")):
        if SHARED.is_dir() and _installed(name):
            found[f"{name} to findings"] = (sys.executable, f"{name}_findings", how)
        else:
            bench.miss(f"{name}'s parse: {name} (bench.lock) or ../shared/bench is not there")
    return found


def _said(*command: str) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    return json.loads(done.stdout.splitlines()[-1])


def queues(bench: Run, measure: Callable[..., dict[str, Any]], peers: Mapping[Any, str]) -> None:
    """Round trips of no-ops. `peers` are queues with the URL of their redis."""
    for number in range(1, bench.size.queue_rounds + 1):
        for queue, url in {RediverQueue: "", **peers}.items():
            with bench.peer(queue.name):
                row = measure(queue, {"redis": url}, bench.size.jobs)
                row.pop("name", None)  # the shared bench's rows name themselves
                bench.add("queues", queue.name, number, row)


@contextmanager
def celery_on_redis(bench: Run) -> Generator[dict[Any, str]]:
    """The shared bench's Celery queue with one solo worker, on a redis of each kind."""
    lacking = [] if SHARED.is_dir() else ["../shared/bench"]
    lacking += [f"{name} (bench.lock)" for name in ("celery", "redis") if not _installed(name)]
    if shutil.which("redis-server") is None:
        lacking.append("redis-server (apt install redis-server)")
    if lacking:
        bench.miss(f"Celery's round trip and memory: not found: {', '.join(lacking)}")
        yield {}
        return
    shared = import_module("bench_queues")

    class Durable(shared.CelerySolo):
        name = "Celery on Redis, every write synced"

    class Plain(shared.CelerySolo):
        name = "Celery on Redis"

    with ExitStack() as stack:
        start = import_module("common").redis
        peers: dict[Any, str] = {}
        with bench.peer("redis-server"):
            peers[Plain] = stack.enter_context(start())
            peers[Durable] = stack.enter_context(start(DURABLE))
        yield peers


def instruments() -> Any:
    """What measures: the shared bench, or where it is absent our own."""
    if not SHARED.is_dir():
        return alone
    sys.path.append(str(SHARED))
    return SimpleNamespace(
        run=import_module("bench_startup").run,
        write=import_module("sarif_gen").write,
        measure=import_module("bench_queues").measure,
        PARSER_PROGRAM=str(SHARED / "sarif_parsers.py"),
    )


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def surroundings() -> dict[str, Any]:
    """When and on what this runs."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    peers = filter(_installed, ("celery", "redis", "orjson", "msgspec", "ijson"))
    versions = {"SQLite": sqlite3.sqlite_version, **{name: version(name) for name in peers}}
    if server := shutil.which("redis-server"):
        said = subprocess.check_output([server, "--version"], text=True)
        versions["redis-server"] = said.partition("v=")[2].split()[0]
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
        "load_at_start": os.getloadavg()[0],
        "by": "the shared bench's" if SHARED.is_dir() else "our own",
    }


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)  # as Ctrl-C does: by way of every `finally`, so that nothing is left running


def prepare() -> None:
    """An empty scratch directory, and the same conditions for everybody."""
    signal.signal(signal.SIGTERM, _leave)
    shutil.rmtree(SCRATCH, ignore_errors=True)  # redis would load what it wrote in the last run
    SCRATCH.mkdir(parents=True)
    # Ours is compiled, as an installation's files are; beside the shared bench nothing is written.
    compiler = [str(BIN / "python"), "-m", "compileall", "-q"]
    subprocess.run([*compiler, "rediver_agent", "reference_server", "plugins"], cwd=ROOT)
    os.environ |= {"BENCH_TMP": str(SCRATCH), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True


def main() -> None:
    """Measure, and write the results."""
    arguments = argparse.ArgumentParser(description="Ours beside its peers, in one run.")
    arguments.add_argument("results", type=Path)
    arguments.add_argument("--quick", action="store_true", help="tiny sizes: to try the bench")
    asked = arguments.parse_args()
    bench = Run(QUICK if asked.quick else Size())
    prepare()
    facts = surroundings()
    tools = instruments()
    start_up(bench, tools.run)
    sarif(bench, tools.write, tools.PARSER_PROGRAM)
    with celery_on_redis(bench) as peers:
        queues(bench, tools.measure, peers)
    facts |= {"load_at_end": os.getloadavg()[0], "size": asdict(bench.size)}
    document = {"facts": facts, "missing": bench.missing, "rows": bench.rows}
    asked.results.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
