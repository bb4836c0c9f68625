"""A report read by a mapping takes the same memory whatever its size."""

import io
import json
import subprocess  # noqa: TID251 - the peak is of a whole process
import sys

import pytest

from rediver_agent import ReportUnreadable
from rediver_json import JsonParser

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


def test_an_entry_of_long_texts_is_refused_where_the_mapping_names_them():
    document = json.dumps({"files": [{"messages": [ENTRY | {"long": ["x" * 10**6] * 13}]}]})

    def count(**more):
        parser = JsonParser().with_options(JsonParser.options.model_validate(MAPPING | more))
        return sum(1 for _ in parser.parse(io.BytesIO(document.encode())))

    assert count()
    with pytest.raises(ReportUnreadable, match="name less of it"):
        count(tags="long")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_report(tmp_path):
    assert peak(tmp_path, 60_000) < peak(tmp_path, 600) + 8
