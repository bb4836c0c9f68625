"""A scanner that is nothing but a command line, through the agent: a real program, a real report
in SARIF, and what the server is told in the end.
"""

import json
from pathlib import Path
from typing import ClassVar

import anyio
import pytest
from executed import kept_for_server
from pydantic import BaseModel
from stub_scanner import write_program

from rediver_agent import CommandLineScanner, SeverityWord
from rediver_agent.agent import build_executor, utc_now
from rediver_agent.configuration import Configuration
from rediver_agent.contract import ScanCommand
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.testing import FakeScanContext, Played, provided, scan

# Does what its arguments say: `--exit=1`, `-o FILE`, `--print` for its report on standard output.
TOOL = """
import os, sys

given = sys.argv[1:]
report = open("report.sarif").read()
print("scanning", file=sys.stderr)
if "--print" in given:
    print(report, end="")
if "-o" in given:
    open(given[given.index("-o") + 1], "w").write(report)
open("argv", "w").write("\\n".join([*given, os.environ.get("TOY_HOME", "")]))
sys.exit(*[int(word[7:]) for word in given if word.startswith("--exit=")])
"""


class Options(BaseModel, extra="forbid"):
    rules: list[str] = []
    severity_threshold: SeverityWord | None = None


class Toy(CommandLineScanner[Options]):
    name = program = "toy"
    options = Options
    exit_codes = (0, 1)
    partial_exit_codes: ClassVar = {3: "some files could not be read"}
    report_name = "report.sarif"
    environment: ClassVar = {"TOY_HOME": "/nowhere"}
    more: tuple[str, ...] = ()

    def arguments(self, options: Options, report: Path) -> list[str | Path]:
        return [*self.more, *(f"--rule={rule}" for rule in options.rules), "-o", report]


class Prints(Toy):
    report_on_stdout = True

    def arguments(self, _options: Options, _report: Path) -> list[str | Path]:
        return [*self.more, "--print"]


class LeavesNothing(Toy):
    def arguments(self, _options: Options, _report: Path) -> list[str | Path]:
        return []


class SaysItInOneText(Toy):
    def arguments(self, _options: Options, report: Path) -> str:
        return f"-o {report}"


def doing(base, *more):
    return type("Doing", (base,), {"more": more})()


def sarif(**levels):
    results = [
        {"ruleId": rule, "level": level, "message": {"text": "bad"}}
        for rule, level in levels.items()
    ]
    driver = {"name": "toy", "version": "7"}
    return json.dumps(
        {"version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    )


BOTH = sarif(eval="error", style="note")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a scan by a scanner of a target whose tool leaves the given report.

    Returns the result, the rules of the findings, and what the tool was given.
    """
    write_program(tmp_path / "bin" / "toy", TOOL)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    target = tmp_path / "app"
    target.mkdir()

    def run(scanner, report=BOTH, config=None, **command):
        (target / "report.sarif").write_text(report)
        settings = Settings(
            state_dir=tmp_path / "state",
            targets=[str(target)],
            scanners=[{"name": "toy", "config": config or {}}],
        )
        (parser,) = provided("sarif", "parser")
        spool = Spool(settings.state_dir, now=utc_now)
        executor = build_executor(
            Configuration(settings), Registry({"toy": scanner}, {"sarif": parser}), spool
        )
        payload = {"scanner": "toy", "target": str(target), "config": command}
        rows = kept_for_server(
            executor, spool, ScanCommand(id="cmd_1", type="scan", payload=payload)
        )
        rules = [
            finding["rule_id"]
            for kind, document in rows
            if kind == "findings"
            for finding in document["findings"]
        ]
        given = target / "argv"
        return rows[-1][1], rules, given.read_text().split("\n") if given.exists() else []

    return run


@pytest.mark.parametrize(
    "scanner",
    [Toy(), Prints(), doing(Toy, "--exit=1"), doing(Prints, "--exit=1")],
    ids=["file", "stdout", "file, exit 1", "stdout, exit 1"],
)
def test_a_report_is_read_where_the_tool_writes_it(run, scanner):
    result, rules, _ = run(scanner)

    assert (result["status"], result["metadata"]["coverage"]) == ("completed", "full")
    assert rules == ["eval", "style"]
    assert result["metadata"]["scanner_version"] == "7"


def test_options_and_a_commands_own_reach_the_command_line_and_the_threshold_is_kept(run):
    result, rules, given = run(Toy(), config={"rules": ["a", "b c"]}, severity_threshold="warning")

    assert rules == ["eval"]
    assert result["metadata"]["below_threshold"] == 1
    assert given[:3] == ["--rule=a", "--rule=b c", "-o"]
    assert given[3].endswith("/work/report.sarif")
    assert given[-1] == "/nowhere"


@pytest.mark.parametrize(
    ("scanner", "report", "reason", "sentence"),
    [
        (doing(Toy, "--exit=2"), BOTH, "tool_error", "exit code 2: scanning"),
        (LeavesNothing(), BOTH, "report_unreadable", "left no report"),
        (Toy(), "", "report_unreadable", "empty report"),
        (Prints(), "", "report_unreadable", "empty report"),
        (Toy(), BOTH[:-20], "report_unreadable", ""),
        (SaysItInOneText(), BOTH, "plugin_error", "one item an argument"),
    ],
    ids=["odd exit code", "no report", "empty", "empty stdout", "cut off", "no list"],
)
def test_what_is_no_whole_scan_is_never_a_clean_one(run, scanner, report, reason, sentence):
    result, _, _ = run(scanner, report)

    assert (result["status"], result["metadata"]["reason"]) == ("failed", reason)
    assert sentence in result["error"]


def test_an_exit_code_that_means_a_part_keeps_what_was_found_and_fails(run):
    result, rules, _ = run(doing(Toy, "--exit=3"))

    assert (result["status"], result["metadata"]["reason"]) == ("failed", "partial_scan")
    assert "exit code 3: some files could not be read" in result["error"]
    assert (rules, result["metadata"]["coverage"]) == (["eval", "style"], "partial")


def test_an_option_that_it_does_not_have_is_refused_by_name(run):
    result, _, given = run(Toy(), config={"rulez": ["a"]})

    assert result["metadata"]["reason"] == "invalid_payload"
    assert "'rulez'" in result["error"]
    assert given == []


@pytest.mark.parametrize(
    ("recorded", "version"),
    [
        (Played(stdout="toy 7.1\nbuilt today\n"), "toy 7.1"),
        (Played(stderr="toy 7.1\n"), "toy 7.1"),
        (Played(), "unknown"),
    ],
)
def test_its_version_is_asked_as_the_tool_wants_it(recorded, version, tmp_path):

    class Asked(Toy):
        version_arguments = ("version",)

    ctx = FakeScanContext(tmp_path, {"toy version": recorded})

    assert anyio.run(Asked().probe, ctx) == version
    assert ctx.ran == [["toy", "version"]]


def test_the_shortest_scanner_needs_no_options_at_all(tmp_path):
    class Shortest(CommandLineScanner):
        name = program = "toy"

        def arguments(self, _options, report):
            return ["-o", report]

    report = scan(Shortest(), FakeScanContext(tmp_path, {"toy": Played(files={"report": BOTH})}))

    assert (report.format, report.path.read_text()) == ("sarif", BOTH)
