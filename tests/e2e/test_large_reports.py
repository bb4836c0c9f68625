"""A report of any size is read in bounded memory, and the agent goes on answering meanwhile."""

import json
import re
from pathlib import Path

import pytest
from house import BIN, wait_for
from stub_scanner import METADATA, write_program

MIB = 1 << 20
MOST_GROWTH = 150 * MIB  # of the agent, for a report of 1 GiB

PLUGIN = '''
"""Runs a program that writes as much SARIF as it is told."""

from pydantic import BaseModel

from rediver_agent import Scanner, hookimpl


class Options(BaseModel, extra="forbid"):
    pass


class Large(Scanner[Options]):
    name = "large"
    program = "large-tool"
    options = Options

    async def scan(self, ctx, options):
        report = ctx.work_dir / "report.sarif"
        await ctx.run("large-tool", str(report))
        return ctx.parse(report, "sarif")


@hookimpl
def rediver_scanners():
    yield Large()
'''

TOOL = """
import json, sys
from pathlib import Path

size = int(Path("size").read_text())
result = {
    "ruleId": "R", "level": "warning", "message": {"text": "m" * 1500},
    "locations": [{"physicalLocation": {
        "artifactLocation": {"uri": "a.py"},
        "region": {"startLine": 7, "snippet": {"text": "x" * 400}},
    }}],
}
text = json.dumps(result).replace('"startLine": 7', '"startLine": %d')
written = 0
with open(sys.argv[1], "w") as out:
    out.write('{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "large"}}, "results": [')
    number = 0
    while written < size:
        number += 1
        written += out.write((",\\n" if number > 1 else "") + text % number)
    out.write("]}]}")
Path("count").write_text(str(number))
"""


@pytest.fixture(scope="session")
def large_env(tmp_path_factory):
    site = tmp_path_factory.mktemp("large-plugin") / "site"
    (site / "rediver_large").mkdir(parents=True)
    (site / "rediver_large" / "__init__.py").write_text(PLUGIN)
    info = site / "rediver_large-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.replace("stub", "large"))
    (info / "entry_points.txt").write_text("[rediver_agent]\nlarge = rediver_large\n")
    write_program(site / "bin" / "large-tool", TOOL)
    return {"PYTHONPATH": str(site), "PATH": f"{site / 'bin'}:{BIN}:/usr/bin:/bin"}


def memory(pid, what):
    """A line of the process's status, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", text)[1]) << 10


def target(tmp_path, name, size):
    (tmp_path / name).mkdir()
    (tmp_path / name / "size").write_text(str(size))
    return tmp_path / name


@pytest.mark.slow
def test_a_report_of_a_gibibyte_is_read_in_bounded_memory(own_house, large_env, tmp_path):
    """Measured on the process: what it had before, and the most that it ever had."""
    small = target(tmp_path, "small", 1 * MIB)
    large = target(tmp_path, "large", (1 << 30) - 2 * MIB)
    agent = own_house.start_agent(
        tmp_path, env=large_env, retry_queue={"max_bytes": 4 << 30}, agent={"max_concurrent": 1}
    )
    pid = agent.process.pid
    assert own_house.outcome(own_house.scan(small, scanner="large"))["status"] == "completed"
    before = memory(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # begin the peak anew

    command = own_house.scan(large, scanner="large", timeout_seconds=3000)
    own_house.running(command)
    own_house.server.stop()  # what is measured is the reading: nothing is to be delivered
    wait_for(lambda: f"{command}: completed" in agent.text(), "it is read", deadline=800)

    grown = memory(pid, "VmHWM") - before
    assert grown < MOST_GROWTH, f"{grown >> 20} MiB more than {before >> 20} MiB"
    parts = int((large / "count").read_text()) // 1000  # at least: a part has no more findings
    status = tmp_path / "state" / "status.json"
    wait_for(
        lambda: json.loads(status.read_text())["spool"]["waiting"] > parts, "all of it is kept"
    )


@pytest.mark.slow
def test_leases_are_kept_while_four_reports_are_read_at_once(house, large_env, tmp_path):
    """Heartbeats keep their rhythm, or the server would give the commands away."""
    targets = [target(tmp_path, f"app{n}", 100 * MIB) for n in range(4)]
    agent = house.start_agent(
        tmp_path, env=large_env, retry_queue={"max_bytes": 4 << 30}, agent={"max_concurrent": 4}
    )
    commands = [house.scan(each, scanner="large") for each in targets]

    for command in commands:
        wait_for(lambda command=command: f"{command}: completed" in agent.text(), "it is read", 800)

    assert [house.get(command)["attempt"] for command in commands] == [1] * 4
    assert {house.get(command)["status"] for command in commands} <= {"running", "completed"}
