"""The kit holds collectors to their promises: a good one passes; each way to break one is named."""

from collections.abc import AsyncIterator

import anyio
import pytest
from pydantic import BaseModel, SecretStr

from rediver_agent import Asset, CollectContext, CollectEvent, Collector, Notice, ToolError
from rediver_agent.contract import Finding, FindingType, Severity
from rediver_agent.testing import (
    FakeCollectContext,
    check_collector,
    collect,
)

GIVEN = {"url": "https://hub", "token": "hunter2"}


class Options(BaseModel, extra="forbid"):
    url: str
    token: SecretStr
    repository: str | None = None


def asset(name: str) -> Asset:
    return Asset(id=name, type="repository", value=f"https://hub/{name}", name=name)


def finding(title: str = "a thing") -> Finding:
    return Finding(type=FindingType.VULNERABILITY, title=title, severity=Severity.LOW)


class Hub(Collector[Options]):
    name = "hub"
    options = Options
    from_command = frozenset({"repository"})

    async def collect(self, ctx: CollectContext, _options: Options) -> AsyncIterator[CollectEvent]:
        ctx.progress(50, "half of it")
        for name in ("one", "two"):
            yield asset(name)
            await anyio.lowlevel.checkpoint()
            yield finding()
            yield Notice("info", "all is well")


def test_a_good_collector_passes(tmp_path):
    check_collector(Hub(), tmp_path, secrets=["hunter2"], **GIVEN)


def test_the_fake_context_gives_a_cache_and_keeps_every_progress(tmp_path):
    ctx = FakeCollectContext(tmp_path)

    events = collect(Hub(), ctx, **GIVEN)

    assert len(events) == 6
    assert ctx.said == [(50, "half of it")]
    assert ctx.cache_dir.is_dir()


class Loose(BaseModel):
    url: str


class Shown(BaseModel, extra="forbid"):
    api_token: str = ""


def declared(**attributes):
    return type("Declared", (Hub,), attributes)()


def saying(*events):
    class Saying(Hub):
        async def collect(self, _ctx, _options):
            for event in events:
                yield event

    return Saying()


class Forgets(Hub):
    """Says only what is new since its last call, as one with an ETag might."""

    async def collect(self, ctx, _options):
        yield asset("one")
        if not (ctx.cache_dir / "etag").exists():
            (ctx.cache_dir / "etag").touch()
            yield finding()


class HoldsOn(Hub):
    async def collect(self, _ctx, _options):
        try:
            yield asset("one")
            yield finding()
        except GeneratorExit:
            yield finding()


class EndsQuietly(Hub):
    async def collect(self, _ctx, _options):
        yield asset("one")
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException:  # noqa: BLE001 - the fault that the kit must find
            return
        yield finding()


class CallsItAFault(Hub):
    async def collect(self, _ctx, _options):
        yield asset("one")
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException as fault:
            raise ToolError("it did not work") from fault
        yield finding()


@pytest.mark.parametrize(
    ("collector", "sentence"),
    [
        (declared(name="My Hub"), "use small letters"),
        (declared(options=Loose), 'extra="forbid"'),
        (declared(options=Shown), "make it a SecretStr"),
        (declared(from_command=frozenset({"branch"})), "none of the options"),
        (declared(from_command=frozenset({"url"})), "the operator's alone"),
        (declared(from_command=frozenset({"token"})), "the operator's alone"),
        (saying(), "begins with an Asset"),
        (saying(finding()), "begins with an Asset"),
        (saying(asset("one")), "has no findings"),
        (saying(asset("one"), finding(), asset("one")), "an asset twice"),
        (saying(asset("one"), "a text"), "a str is yielded"),
        (saying(asset("one"), finding("hunter2")), "a secret shows in a Finding"),
        (saying(asset("hunter2"), finding()), "a secret shows in a Asset"),
        (saying(asset("one"), finding().model_copy(update={"fingerprint": "f"})), "the agent sets"),
        (saying(asset("one").model_copy(update={"value": ""}), finding()), "an asset is not valid"),
        (Forgets(), "something else the second time"),
        (HoldsOn(), "let GeneratorExit go"),
        (EndsQuietly(), "as if it were whole"),
        (CallsItAFault(), "when it is cancelled"),
    ],
)
def test_a_collector_that_breaks_a_promise_is_told_which(collector, sentence, tmp_path):
    given = {} if collector.options is Shown else GIVEN
    with pytest.raises(AssertionError, match=sentence):
        check_collector(collector, tmp_path, secrets=["hunter2"], **given)
