"""The kit holds plugins to their promises: a good one passes; each way to break one is named."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import anyio
import pytest
from pydantic import BaseModel

from rediver_agent import (
    CommandError,
    Notice,
    ParseEvent,
    Parser,
    ReportUnreadable,
    ScanContext,
    Scanner,
    ScanReport,
    ToolError,
    ToolMissing,
    items,
)
from rediver_agent.contract import Finding, FindingType, Severity
from rediver_agent.testing import (
    FakeScanContext,
    Played,
    check_parser,
    check_scanner,
    scan,
)

SAMPLE = json.dumps({"toy": 1, "found": [{"title": f"thing {n}"} for n in range(9)]}).encode()
RECORDED = {"toy": Played(files={"report.json": SAMPLE})}


class Options(BaseModel, extra="forbid"):
    depth: int = 1


class ToyScanner(Scanner[Options]):
    name = "toy"
    program = "toy"
    options = Options

    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        await ctx.run("toy", f"--depth={options.depth}", ".")
        return ctx.parse(ctx.work_dir / "report.json", "toy")


class ToyParser(Parser):
    format = "toy"

    def sniff(self, head: bytes) -> bool:
        return b'"toy"' in head

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        if next(items(stream, "toy"), None) != 1:
            raise ReportUnreadable("no toy report")
        for raw in items(stream, "found.item"):
            yield self.finding(raw)

    def finding(self, raw: Any) -> Finding:
        return Finding(type=FindingType.VULNERABILITY, title=raw["title"], severity=Severity.LOW)


def test_a_good_scanner_and_a_good_parser_pass(tmp_path):
    check_scanner(ToyScanner(), RECORDED, tmp_path, parser=ToyParser())
    check_parser(ToyParser(), SAMPLE, secrets=["hunter2"])


def test_the_fake_context_records_every_argv_and_plays_what_was_recorded(tmp_path):
    ctx = FakeScanContext(tmp_path, {"toy version": Played(stdout="1.2\n"), **RECORDED})

    report = scan(ToyScanner(), ctx, depth=3)
    version = anyio.run(ctx.run, "toy", "version")

    assert ctx.ran == [["toy", "--depth=3", "."], ["toy", "version"]]
    assert (report.path.read_bytes(), report.format) == (SAMPLE, "toy")
    assert version.stdout.read_text() == "1.2\n"


def test_the_fake_context_raises_as_the_real_one_does(tmp_path):
    ctx = FakeScanContext(tmp_path, {"toy": Played(3, stderr="out of luck")})

    with pytest.raises(ToolMissing):
        anyio.run(ctx.run, "absent")
    with pytest.raises(ToolError, match="exit code 3: out of luck") as raised:
        anyio.run(ctx.run, "toy")
    assert (raised.value.exit_code, raised.value.stderr_tail) == (3, "out of luck")
    with pytest.raises(ReportUnreadable):
        ctx.parse(ctx.work_dir / "absent.json", "toy")


class LooseOptions(BaseModel):
    pass


class DemandingOptions(BaseModel, extra="forbid"):
    token: str


async def knows_it(*_: object) -> str:
    return "1.0"


class SwallowsExitCodes(ToyScanner):
    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        await ctx.run("toy", f"--depth={options.depth}", ok=range(256))
        return ctx.parse(ctx.work_dir / "report.json", "toy")


class TakesAnyReport(ToyScanner):
    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        await ctx.run("toy", f"--depth={options.depth}")
        return ScanReport(ctx.work_dir / "report.json", "toy")


class HidesTheMissingTool(ToyScanner):
    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        try:
            return await super().scan(ctx, options)
        except CommandError as fault:
            raise RuntimeError("it did not work") from fault


@pytest.mark.parametrize(
    ("scanner", "sentence"),
    [
        (type("A", (ToyScanner,), {"name": "Toy Scanner"})(), "use small letters"),
        (type("B", (ToyScanner,), {"program": ""})(), "program is empty"),
        (type("C", (ToyScanner,), {"options": LooseOptions})(), 'extra="forbid"'),
        (type("D", (ToyScanner,), {"options": DemandingOptions})(), "give every option a default"),
        (ToyScanner, r"ToyScanner is a class: .* ToyScanner\(\)"),
        (ToyParser(), "is no Scanner"),
        (type("E", (ToyScanner,), {"from_command": frozenset({"deep"})})(), "none of the options"),
        (type("F", (ToyScanner,), {"scan": lambda *_: None})(), "write it as `async def scan`"),
        (
            type("G", (ToyScanner,), {"probe": knows_it})(),
            r"probe\(\) goes on where it should raise",
        ),
        (SwallowsExitCodes(), "name the exit codes"),
        (TakesAnyReport(), "no report is no clean scan"),
        (HidesTheMissingTool(), "let ToolMissing go"),
    ],
)
def test_a_scanner_that_breaks_a_promise_is_told_which(scanner, sentence, tmp_path):
    with pytest.raises(AssertionError, match=sentence):
        check_scanner(scanner, RECORDED, tmp_path, parser=ToyParser())


@pytest.mark.parametrize(
    ("played", "options", "sentence"),
    [
        (Played(1, files={"report.json": SAMPLE}), {}, "exit code 1.*name its exit code among"),
        (Played(files={"out.json": SAMPLE}), {}, "it leaves out.json in.*by the name that scan"),
        (Played(files={"report.json": SAMPLE}), {"deep": 1}, "given are not valid: .*deep"),
    ],
)
def test_a_recording_that_does_not_fit_is_told_what_to_change(played, options, sentence, tmp_path):
    with pytest.raises(AssertionError, match=f"(?s){sentence}"):
        check_scanner(ToyScanner(), {"toy": played}, tmp_path, **options)


class SaysYesToAll(ToyParser):
    def sniff(self, head: bytes) -> bool:
        return head is not None


class SaysNo(ToyParser):
    def sniff(self, head: bytes) -> bool:
        return head is None


class TakesAnything(ToyParser):
    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        try:
            yield from super().parse(stream)
        except ReportUnreadable:
            return


class KeepsWhatWasThere(ToyParser):
    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        try:
            yield from super().parse(stream)
        except ReportUnreadable:
            stream.seek(0)
            if not stream.read().startswith(SAMPLE[:8]):
                raise


class RaisesItsOwn(ToyParser):
    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        yield from map(self.finding, json.load(stream)["found"])


class SetsFingerprints(ToyParser):
    def finding(self, raw: Any) -> Finding:
        return super().finding(raw).model_copy(update={"fingerprint": "f"})


class Remembers(ToyParser):
    seen = 0

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        self.seen += 1
        yield Notice("info", f"call {self.seen}")
        yield from super().parse(stream)


class Leaks(ToyParser):
    def finding(self, raw: Any) -> Finding:
        return super().finding(raw).model_copy(update={"message": "password is hunter2"})


class SkipsValidation(ToyParser):
    def finding(self, raw: Any) -> Finding:
        return super().finding(raw).model_copy(update={"title": ""})


class FindsNothing(ToyParser):
    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        yield from (event for event in super().parse(stream) if not isinstance(event, Finding))


@pytest.mark.parametrize(
    ("parser", "sentence"),
    [
        (SaysYesToAll(), r"sniff\(\) says yes to an empty report"),
        (SaysNo(), r"sniff\(\) says no to the sample"),
        (TakesAnything(), "takes an empty report for a report"),
        (KeepsWhatWasThere(), "a report cut off after"),
        (RaisesItsOwn(), "raises JSONDecodeError.*raise ReportUnreadable"),
        (SetsFingerprints(), "the agent sets it"),
        (Remembers(), "keep no state"),
        (Leaks(), "a secret shows in a Finding"),
        (SkipsValidation(), "a finding is not valid"),
        (FindsNothing(), "the sample has no findings"),
    ],
)
def test_a_parser_that_breaks_a_promise_is_told_which(parser, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_parser(parser, SAMPLE, secrets=["hunter2"])
