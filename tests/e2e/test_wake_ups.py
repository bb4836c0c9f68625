"""An agent is woken by its server's socket, and does without where there is none.

Where the poll interval is 300 s, only the socket can have brought what comes within the minute
that a test waits; where the socket is dead, only the poll can.
"""

import signal

import pytest
from house import House, alive, wait_for
from stub_scanner import behave
from tcp_proxy import Proxy, reply

pytestmark = pytest.mark.xdist_group("wake-ups")
AWAY = "not woken by the server, polling goes on"
OPEN = "the server wakes this agent by a WebSocket"
PATIENT = {"command_poll_interval": "300s", "heartbeat_interval": "300s"}
SLOW = {"REDIVER_SERVER_POLL_INTERVAL_SECONDS": "300"}


def pids(log):
    return [int(line) for line in log.read_text().split()] if log.exists() else []


class Behind:
    """A house whose agents reach it through a network that can be broken."""

    def __init__(self, directory, stub_env, server_env=None):
        self.house = House(directory)
        self.house.start_server(server_env)
        self.network = Proxy(self.house.port)
        self.stub_env = stub_env
        self.root = directory
        self.agents = []
        self.targets = 0

    def start_agent(self, env=None, agent=None, **server):
        started = self.house.start_agent(
            self.root, state=f"state-{len(self.agents)}", env={**self.stub_env, **(env or {})},
            agent=agent or {},
            server={"base_url": f"http://127.0.0.1:{self.network.port}", **server},
        )  # fmt: skip
        self.agents.append(started)
        return started

    def claims(self):
        return sum("/commands/claim" in line for line in self.network.requests)

    def scan(self, **how):
        """A command for a target of its own. Returns its id, and where its tools are listed."""
        self.targets += 1
        target = self.root / f"app-{self.targets}"
        log = behave(target, **how)
        return self.house.scan(target), log

    def close(self):
        self.house.close()
        self.network.close()


@pytest.fixture(scope="module")
def one_server(tmp_path_factory, stub_env):
    behind = Behind(tmp_path_factory.mktemp("house"), stub_env)
    yield behind
    behind.close()


@pytest.fixture
def behind(one_server):
    yield one_server
    for agent in one_server.agents:
        agent.stop(signal.SIGKILL)
    one_server.network.heal()
    one_server.network.requests.clear()


@pytest.fixture(scope="module")
def patient(tmp_path_factory, stub_env):
    """An agent and a server that poll every 300 s; the socket is open, and nobody polls."""
    behind = Behind(tmp_path_factory.mktemp("patient"), stub_env, SLOW)
    behind.agent = behind.start_agent(agent=PATIENT)
    wait_for(lambda: OPEN in behind.agent.text(), "the socket is open")
    wait_for(lambda: behind.claims() == 2, "it has polled: on start, and for what was missed")
    yield behind
    behind.close()


def test_nudges_bring_a_command_and_its_cancel_while_nobody_polls(patient, tmp_path):
    house, gate = patient.house, tmp_path / "gate"
    command, log = patient.scan(gate=str(gate))
    house.running(command)
    wait_for(lambda: pids(log), "the tool runs")

    house.call("DELETE", f"/api/v1/commands/{command}")

    assert house.outcome(command)["status"] == "cancelled"
    assert f"{command}: cancelled by the server's socket" in patient.agent.text()
    assert not any(alive(pid) for pid in pids(log))


def test_what_was_missed_while_the_socket_was_dead_is_asked_for_when_it_is_open_again(patient):
    asked = patient.network.upgrades
    patient.network.freeze_open()
    command, _ = patient.scan()

    patient.network.refuse()  # now both sides know
    patient.network.listen()

    done = patient.house.outcome(command)
    assert (done["status"], done["attempt"]) == ("completed", 1)
    assert patient.network.upgrades > asked


def test_after_a_restart_of_the_server_its_socket_wakes_the_agent_again(patient):
    opened, away = patient.agent.text().count(OPEN), patient.agent.text().count(AWAY)
    patient.house.server.stop()
    wait_for(lambda: patient.agent.text().count(AWAY) > away, "the agent notices")
    patient.house.start_server(SLOW)
    wait_for(lambda: patient.agent.text().count(OPEN) > opened, "the socket is open again")

    command, _ = patient.scan()
    assert patient.house.outcome(command)["status"] == "completed"
    assert patient.agent.process.poll() is None


def test_a_dead_socket_costs_latency_and_no_work(behind):
    agent = behind.start_agent(timeout="1s")
    wait_for(lambda: OPEN in agent.text(), "the socket is open")
    behind.network.freeze_open()

    command, _ = behind.scan()
    assert behind.house.outcome(command)["status"] == "completed"
    assert behind.network.upgrades == 1, "it does not even know"


def test_a_proxy_that_lets_no_upgrade_through_is_said_once_and_polling_does_the_work(behind):
    behind.network.no_upgrade = reply("426 Upgrade Required")
    agent = behind.start_agent()

    for _ in range(2):
        command, _ = behind.scan()
        assert behind.house.outcome(command)["status"] == "completed"

    assert agent.text().count(AWAY) == 1
    assert "answered 426" in agent.text()
    assert behind.network.upgrades == 1


def test_an_agent_without_the_library_says_so_and_polls(behind, tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(
        "import sys; sys.modules['wsproto'] = None"
    )
    path = f"{tmp_path / 'without'}:{behind.stub_env['PYTHONPATH']}"
    agent = behind.start_agent(env={"PYTHONPATH": path})

    command, _ = behind.scan()
    assert behind.house.outcome(command)["status"] == "completed"
    assert agent.text().count("rediver-agent[websocket]") == 1
    assert behind.network.upgrades == 0
