"""Writes docs/reference/performance.md from the results of a run. Every number is a measured one.

python tests/benchmarks/report.py RESULTS.json PERFORMANCE.md
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from figures import Goal, Results, cell, table
from parser_pages import parser_goals, parser_section
from record import Size
from server_pages import server_goals, server_sections

OURS: Final = "rediver-sarif"
ORJSON: Final = "orjson.loads alone"
HELP_GOAL: Final = 0.3  # of celery's
PEAK_GOAL: Final = 64  # MiB
FLAT: Final = 1.1  # of the smaller report's peak

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
AGAIN: Final = """\
## Run it again

    make bench

It needs `redis-server` on PATH and the shared bench beside the repository (`../shared/bench`) for
the peers; without them it measures ours and names what is missing. It uses loopback only, writes to
`.bench/` and this page, and leaves nothing running. To try it in three minutes without this page:

    .bench/venv/bin/python tests/benchmarks/run.py .bench/quick.json --quick
"""


def agent_goals(results: Results) -> Iterator[Goal]:
    """What was aimed at for the agent's commands and the parser."""
    help_ratio = results.ratio(
        ("start-up", "rediver-agent --help", "ms"), ("start-up", "celery --help", "ms")
    )
    small, large = sizes(results)
    peak = list(results.values(large, OURS, "peak_mib").values())
    growth = results.ratio((large, OURS, "peak_mib"), (small, OURS, "peak_mib"))
    name = large.removeprefix("sarif ")
    says = f"`rediver-agent --help` takes at most {HELP_GOAL} of `celery --help`"
    yield Goal(says, help_ratio, at_most=HELP_GOAL)
    says = f"the sarif parser's peak memory on {name} is under {PEAK_GOAL} MiB"
    yield Goal(says, [max(peak)] if peak else [], at_most=PEAK_GOAL, unit=" MiB")
    says = f"and flat: at most {FLAT} of that on {small.removeprefix('sarif ')}"
    yield Goal(says, growth, at_most=FLAT)


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


def page(results: Results) -> str:
    facts = results.facts
    said = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    missing = [f"- {what}" for what in results.missing]
    parts = [
        INTRODUCTION.format(**(facts | {"when": facts["when"][:10], "versions": said})),
        "## Which goals are met?\n",
        table(
            ("goal", "measured", ""),
            *(
                goal.row()
                for goal in (*server_goals(results), *agent_goals(results), *parser_goals(results))
            ),
        ),
        START_UP.format(**facts["size"]),
        start_up(results),
        SARIF.format(**facts["size"]),
        sarif(results),
        *parser_section(results),
        *server_sections(results),
        *(("## What was not measured?\n", "\n".join([*missing, ""])) if missing else ()),
        AGAIN,
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    document = json.loads(source.read_text())
    # An older run lacks the sizes of what it did not measure: the page says so of each.
    document["facts"]["size"] = asdict(Size()) | document["facts"]["size"]
    target.write_text(page(Results(document)), encoding="utf-8")
