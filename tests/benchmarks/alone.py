"""Instruments of our own, for where the shared bench is absent: of the same names and units.

As a program it parses one report and prints what that took, as JSON:

    python tests/benchmarks/alone.py orjson_only|FILE.py:FUNCTION REPORT
"""

import importlib.util
import json
import subprocess  # noqa: TID251 - a bench starts the programs that it measures
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

PARSER_PROGRAM: Final = __file__


def run(argv: list[str]) -> tuple[float, ...]:
    """Wall milliseconds of one process."""
    began = time.perf_counter()
    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return ((time.perf_counter() - began) * 1e3,)


def write(path: Path, megabytes: float) -> int:
    """A SARIF report of that size, its results before its rules. Returns how many results."""
    rules = [
        {"id": f"rule-{n}", "properties": {"tags": [f"CWE-{20 + n}: a weakness"]}}
        for n in range(300)
    ]
    tool = {"driver": {"name": "bench", "rules": rules}}
    number = 0
    with path.open("w", encoding="utf-8") as out:
        out.write('{"version":"2.1.0","runs":[{"results":[')
        while out.tell() < megabytes * 1e6:
            out.write("," * bool(number) + json.dumps(_result(number)))
            number += 1
        out.write(f'],"tool":{json.dumps(tool)}}}]}}')
    return number


def _result(number: int) -> dict[str, Any]:
    line = 1 + number % 4000
    region = {
        "startLine": line,
        "endLine": line + 1,
        "snippet": {"text": f"value = {number}\n" * 4},
    }
    place = {"artifactLocation": {"uri": f"src/module_{number % 400}.py"}, "region": region}
    return {
        "fingerprints": {"bench/v1": f"{number:064x}"},
        "level": ("note", "warning", "error")[number % 3],
        "locations": [{"physicalLocation": place}],
        "message": {"text": "user data flows into a call without validation; " * 4},
        "ruleId": f"rule-{number % 300}",
    }


def _parser(name: str) -> Callable[[str], Any]:
    if name == "orjson_only":
        orjson = importlib.import_module("orjson")
        return lambda path: orjson.loads(Path(path).read_bytes()) and ()
    file, function = name.rsplit(":", 1)
    spec = importlib.util.spec_from_file_location("parser_adapter", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)


def main() -> None:
    """One parse; every finding is dropped as it comes."""
    name, path, *_ = sys.argv[1:]
    parse = _parser(name)
    began = time.perf_counter()
    found = sum(1 for _ in parse(path))
    took = time.perf_counter() - began
    size = Path(path).stat().st_size / 1e6
    print(json.dumps({"s": took, "findings": found, "mb_s": size / took, "peak_mib": _peak_mib()}))


if __name__ == "__main__":
    main()
