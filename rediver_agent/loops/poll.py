"""Asks the server for work, claims it and hands it over. Never stops because the server is away.

A claim is remembered on disk before it is made, so that no crash forgets a command; a claim whose
reply was lost is made again under its name, until there is an answer. What is held is named first:
a server that has missed it for too long would hand it out anew. A server of the origin's three
calls is asked and acknowledged to in single calls.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from pydantic import JsonValue, ValidationError

from rediver_agent.client import Client
from rediver_agent.configuration import Configuration
from rediver_agent.contract.base import parse
from rediver_agent.contract.batches import Claim
from rediver_agent.contract.commands import (
    AnyCommand,
    Command,
    CommandList,
    UnknownCommand,
    parse_command,
)
from rediver_agent.contract.results import Acknowledge
from rediver_agent.errors import (
    DiskFull,
    ServerError,
    ServerRefused,
    ServerUnavailable,
    SpoolError,
)
from rediver_agent.executor import CONTROL_TYPES, Executor, Job
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.progress import ProgressSender
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.state_dir import free_bytes
from rediver_agent.status import Status

log = logging.getLogger(__name__)

JITTER: Final = 0.2  # of the interval, either way
CONTROL_LIMIT: Final = 10  # how many control commands to ask for while no slot is free
REFUSED_SECONDS: Final = 60.0  # between polls while the server refuses the key
INTERVAL_LIMITS: Final = (1.0, 300.0)  # what a server may ask for, in seconds
NO_SUCH_CALL: Final = frozenset({404, 405})
SINGLE_CALLS_FOR: Final = timedelta(minutes=10)  # before a server is asked again whether it claims
ASK_SECONDS: Final = 10.0  # how long local work waits for the server to be asked
UNREADABLE: Final = "unreadable"  # the type of a command whose type cannot be read


@dataclass(slots=True)
class PollLoop:
    """One producer of jobs. `bell` is rung when there may be something to take."""

    client: Client
    executor: Executor
    spool: Spool
    configuration: Configuration
    status: Status
    tasks: TaskGroup
    bell: Doorbell
    outbox_bell: Doorbell
    heartbeat_bell: Doorbell
    name_what_is_held: Callable[[], Awaitable[None]]
    instance_id: str
    now: Callable[[], datetime]
    _unsure: dict[str, Mapping[str, JsonValue]] = field(
        default_factory=dict[str, Mapping[str, JsonValue]]
    )
    _single_until: datetime | None = None
    _claim_in_doubt: bool = True
    _not_before: float = 0.0
    _failures: int = 0
    _locked_out: bool = False
    _round: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        """Poll at once, then at every interval and whenever the bell rings.

        But never sooner than the server lets us.
        """
        while True:
            wait = _jittered(await self._poll())
            floor = max(0.0, self._not_before - anyio.current_time())
            wait = max(wait, floor)
            self.status.poll.next_at = self.now() + timedelta(seconds=wait)
            self._round.set()
            self._round = anyio.Event()
            await anyio.sleep(floor)
            await self.bell.wait(wait - floor)

    async def ask(self) -> None:
        """Have the server asked now, and return when it has been, or soon if it is away."""
        done = self._round
        self.bell.ring()
        if anyio.current_time() < self._not_before:
            return
        with anyio.move_on_after(ASK_SECONDS):
            await done.wait()

    async def _poll(self) -> float:
        """One poll. Returns how many seconds to wait for the next."""
        settings = self.configuration.settings
        interval = settings.agent.command_poll_interval.total_seconds()
        try:
            if await self.executor.write_late():
                self.outbox_bell.ring()
            await anyio.to_thread.run_sync(_check_disk, settings)
            await self.name_what_is_held()
            reply = await self._take()
            await self._let_in()
        except OSError as fault:
            return self._failed(
                f"nothing new is claimed: {fault}; is state_dir still there?", interval
            )
        except (DiskFull, SpoolError) as fault:
            return self._failed(f"nothing new is claimed: {fault}", interval)
        except ServerUnavailable as fault:
            self._failures += 1
            # Soon at first, for a claim whose reply was lost; the interval while it stays away.
            soon = interval if fault.status else min(interval, 2.0 ** min(self._failures, 10))
            self._not_before = anyio.current_time() + fault.retry_after
            return self._failed(str(fault), max(soon, fault.retry_after))
        except ServerRefused as fault:
            self._locked_out = True
            self._not_before = anyio.current_time() + REFUSED_SECONDS * (1 - JITTER)
            problem = f"{fault}; check server.api_key and source_id, or ask `rediver-agent doctor`"
            return self._failed(problem, max(interval, REFUSED_SECONDS))
        self._failures = 0
        if self.status.poll.went_well(self.now()):
            log.info("polling goes on")
        low, high = INTERVAL_LIMITS
        return min(max(reply.poll_interval_seconds or interval, low), high)

    async def _let_in(self) -> None:
        """The key is good again: what was refused for it need not wait out its time."""
        if self._locked_out:
            self._locked_out = False
            await anyio.to_thread.run_sync(self.spool.hurry)
            self.outbox_bell.ring()

    def _failed(self, problem: str, wait: float) -> float:
        news = self.status.poll.went_wrong(self.now(), problem)
        log.log(logging.WARNING if news else logging.DEBUG, "polling: %s", problem)
        return wait

    async def _take(self) -> CommandList:
        for raw in tuple(self._unsure.values()):
            await self._acknowledge(raw)
        free = self.executor.free_slots
        types = None if free else sorted(CONTROL_TYPES)
        limit = free or CONTROL_LIMIT
        if self._single_until is None or self._single_until <= self.now():
            try:
                return await self._claim(limit, types)
            except ServerError as fault:
                if fault.status not in NO_SUCH_CALL:
                    raise
                self._single_until = self.now() + SINGLE_CALLS_FOR
        reply = await self.client.poll(limit, types)
        for raw in reply.commands:
            await self._acknowledge(raw)
        return reply

    async def _claim(self, limit: int, types: Sequence[str] | None) -> CommandList:
        claim_id = await anyio.to_thread.run_sync(self.spool.claim_id)
        in_doubt, self._claim_in_doubt = self._claim_in_doubt, True
        reply = await self.client.claim(
            Claim(
                claim_id=claim_id,
                limit=limit,
                types=list(types) if types else None,
                instance_id=self.instance_id,
            )
        )
        self._single_until = None
        if not reply.commands:
            if in_doubt:  # what an earlier try took is gone, and this name never takes anew
                await anyio.to_thread.run_sync(self.spool.begin_claimed, ())
            self._claim_in_doubt = False
            return reply
        claimed: dict[str, tuple[AnyCommand, int | None]] = {}
        for raw in reply.commands:
            if (command := _understood(raw)) is not None:
                claimed[command.id] = command, command.attempt
        attempts = [(id_, attempt) for id_, (_, attempt) in claimed.items()]
        new = await anyio.to_thread.run_sync(self.spool.begin_claimed, attempts)
        self._claim_in_doubt = False
        for command_id, (command, attempt) in claimed.items():
            if command_id in new:
                self._begin(command, attempt)
        return reply

    async def _acknowledge(self, raw: Mapping[str, JsonValue]) -> None:
        command = _understood(raw)
        if command is None:
            return
        new = await anyio.to_thread.run_sync(self.spool.claim, command.id)
        if not (new or command.id in self._unsure):
            return
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
        self._begin(command, reply.attempt)

    def _begin(self, command: AnyCommand, attempt: int | None) -> None:
        log.info("%s: %s begins (attempt %s)", command.id, command.type, attempt)
        self.heartbeat_bell.ring()
        self.tasks.start_soon(self._work, Job(command, attempt), name=command.id)

    async def _work(self, job: Job) -> None:
        async with anyio.create_task_group() as beside:
            sender = ProgressSender(self.client, self.executor, job, self.instance_id)
            beside.start_soon(sender.run)
            outcome = await self.executor.execute(job)
            why = f": {outcome.error}" if outcome.error else ""
            how = "the next start answers it" if outcome.deferred else outcome.status.value
            log.info("%s: %s%s", job.id, how, why)
            beside.cancel_scope.cancel()
        self.outbox_bell.ring()
        self.bell.ring()


def _understood(raw: Mapping[str, JsonValue]) -> AnyCommand | None:
    """The command; as an unknown one where it cannot be read, so that it is answered too.

    None for one without a usable id, which nobody could answer.
    """
    for candidate in (
        raw,
        {**raw, "payload": {}},
        {"id": raw.get("id"), "type": UNREADABLE, "attempt": raw.get("attempt")},
        {"id": raw.get("id"), "type": UNREADABLE},
    ):
        try:
            return parse_command(raw) if candidate is raw else _unknown(candidate)
        except ValidationError as fault:
            problem = fault
    log.error("the server sent a command without a usable id: %s", problem)
    return None


def _unknown(raw: Mapping[str, JsonValue]) -> UnknownCommand:
    known = parse(Command, raw)
    return UnknownCommand(
        id=known.id, type=known.type, expires_at=known.expires_at, attempt=known.attempt
    )


def _check_disk(settings: Settings) -> None:
    if free_bytes(settings.state_dir) < settings.retry_queue.min_free_bytes:
        raise DiskFull("the disk is nearly full; free space")


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
