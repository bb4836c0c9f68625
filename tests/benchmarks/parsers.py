"""Reports to findings by our four parsers, beside `orjson.loads` alone, ijson and other importers.

A process for each parse, in turn: ratios are taken within a round. What is not there is named.
"""

import json
import os
import sys
from pathlib import Path
from typing import Final

import alone
from parser_reports import SHAPES, write
from programs import BIN, SHARED, said
from record import Run

OURS: Final = "Rediver"
ORJSON: Final = "orjson.loads alone"
IJSON: Final = "ijson alone, one pass"
DEFECTDOJO: Final = "DefectDojo, without its models"
FARADAY: Final = "faraday_plugins"
_ADAPTERS: Final = Path(__file__).with_name("parser_adapters.py")
_LARGEST_FOR_ALL: Final = 100  # MB: a gigabyte is for those that do not hold the whole document


def group(shape: str, megabytes: float) -> str:
    """What its rows are kept under."""
    return f"parse {shape}, {megabytes:g} MB"


def parsers(bench: Run, scratch: Path, has_orjson: bool) -> None:
    """Every shape in every size."""
    for megabytes in bench.size.parser_sizes:
        for shape in SHAPES:
            path = scratch / "report.json"
            results = write(shape, path, megabytes)
            programs = _programs(bench, SHAPES[shape][0], path, has_orjson=has_orjson)
            if megabytes > _LARGEST_FOR_ALL:
                programs = {OURS: programs[OURS]}
            for number in range(1, bench.size.parser_rounds + 1):
                for name, argv in programs.items():
                    with bench.peer(name):
                        row = json.loads(said(*argv).splitlines()[-1]) | {"results": results}
                        bench.add(group(shape, megabytes), name, number, row)
            path.unlink()


def _programs(
    bench: Run, parser: str, path: Path, *, has_orjson: bool
) -> dict[str, tuple[object, ...]]:
    """The command lines by name, ours first."""
    ours = (BIN / "python", alone.PARSER_PROGRAM)
    found: dict[str, tuple[object, ...]] = {OURS: (*ours, f"{_ADAPTERS}:{parser}", path)}
    if has_orjson:
        found[ORJSON] = (sys.executable, alone.PARSER_PROGRAM, "orjson_only", path)
    else:
        bench.miss("orjson.loads: orjson is not installed (bench.lock)")
    found[IJSON] = (*ours, f"{_ADAPTERS}:ijson_only", path)
    if parser == "sarif":
        found |= _importers(bench, path)
    return found


def _importers(bench: Run, path: Path) -> dict[str, tuple[object, ...]]:
    """Those of other projects, which the shared bench knows how to run."""
    program = SHARED / "sarif_parsers.py"
    found: dict[str, tuple[object, ...]] = {}
    if program.exists() and "DEFECTDOJO_GIT" in os.environ:
        found[DEFECTDOJO] = (sys.executable, program, "defectdojo", path, "list")
    else:
        bench.miss("DefectDojo's parser: not found (DEFECTDOJO_GIT names a clone of it)")
    if program.exists() and (python := os.environ.get("FARADAY_PYTHON")):
        found[FARADAY] = (python, program, "faraday", path, "list")
    else:
        bench.miss("faraday_plugins' parser: not found (FARADAY_PYTHON names a Python that has it)")
    return found
