"""Writes docs/reference/performance.md from the results of a run. Every number is a measured one.

    python tests/benchmarks/report.py RESULTS.json PERFORMANCE.md

A cell is a median with its least and greatest, to three digits of the median. A ratio is taken
within each round, as both sides were measured in turn, and is then summed up in the same way. What
was not measured is a dash.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from math import floor, log10
from pathlib import Path
from statistics import median
from typing import Any, Final

OURS: Final = "rediver-sarif"
ORJSON: Final = "orjson.loads alone"
REDIVER: Final = "Rediver on SQLite"
CELERY: Final = "Celery on Redis"
HELP_GOAL: Final = 0.3  # of celery's
PEAK_GOAL: Final = 64  # MiB
FLAT: Final = 1.1  # of the smaller report's peak

Values = Sequence[float]

INTRODUCTION: Final = """\
# How fast is Rediver, and beside what?

Measured on {when} by `make bench`, all of it in one run: each side in turn, round by round, on one
machine. Cells are **median (least-greatest)**. Absolute figures belong to this machine and to what
else it did; quote ratios. None of this gates a build.

- Machine: {cpu}, {cores} cores, {memory_gib} GiB, {system}, Python {python}
- Load average: {load_at_start:.1f} when it began, {load_at_end:.1f} when it ended
- Versions: {versions}
- Instruments: {by}; ours is measured through the adapters in `tests/benchmarks/`
"""
START_UP: Final = """\
## How long does a command take to start?

Wall time of a program that ends by itself, files cached, {start_rounds} rounds. Each side has a
virtual environment of its own, ours that of `make setup`. `plugins` loads every installed plugin.
"""
SARIF: Final = """\
## How fast is a SARIF report read, and in how much memory?

A generated report in semgrep's shape, {sarif_rounds} rounds, a process for each parse; imports are
not counted in the time, the peak is the whole process's. `rediver-sarif` is the agent's parser by
its entry point: the rules, which come last in the file, are read first; every result becomes a
validated finding, and is dropped. `orjson.loads` alone builds Python objects of the whole document
and no finding. The other parsers make smaller findings, and check nothing.
"""
ROUND_TRIP: Final = """\
## How long does a command take, there and back?

A no-op, {queue_rounds} rounds of {jobs} commands, one producer with one call a command, one worker.

- **Rediver**: `POST /api/v1/commands` of a `health_check` that has nothing to probe, until its
  result is stored. With it come keys, validation, fencing, the audit trail, and the agent's own
  record of every step; SQLite syncs every commit on both sides (`synchronous=FULL`).
- **Celery**: `delay()` until the result is stored, one solo worker. Redis keeps nothing on disk in
  the first of its rows and syncs every write in the second.

*One after another*: the next is sent when the last is done. *Idle*: from sending a command to a
quiet queue, at any moment, until its work begins.
"""
MEMORY: Final = """\
## How much memory does an idle agent take?

All processes of the agent, and of the worker, of the round trips: connected, and idle after 21
commands. PSS: a page that several processes share counts in part.
"""
ROUND_TRIP_METRICS: Final = {
    "commands done a second": "jobs_s",
    "commands sent a second meanwhile": "enq_s",
    "one after another, ms": "serial_ms_p50",
    "idle until it begins, ms": "idle_ms_p50",
}
LIMITS: Final = """\
What limits Rediver here: the agent polls. A command for an idle agent waits for the next poll,
which is 1 s ± 20 % here, the shortest that a server may set; **with the default of 30 s it waits up
to 36 s**. An agent asks for as many commands as it has free slots (2), acknowledges each and
delivers each result by calls of their own, and each step is synced to disk before the next.
"""
AGAIN: Final = """\
## Run it again

    make bench

It needs `redis-server` on PATH and the shared bench beside the repository (`../shared/bench`) for
the peers; without them it measures ours and names what is missing. It uses loopback only, writes to
`.bench/` and this page, and leaves nothing running. To try it in two minutes without this page:

    .bench/venv/bin/python tests/benchmarks/run.py .bench/quick.json --quick
"""


class Results:
    """The rows of a run."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.facts: dict[str, Any] = document["facts"]
        self.missing: list[str] = document["missing"]
        self._rows: list[dict[str, Any]] = document["rows"]

    def names(self, group: str) -> list[str]:
        """Who was measured, in order."""
        return list(dict.fromkeys(row["name"] for row in self._rows if row["group"] == group))

    def values(self, group: str, name: str, metric: str) -> dict[int, float]:
        """A metric by round; nothing where it was not measured."""
        return {
            row["round"]: row[metric]
            for row in self._rows
            if (row["group"], row["name"]) == (group, name) and metric in row
        }

    def ratio(self, ours: tuple[str, str, str], theirs: tuple[str, str, str]) -> list[float]:
        """Ours over theirs, in each round that has both."""
        mine, other = self.values(*ours), self.values(*theirs)
        return [mine[number] / other[number] for number in mine if number in other]

    def cell(self, group: str, name: str, metric: str) -> str:
        return cell(list(self.values(group, name, metric).values()))


