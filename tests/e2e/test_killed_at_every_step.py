"""Wherever an agent is killed, nothing is lost, nothing is doubled and nothing is left running.

A real agent ends itself with SIGKILL at a named point (`support/killed_agent.py`), and a normal one
starts on its state directory. Then the whole ledger is looked at: on the server, in the spool, on
the disk and among the processes.
"""

import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from house import TERMINAL, House, Program, alive, wait_for
from stub_scanner import behave

KILLED_AGENT = Path(__file__).parents[1] / "support" / "killed_agent.py"
FINDINGS = 700  # two parts
GRANDCHILD = """
import os, sys, time
os.setsid()
with open({log!r}, "a") as log: log.write(f"{{os.getpid()}}\\n")
time.sleep(600)
"""

POINTS = [
    "claim_id:after:1",
    "claim_call:after:1",  # the server has handed it over, and nobody here knows
    "begin_claimed:after:1",
    "heartbeat_call:after:1",  # with the tool in full swing
    "tool_named:after:1",  # its run id is on disk, and there is no process yet
    "tool_started:after:2",
    "tree_orphaned:before:2",  # and its supervisor is killed, too: only its run id is on disk
    "tree_orphaned:after:2",  # and its process id
    "add_findings:after:1",
    "finish:before:1",
    "finish:after:1",
    "findings_call:after:1",  # the server has the first of two parts
    "delivered:after:1",  # in the middle of a drain
    "result_call:after:1",  # the server has it all, and the spool does not know
    "single_claim:after:1",
    "acknowledge_call:after:1",
]
LESS = [
    "claim_id:before:1",
    "claim_call:before:1",
    "begin_claimed:before:1",
    "progress_call:after:1",
    "tool_named:before:1",
    "tool_started:before:2",
    "open_report:before:1",
    "open_report:after:1",
    "add_findings:after:2",
    "findings_call:before:1",
    "findings_call:before:2",
    "delivered:before:1",
    "delivered:after:2",
    "result_call:before:1",
    "single_claim:before:1",
    "single_begin:before:1",
    "single_begin:after:1",
]
WHILE_THE_TOOL_RUNS = ("heartbeat_call", "tool_", "tree_orphaned", "progress_call")
# The server is away from the death until the next agent has started.
ALONE = ["claim_call:after:1", "tree_orphaned:after:2"]
LESS_ALONE = ["tool_started:after:2", *POINTS[8:]]


def slow(points):
    return [pytest.param(point, marks=pytest.mark.slow) for point in points]


@pytest.fixture(scope="module")
def one_house(tmp_path_factory):
    """A server for all points."""
    house = House(tmp_path_factory.mktemp("house"))
    house.start_server()
    yield house
    house.close()


@pytest.fixture
def case(one_house, tmp_path, stub_env):
    """One agent's life on that server: a source, a state directory and a target of its own."""
    case = Case(one_house, tmp_path, stub_env)
    yield case
    for program in case.programs:
        if program.process.poll() is None:
            program.crash()


class Case:
    def __init__(self, house, directory, env):
        self.house, self.directory, self.env = house, directory, env
        self.programs = []
        self.state = directory / "state"
        self.target = directory / "app"
        self.gate = directory / "gate"
        self.log = behave(
            self.target,
            findings=FINDINGS,
            gate=str(self.gate),
            script=GRANDCHILD.format(log=str(directory / "app.pids")),
        )
        house.source = house.server_says(
            "source", "create", "--tenant", house.tenant_id, "--name", directory.name
        )

    def start(self, *command):
        house = self.house
        house.directory, before = self.directory, house.directory
        config = house.agent_config(self.target)
        house.directory = before
        log = self.directory / f"agent-{len(self.programs)}.log"
        agent = Program(log, *map(str, command), str(config), env=self.env)
        self.programs.append(agent)
        return agent

    def die_at(self, point):
        """Start an agent that is killed at this point, and be there when it is."""
        if not point.startswith(WHILE_THE_TOOL_RUNS):
            self.gate.touch()
        agent = self.start(sys.executable, KILLED_AGENT, point)
        assert agent.process.wait(60) == -signal.SIGKILL, agent.text()[-3000:]
        if point.startswith("tree_orphaned"):
            wait_for(lambda: len(self.pids()) == 2, "the tool and its child have started")
            assert all(map(alive, self.pids())), "nobody but the next agent can end them"
        if point.startswith("tool_named"):
            assert self.pids() == []
        if point.startswith("heartbeat_call"):
            assert self.pids(), "it had begun"

    def start_normal(self):
        self.gate.touch()
        return self.start(Path(sys.executable).parent / "rediver-agent", "run", "--config")

    def pids(self):
        return [int(line) for line in self.log.read_text().split()] if self.log.exists() else []

    def left_in_spool(self):
        """How many rows there are that belong to a command."""
        with closing(sqlite3.connect(f"file:{self.state}/spool.sqlite3?mode=ro", uri=True)) as db:
            tables = ("commands", "runs", "reports", "outbox")
            return {
                t: n for t in tables if (n := db.execute(f"SELECT count(*) FROM {t}").fetchone()[0])
            }

    def check_ledger(self, command, agent):
        """Everything is done once, and over."""
        house = self.house
        wait_for(
            lambda: house.get(command)["status"] in TERMINAL or agent.process.poll() is not None,
            lambda: f"{command} is over: {house.get(command)} {agent.text()[-3000:]}",
        )
        done = house.get(command)
        assert done["status"] == "completed", agent.text()[-3000:]
        assert done["result"]["findings_count"] == FINDINGS
        wait_for(
            lambda: not self.left_in_spool(), lambda: f"the spool is empty: {self.left_in_spool()}"
        )
        assert agent.stop() == 0
        _, said = house.call("GET", f"/api/v1/commands/{command}/events")
        ends = [event["to_status"] for event in said["events"] if event["to_status"] in TERMINAL]
        assert ends == ["completed"], said
        found = self.findings()
        assert len({item["fingerprint"] for item in found}) == len(found) == FINDINGS
        assert {item["occurrence_count"] for item in found} == {1}
        assert [pid for pid in self.pids() if alive(pid)] == []
        assert list(self.state.glob("work/*")) == []
        assert list(self.state.glob("spool.*-*T*")) == [], "a kill damages nothing"
        assert "Traceback" not in "".join(program.text() for program in self.programs)

    def findings(self):
        found, query = [], f"limit=100&source_id={self.house.source['id']}"
        cursor = ""
        while cursor is not None:
            _, page = self.house.call("GET", f"/api/v1/findings?{query}{cursor}")
            found += page["findings"]
            cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
        return found


@pytest.mark.parametrize("point", POINTS + slow(LESS))
def test_killed_at(point, case):
    command = case.house.scan(case.target)
    case.die_at(point)

    case.check_ledger(command, case.start_normal())


@pytest.mark.parametrize("point", ALONE + slow(LESS_ALONE))
def test_killed_and_started_again_while_the_server_is_down(point, case):
    command = case.house.scan(case.target)
    case.die_at(point)
    case.house.server.crash()

    agent = case.start_normal()
    wait_for(lambda: "cannot be reached" in agent.text(), f"it looks for it: {agent.text()}")
    wait_for(lambda: not any(map(alive, case.pids())), "nothing of the tool is left meanwhile")
    case.house.start_server()

    case.check_ledger(command, agent)
