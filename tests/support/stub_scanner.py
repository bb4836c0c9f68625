"""A third-party scanner for tests: a real plugin, found by its entry point, with a real program.

`install(directory)` writes the distribution `rediver-stub` there, to be put on PYTHONPATH, and its
program `stub-tool` into `directory/bin`, to be put on PATH. The program does what the file
`behave.json` in its target says, so that a test decides how a scan goes.
"""

import json
import stat
import sys
from pathlib import Path
from textwrap import dedent

PLUGIN = '''
"""Runs stub-tool."""

import json
import time
from collections.abc import Iterator
from typing import BinaryIO

from pydantic import BaseModel

from rediver_agent import Parser, ReportUnreadable, Scanner, hookimpl
from rediver_agent.contract import Finding, Location
from rediver_agent.interfaces import Notice


class Options(BaseModel, extra="forbid"):
    depth: int = 1
    host_file: str = ""


class Stub(Scanner[Options]):
    name = "stub"
    program = "stub-tool"
    options = Options
    from_command = frozenset({"depth"})

    async def scan(self, ctx, options):
        ctx.progress(10, "starting")
        report = ctx.work_dir / "report.json"
        await ctx.run("stub-tool", str(report), ok={0})
        return ctx.parse(report, "stub")


class StubParser(Parser):
    format = "stub"

    def sniff(self, head):
        return head.startswith(b'{"stub"')

    def parse(self, stream: BinaryIO) -> Iterator:
        try:
            document = json.load(stream)
        except ValueError as fault:
            raise ReportUnreadable(f"not JSON: {fault}") from fault
        while document.get("hang"):
            time.sleep(0.05)
        for number in range(document["stub"]):
            yield Finding(
                type="vulnerability", title=f"Finding {number}", severity="high", rule_id="stub",
                location=Location(path="a.txt", start_line=number + 1, snippet=f"line {number}"),
            )
        for level, message in document.get("notices", []):
            yield Notice(level, message)


@hookimpl
def rediver_scanners():
    yield Stub()


@hookimpl
def rediver_parsers():
    yield StubParser()
'''

TOOL = '''
"""Does what behave.json in the working directory says."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

if "--version" in sys.argv:
    print("stub 1.0")
    sys.exit(0)
behave = json.loads(Path("behave.json").read_text())
Path(behave["log"]).open("a").write(f"{os.getpid()}\\n")
if "script" in behave:
    subprocess.Popen([sys.executable, "-c", behave["script"]])
while "gate" in behave and not Path(behave["gate"]).exists():
    time.sleep(0.02)
found = {"stub": behave.get("findings", 2), "notices": behave.get("notices", [])}
report = behave.get("report", json.dumps(found))
if report is not None:
    Path(sys.argv[1]).write_text(report)
sys.exit(behave.get("exit", 0))
'''

METADATA = "Metadata-Version: 2.1\nName: rediver-stub\nVersion: 1.0\n"


def install(directory: Path) -> None:
    """Write the plugin and its program."""
    package = directory / "rediver_stub"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PLUGIN)
    info = directory / "rediver_stub-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text("[rediver_agent]\nstub = rediver_stub\n")
    write_program(directory / "bin" / "stub-tool", TOOL)


def write_program(path: Path, python: str) -> Path:
    """An executable Python program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable} -IS\n{dedent(python).lstrip()}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def behave(target: Path, **how: object) -> Path:
    """Say how the program is to behave in a target. Returns the file that lists its processes."""
    target.mkdir(parents=True, exist_ok=True)
    log = target.with_name(f"{target.name}.pids")
    (target / "behave.json").write_text(json.dumps({"log": str(log), **how}))
    return log
