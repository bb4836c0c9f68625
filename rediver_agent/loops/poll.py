"""Asks the server for work, claims it and hands it over. Never stops because the server is away.

A claim is remembered on disk before it is made, so that no crash forgets a command; a claim whose
reply was lost is made again until there is an answer.
"""

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from pydantic import JsonValue, ValidationError

from rediver_agent.client import Client
from rediver_agent.contract.base import parse
from rediver_agent.contract.commands import AnyCommand, Command, UnknownCommand, parse_command
from rediver_agent.contract.results import Acknowledge
from rediver_agent.errors import DiskFull, ServerRefused, ServerUnavailable, SpoolError
from rediver_agent.executor import CONTROL_TYPES, Executor, Job
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.progress import ProgressSender
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.state_dir import free_bytes

log = logging.getLogger(__name__)

JITTER: Final = 0.2  # of the interval, either way
CONTROL_LIMIT: Final = 10  # how many control commands to ask for while no slot is free
REFUSED_SECONDS: Final = 60.0  # between polls while the server refuses the key
INTERVAL_LIMITS: Final = (1.0, 300.0)  # what a server may ask for, in seconds


@dataclass(slots=True)
class PollLoop:
    """One producer of jobs. `bell` is rung when there may be something to take."""

    client: Client
    executor: Executor
    spool: Spool
    settings: Settings
    tasks: TaskGroup
    bell: Doorbell
    outbox_bell: Doorbell
    heartbeat_bell: Doorbell
    instance_id: str
    now: Callable[[], datetime]
    _unsure: dict[str, Mapping[str, JsonValue]] = field(
        default_factory=dict[str, Mapping[str, JsonValue]]
    )

    async def run(self) -> None:
        """Poll at once, then at every interval and whenever the bell rings."""
        while True:
            await self.bell.wait(_jittered(await self._poll()))

    async def _poll(self) -> float:
        """One poll. Returns how many seconds to wait for the next."""
        interval = self.settings.agent.command_poll_interval.total_seconds()
        try:
            left = free_bytes(self.settings.state_dir)
        except OSError as fault:
            log.error("nothing new is claimed: %s; is state_dir still there?", fault)
            return interval
        if left < self.settings.retry_queue.min_free_bytes:
            log.error("the disk is nearly full: nothing new is claimed; free space")
            return interval
        free = self.executor.free_slots
        types = None if free else CONTROL_TYPES
        try:
            reply = await self.client.poll(free or CONTROL_LIMIT, types)
        except ServerUnavailable as fault:
            log.warning("polling: %s", fault)
            return max(interval, fault.retry_after)
        except ServerRefused as fault:
            log.error("polling: %s; check server.api_key and source_id", fault)
            return max(interval, REFUSED_SECONDS)
        for raw in (*self._unsure.values(), *reply.commands):
            await self._take(raw)
        low, high = INTERVAL_LIMITS
        return min(max(reply.poll_interval_seconds or interval, low), high)

    async def _take(self, raw: Mapping[str, JsonValue]) -> None:
        try:
            command = _understood(raw)
        except ValidationError as fault:
            log.error("the server sent a command without a usable id or type: %s", fault)
            return
        try:
            new = await anyio.to_thread.run_sync(self.spool.claim, command.id)
            if new or command.id in self._unsure:
                await self._claim(command, raw)
        except (DiskFull, SpoolError) as fault:
            log.error("%s cannot be begun now: %s", command.id, fault)

    async def _claim(self, command: AnyCommand, raw: Mapping[str, JsonValue]) -> None:
        claim = Acknowledge(started_at=self.now(), instance_id=self.instance_id)
        self._unsure[command.id] = raw  # until the answer is on disk; repeating a claim is safe
        try:
            reply = await self.client.acknowledge(command.id, claim)
        except ServerUnavailable as fault:
            log.warning("claiming %s: %s; it is tried again", command.id, fault)
            return
        except ServerRefused as fault:
            log.info("%s is not ours: %s", command.id, fault)
            await anyio.to_thread.run_sync(self.spool.forget, command.id)
            del self._unsure[command.id]
            return
        await anyio.to_thread.run_sync(self.spool.begin, command.id, reply.attempt)
        del self._unsure[command.id]
        log.info("%s: %s begins (attempt %s)", command.id, command.type, reply.attempt)
        self.heartbeat_bell.ring()
        self.tasks.start_soon(self._work, Job(command, reply.attempt), name=command.id)

    async def _work(self, job: Job) -> None:
        async with anyio.create_task_group() as beside:
            sender = ProgressSender(self.client, self.executor, job, self.instance_id)
            beside.start_soon(sender.run)
            outcome = await self.executor.execute(job)
            why = f": {outcome.error}" if outcome.error else ""
            log.info("%s: %s%s", job.id, outcome.status.value, why)
            beside.cancel_scope.cancel()
        self.outbox_bell.ring()
        self.bell.ring()


def _understood(raw: Mapping[str, JsonValue]) -> AnyCommand:
    """The command; one whose payload is wrong as an unknown one, so that it is answered too."""
    try:
        return parse_command(raw)
    except ValidationError:
        envelope = parse(Command, {**raw, "payload": {}})
        return UnknownCommand(id=envelope.id, type=envelope.type, expires_at=envelope.expires_at)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
