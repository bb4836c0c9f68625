"""A report read by a mapping takes the same memory whatever its size."""

import json
import subprocess  # noqa: TID251 - the peak is of a whole process
import sys

import pytest

ENTRY = {"text": "bad", "level": "high", "code": "x" * 500, "trace": [{"line": 1}] * 20}
MAPPING = {
    "tool": {"name": "lint", "version": "version"},
    "findings": "files[].messages",
    "title": "text",
    "severity": "level",
    "location": {"path": "^.name", "snippet": "code"},
}
PEAK = """
import json, resource, sys
from rediver_json import JsonParser
parser = JsonParser().with_options(JsonParser.options.model_validate(json.loads(sys.argv[1])))
count = sum(1 for _ in parser.parse(open(sys.argv[2], "rb")))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def peak(tmp_path, entries):
    """MiB that reading so many entries of one file takes, its name and the version at the end."""
    file = tmp_path / "report.json"
    text = json.dumps(ENTRY)
    with file.open("w") as report:
        report.write('{"files": [{"messages": [' + text)
        for _ in range(entries - 1):
            report.write("," + text)
        report.write('], "name": "a.py"}], "version": "1"}')
    done = subprocess.run(
        [sys.executable, "-c", PEAK, json.dumps(MAPPING), str(file)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    count, mebibytes = map(int, done.stdout.split())
    assert count == entries + 2  # the tool, at the start without its version and at the end with it
    return mebibytes


@pytest.mark.slow
def test_memory_does_not_grow_with_the_report(tmp_path):
    assert peak(tmp_path, 60_000) < peak(tmp_path, 600) + 8
