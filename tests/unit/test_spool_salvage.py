"""A damaged spool is read in bounded memory: the agent of a small host must be able to start."""

import subprocess  # noqa: TID251 - memory is measured of a process of its own
import sys
from contextlib import closing
from datetime import UTC, datetime

from rediver_agent.contract import CommandResult, Finding, Report
from rediver_agent.spool import Spool

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCANS, PARTS = 15, 10
START = r"""
import re, sys
from datetime import UTC, datetime
from pathlib import Path
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.spool_recovery import open_or_set_aside

def kib():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

def now():
    return datetime(2026, 1, 1, tzinfo=UTC)

directory, before = Path(sys.argv[1]), kib()
spool, aside = open_or_set_aside(
    Settings(state_dir=directory), lambda: Spool(directory, now=now), now
)
print(len(aside), len(spool.entries()), kib() - before)
"""


def finished(spool, command, part):
    """A scan whose findings and result wait."""
    spool.claim(command)
    spool.begin(command, 1)
    spool.open_report(f"r.{command}", command)
    for _ in range(PARTS):
        spool.add_findings(f"r.{command}", command, part)
    count = len(part) * PARTS
    result = CommandResult(status="completed", completed_at=NOW, attempt=1, findings_count=count)
    metadata = {"id": f"r.{command}", "timestamp": NOW, "command_id": command}
    spool.finish(command, result, [Report(version="1.0", metadata=metadata, tool={"name": "stub"})])


def test_what_is_salvaged_is_never_in_memory_as_a_whole(tmp_path):
    part = [
        Finding(type="vulnerability", title=f"{number}", severity="high", message="x" * 90_000)
        for number in range(3)
    ]
    with closing(Spool(tmp_path, now=lambda: NOW)) as spool:
        for number in range(SCANS):
            finished(spool, f"cmd_{number}", part)
        spool.claim("cmd_" + "2" * 32)
    file = tmp_path / "spool.sqlite3"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"cmd_" + b"2" * 32, b"cmd_" + b"3" * 32, 1))
    assert len(content) > 35 << 20

    said = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout

    aside, waiting, kib = map(int, said.split())
    assert (aside, waiting) == (1, SCANS * (PARTS + 1))
    assert kib < 25 << 10
