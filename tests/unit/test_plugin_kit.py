"""The kit finds what an installed plugin provides, and holds handlers, enrichers and observers to
their promises: a good one passes; each way to break one is named.
"""

import subprocess  # noqa: TID251 - a fresh interpreter is what is looked at
import sys
from collections.abc import Mapping

import anyio
import pytest
from pydantic import BaseModel, SecretStr

from rediver_agent import (
    CommandHandler,
    Enricher,
    HandlerContext,
    NoOptions,
    ObservedCommand,
    Observer,
    ToolError,
    ToolMissing,
)
from rediver_agent.contract import Finding, Severity
from rediver_agent.testing import (
    FakeHandlerContext,
    Played,
    check_enricher,
    check_handler,
    check_observer,
    discovered,
    discovered_collectors,
    handle,
    provided,
)

# -- what is provided ---------------------------------------------------------------------------


def test_what_an_installed_plugin_provides_is_found_by_its_kind():
    assert [scanner.name for scanner in provided("trivy", "scanner")] == ["trivy"]
    assert [collector.name for collector in provided("github", "collector")] == ["github"]
    assert provided("trivy", "handler") == []


HOOK = """
from rediver_agent import CommandLineScanner, hookimpl

class Theirs(CommandLineScanner):
    name = program = "zz-kit"
    def arguments(self, options, report):
        return [report]

@hookimpl
def rediver_scanners():
    yield Theirs()
"""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("raise RuntimeError('at import')", r"does not use the plugin zz_kit \(broken\): .*import"),
        ("rediver_api = 2", r"\(outdated\): .*version 2 of the plugin surface"),
        ("def rediver_scanners():\n    yield 1", "provides nothing: write @hookimpl before"),
        (HOOK, "add `rediver_api = 1`"),
    ],
)
def test_a_plugin_that_the_agent_would_not_use_is_told_why(text, sentence, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "rediver_zz_kit.py").write_text(text)
    info = tmp_path / "rediver_zz_kit-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rediver-zz-kit\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rediver_agent]\nzz_kit = rediver_zz_kit\n")

    with pytest.raises(AssertionError, match=sentence):
        provided("zz_kit", "scanner")

    sys.modules.pop("rediver_zz_kit", None)


def test_a_plugin_that_is_not_installed_is_told_how_to_be():
    with pytest.raises(AssertionError, match=r"no entry point 'absent'.*pip install -e"):
        provided("absent", "scanner")


def test_what_was_there_before_warns_and_still_works():
    with pytest.warns(DeprecationWarning, match=r"^rediver-agent 0\.1: .* goes in 0\.2; use prov"):
        scanners, parsers = discovered("trivy")
    with pytest.warns(DeprecationWarning, match=r"^rediver-agent 0\.1: .* goes in 0\.2; use prov"):
        collectors = discovered_collectors("github")

    assert [scanners[0].name, parsers[0].format, collectors[0].name] == ["trivy", "trivy", "github"]


def test_the_kit_is_quick_to_import_and_the_agent_comes_when_it_is_needed():
    code = "import sys, rediver_agent.testing as kit; assert kit.check_scanner; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    loaded = set(done.stdout.split())
    assert not loaded & {"rediver_agent.agent", "rediver_agent.settings", "httpx", "sqlite3"}


# -- handlers -----------------------------------------------------------------------------------


class Whom(BaseModel, extra="forbid"):
    name: str
    directory: str | None = None


class Voice(BaseModel, extra="forbid"):
    api_token: SecretStr = SecretStr("")


class Greeter(CommandHandler[Whom, Voice]):
    command_type = "greet"
    payload = Whom
    options = Voice

    def target(self, payload: Whom) -> str | None:
        return payload.directory

    async def handle(self, ctx: HandlerContext, payload: Whom, options: Voice) -> Mapping[str, str]:
        ctx.progress(50, "clearing the throat")
        secret = {"TOKEN": options.api_token.get_secret_value()}
        done = await ctx.run("greet", payload.name, environment=secret)
        return {"said": done.stdout.read_text().strip()}


GREET = {"greet": Played(stdout="hello\n")}


class Quiet(CommandHandler[Whom]):
    command_type = "quiet"
    payload = Whom

    async def handle(
        self, _ctx: HandlerContext, _payload: Whom, _options: NoOptions
    ) -> dict[str, str]:
        return {}


def test_a_good_handler_passes_with_programs_or_without(tmp_path):
    check_handler(
        Greeter(),
        {"name": "you", "directory": str(tmp_path)},
        tmp_path,
        recorded=GREET,
        api_token="hunter2hunter2",
    )
    check_handler(Quiet(), {"name": "you"}, tmp_path)


def test_the_fake_context_keeps_what_a_handler_asks_and_says(tmp_path):
    ctx = FakeHandlerContext(tmp_path, GREET)

    told = handle(Greeter(), ctx, {"name": "you"}, api_token="t")

    assert told == {"said": "hello"}
    assert ctx.ran == [["greet", "you"]]
    assert ctx.environments == [{"TOKEN": "t"}]
    assert ctx.said == [(50, "clearing the throat")]


