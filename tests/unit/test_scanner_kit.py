"""The kit takes a scanner the whole way through the agent: each way to break a promise that only
shows there is named, and no process of it is left.
"""

import json
import subprocess  # noqa: TID251 - what a plugin must not do
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import anyio.to_thread
import psutil
import pytest
from pydantic import BaseModel, SecretStr

from rediver_agent import (
    CommandLineScanner,
    NoOptions,
    ParseEvent,
    Parser,
    ReportUnreadable,
    ScanContext,
    ScanReport,
    ToolError,
)
from rediver_agent.contract import Finding
from rediver_agent.testing import Played, _player, check_scanner

SAMPLE = json.dumps({"toy": [{"title": f"thing {n}"} for n in range(9)]})
RECORDED = {"toy": Played(files={"report": SAMPLE})}


class ToyParser(Parser):
    format = "toy"

    def sniff(self, head: bytes) -> bool:
        return b'"toy"' in head

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        try:
            found = json.load(stream)["toy"]
        except ValueError as fault:
            raise ReportUnreadable(f"no toy report: {fault}") from fault
        for raw in found:
            yield Finding(type="vulnerability", title=raw["title"], severity="low")


class Toy(CommandLineScanner):
    name = program = "toy"
    report_format = "toy"

    def arguments(self, _options: NoOptions, report: Path) -> list[str | Path]:
        return ["-o", report]


class Prints(Toy):
    """Its report is on its standard output, and its image in the target."""

    async def scan(self, ctx: ScanContext, _options: NoOptions) -> ScanReport:
        done = await ctx.run("toy", ctx.file_in_target("images/a.tar"))
        return ctx.parse(done.stdout, "toy")


class TakesCuts(ToyParser):
    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        try:
            yield from super().parse(stream)
        except ReportUnreadable:
            return


class Blind(ToyParser):
    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        yield from (event for event in super().parse(stream) if not isinstance(event, Finding))


class RunsAnother(Toy):
    program = "toy-wrapper"

    async def scan(self, ctx: ScanContext, _options: NoOptions) -> ScanReport:
        await ctx.run("toy", "-o", str(ctx.work_dir / "report"))
        return ctx.parse(ctx.work_dir / "report", "toy")


class CallsACrashItsOwn(Toy):
    """Takes what ended without an exit code for one that was fine."""

    async def scan(self, ctx: ScanContext, options: NoOptions) -> ScanReport:
        try:
            return await super().scan(ctx, options)
        except ToolError as fault:
            if fault.exit_code is not None:
                raise
        return ctx.parse(ctx.work_dir / "report", "toy")


class Swallows(Toy):
    """Makes a report of its own fault."""

    async def scan(self, ctx: ScanContext, options: NoOptions) -> ScanReport:
        try:
            return await super().scan(ctx, options)
        except BaseException as fault:
            if isinstance(fault, Exception):
                raise
            raise ToolError("it was ended") from fault


class StartsItsOwn(Toy):
    """Asks for the version as it should, and starts the scan by itself."""

    async def scan(self, ctx: ScanContext, options: NoOptions) -> ScanReport:
        await ctx.run("toy", "--version")
        if not Path(ctx.target).is_absolute():  # the context that plays
            return await super().scan(ctx, options)
        started = self.start(ctx.target)
        code = await anyio.to_thread.run_sync(started.wait, abandon_on_cancel=True)
        if code:
            raise ToolError("it did not work", exit_code=code)
        return ctx.parse(ctx.work_dir / "report", "toy")

    def start(self, target: str) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-I", "-S", _player.__file__, "toy", "-o"]
        return subprocess.Popen(argv, cwd=target, stderr=subprocess.DEVNULL)


def test_a_good_scanner_that_prints_its_report_passes_with_a_target_of_its_own(tmp_path):
    (tmp_path / "app" / "images").mkdir(parents=True)
    (tmp_path / "app" / "images" / "a.tar").touch()
    target = tmp_path / "app"

    check_scanner(
        Prints(), {"toy": Played(stdout=SAMPLE)}, tmp_path, parser=ToyParser(), target=target
    )

    assert [process for process in psutil.process_iter() if plays(process, tmp_path)] == []