def cell(values: Values) -> str:
    """Median (least-greatest), or a dash."""
    if not values:
        return "-"
    middle = median(values)
    digits = max(0, 2 - floor(log10(middle)))
    least, most = min(values), max(values)
    return f"{middle:,.{digits}f} ({least:,.{digits}f}-{most:,.{digits}f})"


def table(*rows: Sequence[str]) -> str:
    """Markdown; the first row is the heading."""
    heading, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([heading, f"|{'---|' * len(rows[0])}", *body, ""])


def goals(results: Results) -> str:
    """What was aimed at, and what came of it."""
    help_ratio = results.ratio(
        ("start-up", "rediver-agent --help", "ms"), ("start-up", "celery --help", "ms")
    )
    small, large = sizes(results)
    peak = list(results.values(large, OURS, "peak_mib").values())
    growth = results.ratio((large, OURS, "peak_mib"), (small, OURS, "peak_mib"))
    name = large.removeprefix("sarif ")
    return table(
        ("goal", "measured", ""),
        (
            f"`rediver-agent --help` takes at most {HELP_GOAL} of `celery --help`",
            cell(help_ratio),
            verdict(help_ratio, HELP_GOAL),
        ),
        (
            f"the sarif parser's peak memory on {name} is under {PEAK_GOAL} MiB",
            f"{cell(peak)} MiB",
            verdict([max(peak)] if peak else [], PEAK_GOAL),
        ),
        (
            f"and flat: at most {FLAT} of that on {small.removeprefix('sarif ')}",
            cell(growth),
            verdict(growth, FLAT),
        ),
    )


def verdict(values: Values, limit: float) -> str:
    if not values:
        return "not measured"
    return "met" if median(values) <= limit else "**missed**"


def sizes(results: Results) -> tuple[str, str]:
    """The groups of the small and the large report."""
    small, large = (f"sarif {size:g} MB" for size in results.facts["size"]["sarif_sizes"])
    return small, large


def start_up(results: Results) -> str:
    group, celery = "start-up", "celery --help"
    rows = [
        (
            f"`{name}`",
            results.cell(group, name, "ms"),
            cell(results.ratio((group, name, "ms"), (group, celery, "ms"))),
        )
        for name in results.names(group)
    ]
    return table(("program", "ms", f"of `{celery}`"), *rows)


def sarif(results: Results) -> str:
    return table(
        ("report", "parser", "s", "of orjson", "MB/s", "peak MiB", "findings of results"),
        *(row for group in sizes(results) for row in _sarif(results, group)),
    )


def _sarif(results: Results, group: str) -> Iterator[tuple[str, ...]]:
    for name in results.names(group):
        found = results.values(group, name, "findings")
        expected = results.values(group, name, "results")
        counts = {f"{found[n]:,} of {expected[n]:,}" for n in found} if name != ORJSON else {"-"}
        yield (
            group.removeprefix("sarif "),
            name,
            results.cell(group, name, "s"),
            cell(results.ratio((group, name, "s"), (group, ORJSON, "s"))),
            results.cell(group, name, "mb_s"),
            results.cell(group, name, "peak_mib"),
            "; ".join(sorted(counts)),
        )


def queues(results: Results, metrics: dict[str, str]) -> str:
    """Queues as columns: the two sides are read against each other."""
    names = results.names("queues")
    rows = [
        (
            title,
            *(results.cell("queues", name, metric) for name in names),
            cell(results.ratio(("queues", REDIVER, metric), ("queues", CELERY, metric))),
        )
        for title, metric in metrics.items()
    ]
    return table(("median of a round", *names, f"Rediver : {CELERY}"), *rows)


def page(results: Results) -> str:
    facts = results.facts
    said = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    missing = [f"- {what}" for what in results.missing]
    parts = [
        INTRODUCTION.format(**(facts | {"when": facts["when"][:10], "versions": said})),
        "## Which goals are met?\n",
        goals(results),
        START_UP.format(**facts["size"]),
        start_up(results),
        SARIF.format(**facts["size"]),
        sarif(results),
        ROUND_TRIP.format(**facts["size"]),
        queues(results, ROUND_TRIP_METRICS),
        LIMITS,
        MEMORY,
        queues(results, {"MiB": "worker_mib"}),
        *(("## What was not measured?\n", "\n".join([*missing, ""])) if missing else ()),
        AGAIN,
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(page(Results(json.loads(source.read_text()))), encoding="utf-8")
