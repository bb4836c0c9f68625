"""CONTRACT section 2 as plain Python: what agents, operators and time do to commands.

Written from the contract, with nothing of the server in it. It predicts how each call is answered
("ok", or an error's code) and what every command is like after it. Of several ends that a lost
lease can have, a requested cancel comes first, then spent attempts, then expiry.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

LEASE = timedelta(seconds=60)
ACKNOWLEDGE_GRACE = timedelta(seconds=120)
CANCEL_GRACE = timedelta(seconds=120)
OVERLONG_GRACE = timedelta(seconds=300)
CLAIMS_ARE_KNOWN = timedelta(hours=24)
MAX_ATTEMPTS = 3
RANKS = ("critical", "high", "normal", "low")
HELD = ("acknowledged", "running")
ENDS = {
    "completed": "COMMAND_FINISHED",
    "failed": "COMMAND_FINISHED",
    "cancelled": "COMMAND_CANCELLED",
    "expired": "COMMAND_EXPIRED",
}


@dataclass
class Ordered:
    """A command. `source` is who it is addressed to, `can` what a source of the pool has to do."""

    id: str
    source: str | None
    can: tuple[str, str | None]
    priority: str
    timeout: timedelta
    created_at: datetime
    scheduled_at: datetime | None
    expires_at: datetime
    status: str = "pending"
    attempt: int = 0
    used: int = 0
    counted: bool = False
    holder: str | None = None
    instance: str | None = None
    lease: datetime | None = None
    began: datetime | None = None
    started: bool = False
    asked: datetime | None = None
    held_by: set[str] = field(default_factory=set)
    accepted: list[tuple[str, int, dict]] = field(default_factory=list)

    @property
    def rank(self) -> tuple[int, datetime]:
        return RANKS.index(self.priority), self.created_at

    def seen(self) -> tuple[Any, ...]:
        """What operators see of it."""
        lease = self.lease if self.status in HELD else None
        return self.status, self.attempt, lease, self.asked is not None

    def hold(self, now: datetime, source: str, instance: str | None, *, claimed: bool) -> None:
        self.status, self.attempt = "acknowledged", self.attempt + 1
        self.holder, self.instance, self.began, self.started = source, instance, now, False
        self.used, self.counted = self.used + (not claimed), not claimed
        self.lease = now + (LEASE if claimed else self.timeout + ACKNOWLEDGE_GRACE)
        self.held_by.add(source)

    def count(self) -> None:
        """The holder has named it."""
        self.used, self.counted = self.used + (not self.counted), True

    def settle(self, now: datetime) -> None:
        """Do what time has decided; of several things due, the earliest."""
        if self.status == "pending" and self.expires_at <= now:
            self.status = "expired"
        if self.status not in HELD:
            return
        due = {self.lease: "lapsed", self.began + self.timeout + OVERLONG_GRACE: "failed"}
        if self.asked:
            due[self.asked + CANCEL_GRACE] = "cancelled"
        if min(due) > now:
            return
        self.status = due[min(due)]
        if self.status == "lapsed":
            self.status = self._end_of_a_lost_lease(now)

    def _end_of_a_lost_lease(self, now: datetime) -> str:
        if self.asked:
            return "cancelled"
        if self.counted and self.used >= MAX_ATTEMPTS:
            return "failed"
        return "expired" if self.expires_at <= now else "pending"


@dataclass
class Fleet:
    """A source. `can` is what its heartbeat says it can do, nothing before the first one."""

    id: str
    profile: frozenset[tuple[str, str | None]]
    can: frozenset[tuple[str, str | None]] = frozenset()
    paused: bool = False


class Queue:
    """All commands of a tenant, as the contract has them at `now`."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.commands: dict[str, Ordered] = {}
        self.claims: dict[tuple[str, str], tuple[datetime, dict[str, int]]] = {}

    def sweep(self) -> None:
        for command in self.commands.values():
            command.settle(self.now)

    # What an agent says

    def free(self, source: Fleet, types: list[str] | None, limit: int) -> list[str]:
        """What the source may take now, in order."""
        ids = [
            command
            for command in self.commands.values()
            if command.status == "pending"
            and not source.paused
            and command.expires_at > self.now
            and not (command.scheduled_at and command.scheduled_at > self.now)
            and (command.source == source.id or self._is_pooled_for(command, source))
            and (types is None or command.can[0] in types)
        ]
        return [command.id for command in sorted(ids, key=lambda each: each.rank)][:limit]

    @staticmethod
    def _is_pooled_for(command: Ordered, source: Fleet) -> bool:
        return command.source is None and command.can in source.can

    def acknowledge(self, source: Fleet, key: str, instance: str | None) -> str:
        command = self.commands[key]
        if command.source not in (None, source.id):
            return "NOT_FOUND"
        command.settle(self.now)
        if command.status in HELD:
            same = (command.holder, command.instance) == (source.id, instance)
            return "ok" if same else "ALREADY_CLAIMED"
        if command.status in ENDS:
            return ENDS[command.status]
        if source.paused or (command.scheduled_at and command.scheduled_at > self.now):
            return "CONFLICT"
        command.hold(self.now, source.id, instance, claimed=False)
        return "ok"

    def claim(
        self, source: Fleet, claim_id: str, types: list[str] | None, limit: int, instance: str
    ) -> list[tuple[str, int]]:
        """The commands of the reply with their attempts, in order."""
        told, attempts = self.claims.get((source.id, claim_id), (self.now, {}))
        if not attempts or told <= self.now - CLAIMS_ARE_KNOWN:
            attempts = {}
            for key in self.free(source, types, limit):
                self.commands[key].hold(self.now, source.id, instance, claimed=True)
                attempts[key] = self.commands[key].attempt
            if attempts:
                self.claims[source.id, claim_id] = (self.now, attempts)
        still = [self.commands[key] for key in attempts]
        held = [
            command
            for command in still
            if (command.holder, command.attempt) == (source.id, attempts[command.id])
            and command.status in HELD
        ]
        return [(command.id, command.attempt) for command in sorted(held, key=lambda c: c.rank)]

    def _refusal(self, source: Fleet, command: Ordered, attempt: int | None) -> str | None:
        if command.source not in (None, source.id):
            return "NOT_FOUND"
        if command.holder == source.id and attempt in (None, command.attempt):
            return "COMMAND_FINISHED" if command.status in ENDS else None
        if command.attempt == 0:
            return "NOT_CLAIMED"
        return "STALE_ATTEMPT" if source.id in command.held_by else "NOT_FOUND"

    def progress(self, source: Fleet, key: str, attempt: int | None) -> str:
        command = self.commands[key]
        if refusal := self._refusal(source, command, attempt):
            return refusal
        command.count()
        if not command.started:
            command.began, command.started = self.now, True
        command.status, command.lease = "running", self.now + LEASE
        command.settle(self.now)
        return "COMMAND_FINISHED" if command.status in ENDS else "ok"

    def result(self, source: Fleet, key: str, attempt: int | None, said: dict) -> str:
        command = self.commands[key]
        if command.source in (None, source.id) and any(
            (by, before) == (source.id, said)
            and (number == command.attempt or attempt != command.attempt)
            for by, number, before in command.accepted
        ):
            return "ok"
        if refusal := self._refusal(source, command, attempt):
            return refusal
        command.count()
        command.accepted.append((source.id, command.attempt, said))
        command.status = said["status"]
        again = said["retryable"] and not command.asked and command.used < MAX_ATTEMPTS
        if said["status"] == "failed" and again:
            command.status, command.holder = "pending", None
        return "ok"

    def heartbeat(
        self, source: Fleet, running: list[tuple[str, int | None]]
    ) -> tuple[list[str], list[str]]:
        """What the reply tells to cancel, and what it says is lost."""
        source.can = source.profile
        kept = set()
        for key, attempt in running:
            command = self.commands[key]
            if self._refusal(source, command, attempt) is None:
                command.count()
                command.lease = self.now + LEASE
                if command.status == "pending":
                    command.status = "running" if command.started else "acknowledged"
                kept.add(key)
        self.sweep()
        mine = [command for command in self.commands.values() if command.holder == source.id]
        held = {command.id for command in mine if command.status in HELD}
        cancel = sorted(key for key in held if self.commands[key].asked)
        return cancel, [
            key for key in dict.fromkeys(key for key, _ in running) if key not in kept & held
        ]

    # What an operator says

    def cancel(self, key: str) -> str:
        command = self.commands[key]
        command.settle(self.now)
        if command.status in ENDS:
            return "already_finished"
        if command.status == "pending":
            command.status = "cancelled"
            return "cancelled"
        command.asked = command.asked or self.now
        return "requested"

    def cancel_all(self, chosen: dict[str, str]) -> dict[str, int]:
        """Those that nobody has asked to cancel yet."""
        counts = {"cancelled": 0, "requested": 0}
        for command in self.commands.values():
            shown = {"status": command.status, "type": command.can[0], "source_id": command.source}
            if chosen.items() <= shown.items() and command.status not in ENDS and not command.asked:
                counts[self.cancel(command.id)] += 1
        return counts

    def delete_source(self, source: Fleet) -> None:
        for command in self.commands.values():
            holds = command.holder == source.id and command.status in HELD
            if command.status in ENDS:
                continue
            if command.source == source.id or (holds and command.asked):
                command.status = "cancelled"
            elif holds:
                command.used -= command.counted
                command.status, command.holder = "pending", None