def plays(process: psutil.Process, place: Path) -> bool:
    try:
        return any("_player" in word for word in process.cmdline()) and str(place) in process.cwd()
    except psutil.Error:
        return False


@pytest.mark.parametrize(
    ("scanner", "parser", "sentence"),
    [
        (Toy(), TakesCuts(), "leaves half a report: the command ended as completed.*the level err"),
        (Toy(), Blind(), "the parser 'toy' finds nothing in it"),
        (RunsAnother(), ToyParser(), "never runs its program 'toy-wrapper'"),
        (CallsACrashItsOwn(), ToyParser(), "killed after its report: the command ended as compl"),
        (
            Swallows(),
            ToyParser(),
            "hangs after its report, .*it was ended — let the cancellation go",
        ),
    ],
)
def test_a_scanner_that_breaks_a_promise_on_the_whole_way_is_told_which(
    scanner, parser, sentence, tmp_path
):
    with pytest.raises(AssertionError, match=sentence):
        check_scanner(scanner, RECORDED, tmp_path, parser=parser)


class KeyOptions(BaseModel, extra="forbid"):
    api_token: SecretStr = SecretStr("")


class License(BaseModel, extra="forbid"):
    license: SecretStr = SecretStr("")


class InTheOpen(BaseModel, extra="forbid"):
    api_token: str = ""


class Keyed(Toy):
    options: Any = KeyOptions

    async def scan(self, ctx: ScanContext, options: Any) -> ScanReport:
        token = next(iter(options.model_dump().values())).get_secret_value()
        await ctx.run("toy", environment={"TOKEN": token})
        return ctx.parse(ctx.work_dir / "report", "toy")


class Licensed(Keyed):
    options = License


class Told(Toy):
    options: Any = KeyOptions

    def arguments(self, options: Any, _report: Path) -> list[str | Path]:
        return [f"--token={options.api_token.get_secret_value()}"]


class Careless(Toy):
    options: Any = InTheOpen


def test_a_secret_of_the_options_that_the_tool_prints_does_not_show(tmp_path):
    check_scanner(
        Keyed(),
        RECORDED,
        tmp_path,
        parser=ToyParser(),
        secrets=["hunter3"],
        api_token="hunter2hunter2",
    )


@pytest.mark.parametrize(
    ("scanner", "options", "sentence"),
    [
        (Licensed(), {"license": "hunter2hunter2"}, "where the option's name says what it is"),
        (Told(), {"api_token": "hunter2hunter2"}, "in the arguments of toy.*environment="),
        (Careless(), {"api_token": "hunter2hunter2"}, "make it a SecretStr"),
        (Toy(), {"secrets": ["thing 3"]}, "the recorded run: a secret shows"),
    ],
)
def test_a_secret_that_shows_is_told_with_what_to_do(scanner, options, sentence, tmp_path):
    with pytest.raises(AssertionError, match=sentence):
        check_scanner(scanner, RECORDED, tmp_path, parser=ToyParser(), **options)


def test_a_program_that_the_recording_lacks_is_named(tmp_path):
    with pytest.raises(AssertionError, match=r"runs toy -o, which is not recorded.*there is: tool"):
        check_scanner(Toy(), {"tool": Played(files={"report": SAMPLE})}, tmp_path)


@pytest.mark.parametrize(
    ("format_name", "sentence"),
    [("unheard-of", "install the plugin"), ("sarif", r"depend on rediver-agent\[sarif\]")],
)
def test_a_report_that_no_installed_parser_reads_is_told_with_what_to_do(
    format_name, sentence, tmp_path, monkeypatch
):
    monkeypatch.setattr(Toy, "report_format", format_name)
    monkeypatch.setattr("rediver_agent.plugin_manager.entry_points", lambda **_: [])

    with pytest.raises(AssertionError, match=sentence):
        check_scanner(Toy(), RECORDED, tmp_path)


def test_a_process_that_is_started_past_the_context_is_found_and_ended(tmp_path):
    recorded = {**RECORDED, "toy --version": Played(stdout="1.0")}

    with pytest.raises(AssertionError, match=r"2 of its processes were left running: start prog"):
        check_scanner(StartsItsOwn(), recorded, tmp_path, parser=ToyParser())

    assert [process for process in psutil.process_iter() if plays(process, tmp_path)] == []
