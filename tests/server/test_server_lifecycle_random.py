"""Whatever agents, operators and time do to commands, they end up as CONTRACT section 2 has it.

A model of the contract (tests/support/command_model.py) predicts each reply and the state of every
command after each step.
"""

from collections import Counter
from copy import deepcopy
from datetime import datetime, timedelta
from itertools import count, pairwise
from typing import Any

import pytest
from command_model import ENDS, Fleet, Ordered, Queue
from depth import DEPTH
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rediver_server_fixtures import Agent, Server
from werkzeug.test import TestResponse

from rediver_agent.contract import CommandStatus, may_move

TIMEOUT = 37  # not a multiple of 10 as the waits are, so that no two things are due at once
SEMGREP, TRIVY, HEALTH = ("scan", "semgrep"), ("scan", "trivy"), ("health_check", None)
PROFILES = {"a": ["semgrep"], "b": ["semgrep", "trivy"], "c": []}
AGENTS = st.sampled_from(["nearest"] * 4 + [*PROFILES])
WAITS = st.sampled_from([10, 20, 30, 50, 60, 60, 60, 70, 100, 120, 160, 160, 300, 340, 86_400])
ATTEMPTS = st.sampled_from(["none", "current", "current", "older"])
TYPES = st.sampled_from([None, None, ["scan"], ["health_check", "restart"]])
INSTANCES = st.sampled_from([None, "i-1", "i-2"])
TAKEN = st.sampled_from([None, "claimed", "acknowledged"])
RESULTS = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["completed", "failed", "failed", "cancelled"]),
        "retryable": st.booleans(),
        "duration_ms": st.integers(1, 2),
    }
)


def answer(reply: TestResponse) -> str:
    """ "ok", or the code of a refusal."""
    return "ok" if reply.status_code < 300 else reply.json["error"]["code"]


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


