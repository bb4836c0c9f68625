"""`make bench`: ours beside its peers, in turn, in one run. Writes what was measured as JSON.

    python tests/benchmarks/run.py RESULTS.json [--quick] [--gigabyte] [--only GROUP,…]

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
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, Final

import alone
import calls
import round_trips
import sockets
from parsers import parsers
from plain_queue import Batches, OneByOne, on
from programs import BIN, ROOT, SHARED, said
from record import QUICK, Run, Size
from rediver_process import Sqlite, postgresql
from rediver_queue import RediverQueue

SCRATCH: Final = ROOT / ".bench" / "run"
OUR_PARSER: Final = f"{Path(__file__).with_name('sarif_adapter.py')}:parse"
PARSER: Final = "rediver-sarif"


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
        said(*argv)
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
                    row = json.loads(said(python, program, parser, path, how).splitlines()[-1])
                    bench.add(f"sarif {megabytes:g} MB", name, number, row | {"results": results})
        path.unlink()


def _parsers(bench: Run) -> dict[str, tuple[str, str, str]]:
    """Interpreter, parser, and whether it lists its findings or drops each; by name, ours first."""
    found = {PARSER: (str(BIN / "python"), OUR_PARSER, "iter")}
    if installed("orjson"):
        found["orjson.loads alone"] = (sys.executable, "orjson_only", "list")
    else:
        bench.miss("orjson.loads: orjson is not installed (bench.lock)")
    for name, how in (("msgspec", "list"), ("ijson", "iter")):
        if SHARED.is_dir() and installed(name):
            found[f"{name} to findings"] = (sys.executable, f"{name}_findings", how)
        else:
            bench.miss(f"{name}'s parse: {name} (bench.lock) or ../shared/bench is not there")
    return found


def instruments() -> Any:
    """What measures: the shared bench, or where it is absent our own."""
    if not SHARED.is_dir():
        return alone
    sys.path.append(str(SHARED))
    return SimpleNamespace(
        run=import_module("bench_startup").run,
        write=import_module("sarif_gen").write,
        PARSER_PROGRAM=str(SHARED / "sarif_parsers.py"),
    )


def installed(name: str) -> bool:
    """Whether the bench can import it."""
    return importlib.util.find_spec(name) is not None


def surroundings() -> dict[str, Any]:
    """When and on what this runs."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    named = ("celery", "redis", "huey", "orjson", "msgspec", "ijson", "starlette", "uvicorn")
    ours = ("flask", "flask-sock", "gevent", "gunicorn", "sqlalchemy", "psycopg")
    ask = f"from importlib.metadata import version as v\nfor n in {ours}: print(n, v(n))"
    versions = {"SQLite": sqlite3.sqlite_version}
    versions |= {name: version(name) for name in filter(installed, named)}
    versions |= dict(line.split() for line in said(BIN / "python", "-c", ask).splitlines())
    if server := shutil.which("redis-server"):
        versions["redis-server"] = said(server, "--version").partition("v=")[2].split()[0]
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


def parts(bench: Run, stack: ExitStack) -> dict[str, Callable[[], None]]:
    """What can be measured, by name. PostgreSQL and redis run all the while, and are idle."""
    tools = instruments()
    pg = stack.enter_context(postgresql(SCRATCH))
    databases = (Sqlite(), pg)
    peers = stack.enter_context(round_trips.on_redis(bench, installed))
    ours = (RediverQueue, OneByOne, Batches, *on(pg))
    return {
        "start-up": partial(start_up, bench, tools.run),
        "sarif": partial(sarif, bench, tools.write, tools.PARSER_PROGRAM),
        "parsers": partial(parsers, bench, SCRATCH, installed("orjson")),
        "queues": partial(round_trips.queues, bench, ours, peers),
        "claims": partial(calls.claims_and_creates, bench, databases),
        "backlog": partial(calls.backlogs, bench, databases),
        "ingest": partial(calls.ingest, bench, databases),
        "anatomy": partial(calls.anatomy, bench, databases, SCRATCH),
        "sockets": partial(sockets.idle, bench, databases),
    }


def main() -> None:
    """Measure, and write the results."""
    arguments = argparse.ArgumentParser(description="Ours beside its peers, in one run.")
    arguments.add_argument("results", type=Path)
    arguments.add_argument("--quick", action="store_true", help="tiny sizes: to try the bench")
    arguments.add_argument("--only", default="", help="parts, by comma")
    arguments.add_argument("--gigabyte", action="store_true", help="reports of 1 GB, too")
    asked = arguments.parse_args()
    size = QUICK if asked.quick else Size()
    if asked.gigabyte:
        size = replace(size, parser_sizes=(*size.parser_sizes, 1000))
    bench = Run(size, frozenset({PARSER}))
    prepare()
    facts = surroundings()
    with ExitStack() as stack:
        found = parts(bench, stack)
        for name in asked.only.split(",") if asked.only else found:
            began = time.monotonic()
            found[name]()
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    facts |= {"load_at_end": os.getloadavg()[0], "size": asdict(bench.size)}
    document = {"facts": facts, "missing": bench.missing, "rows": bench.rows}
    asked.results.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