class Loose(BaseModel):
    name: str


class WithPassword(Whom):
    password: str = ""


class Hides(Greeter):
    async def handle(self, ctx, payload, options):
        try:
            return await super().handle(ctx, payload, options)
        except ToolError:
            return {}


class Overlooks(Greeter):
    async def handle(self, ctx, payload, options):
        try:
            return await super().handle(ctx, payload, options)
        except ToolMissing:
            return {}


class Lasts(Greeter):
    async def handle(self, ctx, payload, options):
        try:
            return await super().handle(ctx, payload, options)
        except BaseException as fault:
            if isinstance(fault, Exception):
                raise
            raise ToolError("it was ended") from fault


def greeting(told):
    async def handle(self, ctx, payload, options):
        return told

    return type("Greeting", (Greeter,), {"handle": handle})()


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        (type("A", (Greeter,), {"command_type": "scan"})(), "none of the agent's own"),
        (type("B", (Greeter,), {"payload": Loose})(), r'payload is a pydantic.*extra="forbid"'),
        (type("C", (Greeter,), {"payload": WithPassword})(), "belongs into options"),
        (greeting(None), "return a mapping"),
        (greeting({"when": anyio.Path()}), "no JSON"),
        (greeting({}), "runs no program"),
        (Overlooks(), "goes on where its program is missing"),
        (Hides(), r"programs fail \(exit code 113\): the command ended as completed"),
        (Lasts(), "it is cancelled: the command ended as failed.*let the cancellation go"),
    ],
)
def test_a_handler_that_breaks_a_promise_is_told_which(handler, sentence, tmp_path):
    with pytest.raises(AssertionError, match=sentence):
        check_handler(handler, {"name": "you"}, tmp_path, recorded=GREET)


def test_a_secret_that_no_option_betrays_is_found_in_what_a_handler_returns(tmp_path):
    with pytest.raises(AssertionError, match="a secret shows"):
        check_handler(Greeter(), {"name": "you"}, tmp_path, recorded=GREET, secrets=["hello"])


def test_a_payload_that_is_not_valid_is_told_so(tmp_path):
    with pytest.raises(AssertionError, match="give check_handler one that is"):
        check_handler(Greeter(), {"nmae": "you"}, tmp_path, recorded=GREET)


# -- enrichers and observers --------------------------------------------------------------------


class Team(BaseModel, extra="forbid"):
    team: str


class Owners(Enricher[Team]):
    name = "owners"
    options = Team

    def enrich(self, finding: Finding, options: Team) -> Finding | None:
        if finding.severity is Severity.INFO:
            return None
        return finding.model_copy(update={"tags": [*finding.tags, options.team]})


def enriching(answer):
    return type(
        "Enriching", (Owners,), {"enrich": lambda _self, finding, _options: answer(finding)}
    )()


class Counts(Owners):
    seen = 0

    def enrich(self, finding: Finding, _options: Team) -> Finding | None:
        self.seen += 1
        return finding.model_copy(update={"tags": [str(self.seen)]})


class Async(Owners):
    async def enrich(self, finding, _options):
        return finding


def test_a_good_enricher_passes():
    check_enricher(Owners(), team="payments")


@pytest.mark.parametrize(
    ("enricher", "sentence"),
    [
        (type("A", (Owners,), {"name": "The Owners"})(), "use small letters"),
        (enriching(lambda finding: finding.location.path), "raises AttributeError.*for {"),
        (enriching(lambda _: True), "returns a bool"),
        (enriching(lambda finding: finding.model_copy(update={"title": ""})), "is not valid"),
        (enriching(lambda finding: finding.model_copy(update={"fingerprint": "f"})), "leave it"),
        (Counts(), "keep no state"),
        (Async(), "write it as `def enrich`"),
    ],
)
def test_an_enricher_that_breaks_a_promise_is_told_which(enricher, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_enricher(enricher, team="payments")


class Pager(Observer):
    name = "pager"

    def __init__(self) -> None:
        self.told: list[str] = []

    async def finished(self, _command: ObservedCommand, result, _options: NoOptions) -> None:
        self.told.append(result.status)


class Hasty(Observer):
    name = "hasty"

    def started(self, _command, _options):
        return None


class Assumes(Observer):
    name = "assumes"

    async def finished(self, _command, result, _options):
        result.metadata["scanner"].upper()


def test_a_good_observer_passes_and_is_told_of_every_way_to_end():
    pager = Pager()

    check_observer(pager)

    assert pager.told == ["completed", "failed", "cancelled"]


@pytest.mark.parametrize(
    ("observer", "sentence"),
    [(Hasty(), "write it as `async def started`"), (Assumes(), r"finished\(\) raises KeyError")],
)
def test_an_observer_that_breaks_a_promise_is_told_which(observer, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_observer(observer)