class Commands(RuleBasedStateMachine):
    """A tenant with three agents, and the model beside it."""

    commands = Bundle("commands")

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.clock, self.tenant = server.clock, server.tenant()
        self.model = Queue(self.clock.now)
        self.agents: dict[str, Agent] = {}
        self.fleet: dict[str, Fleet] = {}
        self.numbers = count(5)
        self.trails: dict[str, list[dict]] = {}
        self.seen: dict[str, dict] = {}
        for name, scanners in PROFILES.items():
            agent = self.agents[name] = self.tenant.agent(name)
            can = frozenset([*(("scan", scanner) for scanner in scanners), HEALTH])
            self.fleet[agent.id] = Fleet(agent.id, can)
            if name != "c":  # which has yet to send its first heartbeat
                self.heartbeat(name, [])

    def speaker(self, who: str, command: str) -> Agent:
        """An agent by name, or the one that the command belongs to most."""
        known = self.model.commands[command]
        theirs = {agent.id: agent for agent in self.agents.values()}
        nearest = theirs.get(known.holder or known.source or "", self.agents["a"])
        return self.agents.get(who, nearest)

    def number(self, which: str, command: str) -> dict[str, int]:
        attempt = self.model.commands[command].attempt
        return {
            "none": {},
            "current": {"attempt": attempt},
            "older": {"attempt": max(attempt - 1, 0)},
        }[which]

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.model.now = self.clock.now

    # Orders

    @initialize(target=commands, can=st.sampled_from([SEMGREP, HEALTH]), taken=TAKEN)
    def order_for_the_pool(self, can, taken):
        return self.order_and_take(None, can, "normal", 3600, None, taken)

    @initialize(target=commands, to=st.sampled_from([*PROFILES]), taken=TAKEN)
    def order_for_one(self, to, taken):
        return self.order_and_take(to, SEMGREP, "high", 100_000, None, taken)

    @precondition(lambda self: len(self.model.commands) < 5)  # few, so that each lives long
    @rule(
        target=commands,
        to=st.sampled_from([None, None, *PROFILES]),
        can=st.sampled_from([SEMGREP, SEMGREP, TRIVY, HEALTH]),
        priority=st.sampled_from(["low", "normal", "high", "critical"]),
        ttl=st.sampled_from([500, 3600, 100_000, 100_000]),
        scheduled=st.sampled_from([None, None, 100]),
        taken=TAKEN,
    )
    def order_and_take(self, to, can, priority, ttl, scheduled, taken):
        command = self.order(to, can, priority, ttl, scheduled)
        if taken == "claimed":
            self.claim(to or "a", 0, None, 10)
        elif taken == "acknowledged":
            self.acknowledge(command, "nearest", None)
        return command

    def order(self, to, can, priority, ttl, scheduled):
        self.wait(0.001)  # each has its own age
        self.model.sweep()
        source = self.agents[to].id if to else None
        start = self.clock.now + timedelta(seconds=scheduled or 0)
        payload = (
            {} if can is HEALTH else {"scanner": can[1], "target": ".", "timeout_seconds": TIMEOUT}
        )
        order = {"type": can[0], "payload": payload, "priority": priority, "ttl_seconds": ttl}
        order |= {"source_id": source} if source else {}
        order |= {"scheduled_at": self.clock.text(scheduled)} if scheduled else {}
        reply = self.tenant.admin.call("POST", "/commands", order)
        if source and source not in self.fleet:
            assert reply.status_code == 404
            return self.order(None, can, priority, ttl, scheduled)
        key = reply.json["id"]
        self.model.commands[key] = Ordered(
            key, source, can, priority, timedelta(seconds=1800 if can is HEALTH else TIMEOUT),
            self.clock.now, start if scheduled else None, start + timedelta(seconds=ttl),
        )  # fmt: skip
        return key

    # What agents say

    def is_gone(self, agent: Agent, method: str, path: str, body: object = None) -> bool:
        """Whether the agent's source was deleted: then its key opens nothing."""
        if agent.id in self.fleet:
            return False
        assert agent.refused(method, path, body) == (401, "UNAUTHORIZED")
        return True

    @rule(command=commands, who=AGENTS, instance=INSTANCES)
    def acknowledge(self, command, who, instance):
        agent = self.speaker(who, command)
        path, said = f"/commands/{command}/acknowledge", {"instance_id": instance}
        if self.is_gone(agent, "POST", path, said):
            return
        reply = agent.call("POST", path, said)
        assert answer(reply) == self.model.acknowledge(self.fleet[agent.id], command, instance)
        if answer(reply) == "ok":
            known = self.model.commands[command]
            assert reply.json["attempt"] == known.attempt
            assert moment(reply.json["lease_expires_at"]) == known.lease

    @rule(
        name=st.sampled_from([*PROFILES]),
        number=st.integers(1, 4),
        types=TYPES,
        limit=st.sampled_from([1, 2, 10]),
    )
    def claim(self, name, number, types, limit):
        """By one of four claim_ids, so that some are repeated; by a new one if it is 0."""
        agent, number = self.agents[name], number or next(self.numbers)
        said = {"claim_id": f"c-{number}", "limit": limit, "types": types, "instance_id": "i-1"}
        if self.is_gone(agent, "POST", "/commands/claim", said):
            return
        taken = agent.ok("POST", "/commands/claim", said)["commands"]
        expected = self.model.claim(self.fleet[agent.id], f"c-{number}", types, limit, "i-1")
        assert [(command["id"], command["attempt"]) for command in taken] == expected

    def progress(self, models, agent, source, command, which):
        said = self.number(which, command)
        reply = agent.call("POST", f"/commands/{command}/progress", said)
        words = [model.progress(source, command, said.get("attempt")) for model in models]
        return answer(reply), words

    def result(self, models, agent, source, command, which, outcome):
        number = self.number(which, command)
        said = {**outcome, **number, "completed_at": "2026-01-16T10:05:00Z"}
        words = [model.result(source, command, number.get("attempt"), outcome) for model in models]
        if outcome["duration_ms"] == 1:
            return answer(agent.call("POST", f"/commands/{command}/result", said)), words
        batch = {"results": [{"command_id": command, **said}]}
        (item,) = agent.ok("POST", "/commands/results", batch)["results"]
        return item["error"]["code"] if item["error"] else "ok", words

    def heartbeat(self, name, running, models=None):
        agent = self.agents[name]
        source = self.fleet[agent.id]
        listed = [{"command_id": key, **self.number(which, key)} for key, which in running]
        pairs = [(each["command_id"], each.get("attempt")) for each in listed]
        reply = agent.heartbeat(scanners=PROFILES[name], running=listed)
        words = [model.heartbeat(source, pairs) for model in models or [self.model]]
        return (reply["cancel"], reply["lost"]), words

    def speak(self, models, command, who, which, word):
        """Let an agent say a word. Returns what was answered, and what each model answers."""
        agent = self.speaker(who, command)
        source = self.fleet[agent.id]
        if word == "heartbeat":
            name = next(name for name, each in self.agents.items() if each is agent)
            return self.heartbeat(name, [(command, which)], models)
        if word == "progress":
            return self.progress(models, agent, source, command, which)
        return self.result(models, agent, source, command, which, word)

    WORDS = st.one_of(st.sampled_from(["progress", "heartbeat"]), RESULTS)

    @rule(command=commands, who=AGENTS, which=ATTEMPTS, word=WORDS)
    def a_word(self, command, who, which, word):
        agent = self.speaker(who, command)
        if who == "nearest" and not self.model.commands[command].attempt:
            self.acknowledge(command, who, "i-1")
        if not self.is_gone(agent, "POST", f"/commands/{command}/progress"):
            answered, (expected,) = self.speak([self.model], command, who, which, word)
            assert answered == expected

    @rule(command=commands, which=ATTEMPTS, word=WORDS, seconds=WAITS)
    def a_late_word(self, command, which, word, seconds):
        """Time passes and nobody looks: what it has decided may count before the word, or after."""
        agent = self.speaker("nearest", command)
        if self.is_gone(agent, "POST", f"/commands/{command}/progress"):
            return
        self.wait(seconds)
        settled, unsettled = self.model, deepcopy(self.model)
        settled.sweep()
        models = [settled, unsettled]
        answered, words = self.speak(models, command, "nearest", which, word)
        unsettled.sweep()
        fits = [model for model, said in zip(models, words, strict=True) if said == answered]
        assert fits, (answered, words)
        listed = self.listed()
        self.model = next((model for model in fits if self.predicted(model) == listed), fits[0])

    @rule(
        command=commands,
        word=st.sampled_from(["progress", "heartbeat"]),
        rounds=st.integers(2, 8),
    )
    def keep_at_it(self, command, word, rounds):
        """As an agent does that works on it."""
        for _ in range(rounds):
            self.time_passes(50)
            self.listed()
            self.a_word(command, "nearest", "current", word)

    LISTED = st.lists(st.tuples(commands, ATTEMPTS), max_size=4, unique_by=lambda each: each[0])

    @rule(
        name=st.sampled_from([*PROFILES]),
        listed=LISTED,
        types=TYPES,
        limit=st.sampled_from([1, 10]),
    )
    def beat_and_poll(self, name, listed, types, limit):
        agent = self.agents[name]
        if self.is_gone(agent, "POST", "/ingest/heartbeat"):
            return
        answered, (expected,) = self.heartbeat(name, listed)
        assert answered == expected
        offered = agent.offered(f"?limit={limit}" + (f"&types={','.join(types)}" if types else ""))
        assert offered == self.model.free(self.fleet[agent.id], types, limit)

    @rule(command=commands, seconds=st.sampled_from([60, 160, 1920]))
    def fall_silent_and_take_again(self, command, seconds):
        self.time_passes(seconds)
        self.acknowledge(command, "nearest", "i-1")

    # What operators say

    @rule(command=commands, by_command=st.booleans())
    def cancel(self, command, by_command):
        expected = self.model.cancel(command)
        if by_command:
            order = {"type": "cancel", "payload": {"command_id": command}}
            made = self.tenant.admin.ok("POST", "/commands", order)
            assert (made["status"], made["result"]) == ("completed", {"outcome": expected})
            return
        reply = self.tenant.admin.call("DELETE", f"/commands/{command}")
        finished = expected == "already_finished"
        assert answer(reply) == ("COMMAND_FINISHED" if finished else "ok")

    @rule(
        what=st.sampled_from([*("pause", "resume") * 3, "cancel", "delete"]),
        name=st.sampled_from([*PROFILES]),
        chosen=st.sampled_from(
            [{"status": "running"}, {"status": "pending"}, {"type": "health_check"}, {}]
        ),
    )
    def manage_a_source(self, what, name, chosen):
        agent = self.agents[name]
        if what == "cancel":
            chosen = chosen and {**chosen, "source_id": agent.id}
            expected = self.model.cancel_all(chosen)
            assert self.tenant.admin.ok("POST", "/commands/cancel", chosen) == expected
        elif agent.id not in self.fleet:
            assert self.tenant.admin.refused("DELETE", f"/sources/{agent.id}")[0] == 404
        elif what == "delete":
            self.model.delete_source(self.fleet.pop(agent.id))
            self.tenant.admin.ok("DELETE", f"/sources/{agent.id}")
        else:
            self.fleet[agent.id].paused = what == "pause"
            patch = {"paused": what == "pause"}
            self.tenant.admin.ok("PATCH", f"/sources/{agent.id}", patch)

    @rule(seconds=WAITS)
    def time_passes(self, seconds):
        self.wait(seconds)
        self.model.sweep()

    # What is true after each step

    def listed(self) -> dict[str, tuple[Any, ...]]:
        """Every command but the `cancel` ones, as the server shows it; this settles what is due."""
        page = self.tenant.admin.ok("GET", "/commands?limit=100")
        assert page["next_cursor"] is None
        self.rows = {row["id"]: row for row in page["commands"] if row["type"] != "cancel"}
        return {
            key: (
                row["status"],
                row["attempt"],
                moment(row["lease_expires_at"]),
                row["cancel_requested"],
            )
            for key, row in self.rows.items()
        }

    @staticmethod
    def predicted(model: Queue) -> dict[str, tuple[Any, ...]]:
        return {key: command.seen() for key, command in model.commands.items()}

    @invariant()
    def all_is_as_the_contract_has_it(self):
        self.model.sweep()
        assert self.listed() == self.predicted(self.model)
        for key, row in self.rows.items():
            if self.seen.get(key) != row:
                self.check_trail(key, row)
        self.seen = self.rows

    def teardown(self):
        self.listed()
        for status in CommandStatus:
            page = self.tenant.admin.ok("GET", f"/commands?status={status}&limit=100")["commands"]
            listed = {row["id"] for row in page if row["type"] != "cancel"}
            expected = {key for key, row in self.rows.items() if row["status"] == status}
            assert listed == expected

    def check_trail(self, key: str, row: dict) -> None:
        """A trail only grows, each line of it is legal, and each attempt has one holder."""
        trail = self.tenant.admin.ok("GET", f"/commands/{key}/events")["events"]
        known = self.trails.get(key, [])
        assert trail[: len(known)] == known
        assert (trail[0]["from_status"], trail[-1]["to_status"]) == (None, row["status"])
        for before, after in pairwise(trail):
            assert after["from_status"] == before["to_status"]
            assert after["attempt"] >= before["attempt"]
            assert after["at"] >= before["at"]
            moved = CommandStatus(after["from_status"]), CommandStatus(after["to_status"])
            assert moved[0] == moved[1] or may_move(*moved)
        holds = [
            event["attempt"] for event in trail if event["reason"] in ("acknowledged", "claimed")
        ]
        assert holds == list(range(1, row["attempt"] + 1))
        ends = Counter(event["to_status"] for event in trail if event["from_status"] not in ENDS)
        assert sum(ends[status] for status in ENDS) == (row["status"] in ENDS)
        self.trails[key] = trail


@pytest.mark.timeout(400)  # hundreds of steps; on a machine that is busy with others, minutes
def test_any_course_of_events_is_as_the_contract_has_it(server: Server):
    run_state_machine_as_test(
        lambda: Commands(server),
        settings=settings(
            max_examples=12 * DEPTH,
            stateful_step_count=30,
            deadline=None,
            phases=(Phase.reuse, Phase.generate),  # shrinking takes minutes, reading 30 steps one
            suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
        ),
    )
