"""The section and the goals about our parsers, from the rows of `parsers`."""

from collections.abc import Iterator
from typing import Final

from figures import Goal, Results, cell, table
from parser_reports import SHAPES
from parsers import IJSON, ORJSON, OURS, group

MOST: Final = 1.0  # of `orjson.loads` alone
PEAK: Final = 64  # MiB
SECTION: Final = """\
## How fast is each tool's report read?

Generated reports in each tool's shape, {parser_rounds} rounds, a process for each parse; imports
are not counted in the time, the peak is the whole process's. Ours are the agent's parsers by their
entry points, and each finding is validated and dropped. `orjson.loads` alone builds Python objects
of the whole document, and `ijson` alone goes over it once and builds nothing.
"""


def parser_goals(results: Results) -> Iterator[Goal]:
    """What was aimed at, for each shape in the size that all were measured in."""
    sizes = [size for size in results.facts["size"].get("parser_sizes", ()) if size <= 100]
    for shape in SHAPES if sizes else ():
        name = group(shape, max(sizes))
        says = f"{name.removeprefix('parse ')}: findings in at most {MOST:.1f} of `orjson.loads`"
        yield Goal(says, results.ratio((name, OURS, "s"), (name, ORJSON, "s")), at_most=MOST)
    peaks = [
        peak
        for shape in SHAPES
        for size in results.facts["size"].get("parser_sizes", ())
        for peak in results.values(group(shape, size), OURS, "peak_mib").values()
    ]
    says = f"no parser takes more than {PEAK} MiB at its peak, at any size"
    yield Goal(says, [max(peaks)] if peaks else [], at_most=PEAK, unit=" MiB")


def parser_section(results: Results) -> Iterator[str]:
    """The table, where they were measured."""
    rows = [
        row
        for size in results.facts["size"].get("parser_sizes", ())
        for shape in SHAPES
        for row in _rows(results, group(shape, size))
    ]
    if rows:
        yield SECTION.format(**results.facts["size"])
        heading = ("report", "by", "s", "of orjson", "MB/s", "peak MiB", "findings of results")
        yield table(heading, *rows)


def _rows(results: Results, name: str) -> Iterator[tuple[str, ...]]:
    for who in results.names(name):
        found = results.values(name, who, "findings")
        expected = results.values(name, who, "results")
        counts = {f"{found[n]:,} of {expected[n]:,}" for n in found}
        yield (
            name.removeprefix("parse "),
            who,
            results.cell(name, who, "s"),
            cell(results.ratio((name, who, "s"), (name, ORJSON, "s"))),
            results.cell(name, who, "mb_s"),
            results.cell(name, who, "peak_mib"),
            "-" if who in (ORJSON, IJSON) else "; ".join(sorted(counts)),
        )
