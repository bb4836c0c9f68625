"""Whether collectors keep their promises: those that fetch, and those that are pushed to."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
from pydantic import BaseModel

from rediver_agent.contract.findings import Asset, Finding
from rediver_agent.interfaces import AnyCollector, Collector
from rediver_agent.testing._checks import (
    SECRET_WORDS,
    check_event,
    check_from_command,
    check_name_and_options,
    check_nothing_of_the_operator,
    check_secret_option,
    fail,
    valid_options,
)
from rediver_agent.testing._contexts import FakeCollectContext, FakeListenContext, collect

Push = Callable[[str], Awaitable[object]]
"""Pushes something to a collector that says it is listening, with what it said."""

_SECONDS: Final = 20.0  # for what takes a moment


def check_collector(
    collector: AnyCollector, directory: Path, *, secrets: Collection[str] = (), **options: Any
) -> None:
    """What every collector must do. `options` lead it to a source that has findings in it.

    None of `secrets` may show in an event; `directory` is for its cache. The source is asked four
    times: twice for everything, then left after the first event, then cancelled there.
    """
    _check_collector_declaration(collector)
    if not collector.fetches:
        fail("it has no collect(): check_listener is for those that are pushed to")
    valid = valid_options(collector, options)
    ctx = FakeCollectContext(directory)
    first = collect(collector, ctx, **options)
    if not first or not isinstance(first[0], Asset):
        fail("collect() begins with an Asset: what it looked in, even where nothing is found")
    assets = [(event.type, event.value) for event in first if isinstance(event, Asset)]
    if len(set(assets)) < len(assets):
        fail("collect() yields an asset twice: yield everything of an asset in one go")
    for event in first:
        check_event(event, secrets)
    if not any(isinstance(event, Finding) for event in first):
        fail("the source has no findings: lead check_collector to one that has some")
    if sorted(map(repr, collect(collector, ctx, **options))) != sorted(map(repr, first)):
        fail(
            "collect() says something else the second time: say everything that is there each "
            "time; what is left out counts as mended"
        )
    anyio.run(_check_left_early, collector, ctx, valid)
    anyio.run(_check_cancelled, collector, ctx, valid, len(first))


def _check_collector_declaration(collector: AnyCollector) -> None:
    check_name_and_options(collector, Collector)
    for name, declared in collector.options.model_fields.items():
        if SECRET_WORDS & set(name.split("_")):
            check_secret_option(name, declared.annotation)
    check_from_command(collector.from_command | collector.choose_assets, collector.options)
    check_nothing_of_the_operator(collector.from_command)


async def _check_left_early(collector: AnyCollector, ctx: Any, options: BaseModel) -> None:
    events: Any = collector.collect(ctx, options)
    if not hasattr(events, "aclose"):
        fail("collect() is no async generator: write it as `async def` with `yield` in it")
    await anext(events)
    try:
        await events.aclose()
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything is its fault
        fail(f"collect() raises {fault!r} when it is left early: let GeneratorExit go")


async def _check_cancelled(
    collector: AnyCollector, ctx: Any, options: BaseModel, whole: int
) -> None:
    """One that never pauses may come to its end; whoever takes its events pauses for it."""
    events: Any = collector.collect(ctx, options)
    with anyio.CancelScope() as scope:
        await anext(events)
        scope.cancel()
        try:
            seen = 1 + len([event async for event in events])
        except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything is its fault
            fail(f"collect() raises {fault!r} when it is cancelled: let the cancellation go")
        if seen < whole:
            fail("collect() ends as if it were whole when it is cancelled: let the cancellation go")
    await events.aclose()


def check_listener(
    collector: AnyCollector,
    directory: Path,
    push: Push,
    options: Mapping[str, Any],
    *,
    secrets: Collection[str] = (),
) -> None:
    """What every collector must do that is pushed to. `push` is to bring it one finding or more.

    It says where it listens by `ctx.progress`; `push` gets these words. It is pushed to, cancelled
    and begun again in the same place; then there is no room for what is pushed, and it goes on.
    """
    _check_collector_declaration(collector)
    if not collector.listens:
        fail("it has no listen(): check_collector is for those that fetch")
    ctx = FakeListenContext(directory)
    valid = valid_options(collector, options)
    anyio.run(_check_pushed, collector, ctx, valid, push)
    if not ctx.kept:
        fail("listen() kept nothing of what was pushed: give it to ctx.keep before it is answered")
    for kept in ctx.kept:
        for event in (kept.asset, *kept.findings, kept.tool):
            check_event(event, secrets)
    ctx.full, known = True, len(ctx.kept)
    anyio.run(_check_pushed, collector, ctx, valid, push)
    if len(ctx.kept) != known:
        fail("listen() kept something where there was no room")


async def _check_pushed(
    collector: AnyCollector, ctx: FakeListenContext, options: BaseModel, push: Push
) -> None:
    ended = anyio.Event()

    async def listen(scope: anyio.CancelScope) -> None:
        with scope:
            await collector.listen(ctx, options)
        ended.set()
        if not scope.cancel_called:
            fail("listen() has come to an end by itself: listen until cancelled")

    for _ in range(2):
        ctx.said.clear()
        ended = anyio.Event()
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(listen, scope)
            with anyio.move_on_after(_SECONDS):
                while not ctx.said:  # noqa: ASYNC110 - the context is as plain as the agent's
                    await anyio.sleep(0.01)
            if not ctx.said:
                fail("listen() does not say where it listens: call ctx.progress(None, …)")
            await push(ctx.said[0][1])
            scope.cancel()
            with anyio.move_on_after(_SECONDS) as waited:
                await ended.wait()
            if waited.cancelled_caught:
                fail("listen() does not end when it is cancelled: let the cancellation go")
