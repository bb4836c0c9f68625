"""`collect`: fetch findings from where others keep them, one report for each asset.

Never a silent clean: a collector that fails, is not done in time or names no asset is a failed
outcome with its reason. Assets that were whole before that are delivered whole, the one in hand as
partial coverage. What a command may say is what the collector lists in `from_command`: its address
and its key are the operator's alone.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from pydantic import BaseModel

from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import CollectCommand, CollectPayload
from rediver_agent.enrichment import Enrichment
from rediver_agent.errors import (
    CommandError,
    InvalidPayload,
    PluginError,
    ToolTimeout,
    UnknownCollector,
)
from rediver_agent.executor import Job, Outcome, described
from rediver_agent.handlers.collect_outcome import Collection
from rediver_agent.handlers.plugin_options import from_command, validated
from rediver_agent.handlers.turns import Turns, alone_in
from rediver_agent.interfaces import AnyCollector, Log
from rediver_agent.masking import mask
from rediver_agent.registry import Registry
from rediver_agent.spool import Spool
from rediver_agent.state_dir import private_directory

log = logging.getLogger(__name__)

LAST_SECONDS: Final = 30.0  # for what a collection in time-out has fetched to be written


@dataclass(slots=True)
class AgentCollectContext:
    """What the agent hands to a collector: the real `CollectContext`."""

    job: Job
    cache_dir: Path
    secrets: Sequence[str]
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        self.log = logging.LoggerAdapter(log, {"command_id": self.job.id})

    def progress(self, percent: float | None, message: str) -> None:
        """See `CollectContext.progress`."""
        known = percent is not None and 0 <= percent <= 100
        self.job.say(percent if known else None, mask(str(message), *self.secrets))


@dataclass(frozen=True, slots=True)
class CollectHandler:
    """Collections. One instance serves every collection of an agent."""

    registry: Registry
    configuration: Configuration
    spool: Spool
    now: Callable[[], datetime]
    enrichment: Enrichment = field(default_factory=Enrichment)
    turns: Turns = field(default_factory=Turns)

    async def handle(self, job: Job) -> Outcome:
        """Run the collection. Raises `CommandError` where nothing could be begun."""
        if not isinstance(job.command, CollectCommand):
            raise InvalidPayload("a collect command names a collector")
        payload = job.command.payload
        collector = self._collector(payload.collector)
        config = self.configuration.settings.collector(collector.name).config
        options = validated(collector, {**config, **from_command(collector, payload.source_config)})
        caches = self.configuration.settings.state_dir / "cache" / "collectors"
        cache = private_directory(caches / collector.name)
        waiting = partial(
            job.say, None, f"another collection by {collector.name} is finished first"
        )
        # Alone here, and against what somebody types beside the running agent.
        async with self.turns.take(collector.name, waiting), alone_in(cache, waiting):
            return await self._collect(job, payload, collector, options, cache)

    async def _collect(
        self,
        job: Job,
        payload: CollectPayload,
        collector: AnyCollector,
        options: BaseModel,
        cache: Path,
    ) -> Outcome:
        secrets = self.configuration.settings.secrets()
        collection = Collection(
            job=job,
            collector=collector,
            options=options,
            secrets=secrets,
            spool=self.spool,
            now=self.now,
            enrichment=self.enrichment,
        )
        job.say(None, f"{collector.name} is collecting")
        fault: CommandError | None = None
        with anyio.move_on_after(payload.timeout_seconds) as time_out:
            events = collector.collect(AgentCollectContext(job, cache, secrets), options)
            fault = await _take_all(events, collection)
            if not time_out.cancel_called:
                fault = await collection.end(fault)
        if time_out.cancel_called:
            fault = ToolTimeout(
                f"{collector.name} was not done after {payload.timeout_seconds} s and was ended; "
                "a larger timeout_seconds gives it more"
            )
        # A collector that swallows a cancel has not come to its end.
        await checkpoint_if_cancelled()
        with anyio.move_on_after(LAST_SECONDS):  # an enricher may have no end, either
            await collection.end(fault)
        return collection.outcome(fault)

    def _collector(self, name: str) -> AnyCollector:
        collector = self.registry.collector(name)
        if name not in self.configuration.settings.enabled_collectors():
            raise UnknownCollector(
                f"the collector {name!r} is installed, and not enabled in this agent's collectors; "
                "its operator can list it there"
            )
        if not collector.fetches:
            raise InvalidPayload(
                f"the collector {name!r} fetches nothing: it is pushed to, and listens while "
                "`rediver-agent run` runs; a collect command is for one that fetches"
            )
        return collector


class _End(Exception):
    """The events are over. `fault` is why they are not whole."""

    def __init__(self, fault: CommandError | None) -> None:
        super().__init__()
        self.fault = fault


async def _take_all(events: object, collection: Collection) -> CommandError | None:
    """Take every event until the last one. Returns why they ended early, if they did."""
    if not isinstance(events, AsyncGenerator):
        raise PluginError("collect() must be an async generator: `async def` with `yield` in it")
    async with aclosing(events):  # pyright: ignore[reportUnknownArgumentType] - foreign code
        try:
            while True:
                await collection.take(await _next(events))  # pyright: ignore[reportUnknownArgumentType] - the same
        except _End as end:
            return end.fault
        except PluginError as fault:
            return fault


async def _next(events: AsyncGenerator[object, None]) -> object:
    """The next event. Raises `_End` after the last one, and with whatever a collector raises."""
    try:
        return await anext(events)
    except StopAsyncIteration:
        raise _End(None) from None
    except CommandError as fault:
        raise _End(fault) from fault
    except Exception as fault:
        raise _End(PluginError(described(fault))) from fault
