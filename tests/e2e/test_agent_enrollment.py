"""A machine enrolls itself and takes commands; its key is rotated while it runs."""

import json
import os
import stat
import subprocess  # noqa: TID251 - the command line is what is tested

import pytest
from house import BIN, House, Program, wait_for
from tcp_proxy import Proxy


class Machine:
    """A machine with nothing but the agent on it."""

    def __init__(self, house, directory):
        self.house, self.directory = house, directory
        self.state = directory / "machine"
        self.credentials = self.state / "credentials.json"

    def env(self, **more):
        return {"PATH": os.environ["PATH"], "REDIVER_STATE_DIR": str(self.state), **more}

    def token(self, **wanted):
        return self.house.call("POST", "/api/v1/enrollment-tokens", wanted)[1]["token"]

    def enroll(self, *arguments, port=None, **env):
        """Exit code and everything that was said."""
        url = f"http://127.0.0.1:{port or self.house.port}"
        done = subprocess.run(
            [BIN / "rediver-agent", "enroll", "--server", url, *map(str, arguments)],
            env=self.env(**env), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def run(self, **env):
        log = self.directory / f"agent-{len(self.house.programs)}.log"
        polling = {"REDIVER_AGENT__ENABLE_COMMAND_POLLING": "true"}
        agent = Program(log, str(BIN / "rediver-agent"), "run", env=self.env(**polling, **env))
        self.house.programs.append(agent)
        return agent

    def health(self, source):
        body = {"type": "health_check", "payload": {}, "source_id": source}
        status, command = self.house.call("POST", "/api/v1/commands", body)
        assert status == 201, command
        return self.house.outcome(command["id"])

    def tokens(self):
        listed = self.house.call("GET", "/api/v1/enrollment-tokens")[1]["enrollment_tokens"]
        return {item["token_prefix"]: item["uses"] for item in listed}


@pytest.fixture(scope="module")
def shared_house(tmp_path_factory):
    """One server for all the machines."""
    house = House(tmp_path_factory.mktemp("house"))
    house.start_server()
    yield house
    house.close()


@pytest.fixture
def machine(shared_house, tmp_path):
    return Machine(shared_house, tmp_path)


def test_a_machine_enrolls_and_runs_with_nothing_else_configured(machine, tmp_path):
    token = machine.token()
    (tmp_path / "token").write_text(f"{token}\n")
    code, said = machine.enroll("--token-file", tmp_path / "token", "--name", "build-7")

    assert code == 0, said
    known = json.loads(machine.credentials.read_text())
    assert known["name"] == "build-7"
    assert known["source_id"] in said
    assert token not in said
    assert known["api_key"] not in said
    assert token not in machine.credentials.read_text()
    assert stat.S_IMODE(machine.credentials.stat().st_mode) == 0o600
    assert stat.S_IMODE(machine.state.stat().st_mode) == 0o700
    assert [path.name for path in machine.state.iterdir()] == ["credentials.json"]

    agent = machine.run(REDIVER_AGENT__HEARTBEAT_INTERVAL="1s")
    assert machine.health(known["source_id"])["status"] == "completed"
    assert agent.stop() == 0
    assert known["api_key"] not in agent.text()


def test_a_token_is_not_spent_where_it_would_be_in_vain(machine, tmp_path):
    assert machine.enroll("--token", machine.token())[0] == 0
    before = machine.credentials.read_text()
    token = machine.token()

    code, said = machine.enroll("--token", token)
    assert (code, "--force" in said) == (2, True), said
    (tmp_path / "agent.yaml").write_text("server: {base_url: 'https://rediver.example.com'}\n")
    code, said = machine.enroll("--force", "--token", token, "--config", tmp_path / "agent.yaml")
    assert (code, "names another server" in said) == (2, True), said
    code, said = machine.enroll("--force", "--token", token, REDIVER_SERVER__API_KEY="rs_src_x")
    assert (code, "server.api_key" in said) == (2, True), said
    assert machine.credentials.read_text() == before
    assert machine.tokens()[token[:14]] == 0

    assert machine.enroll("--force", "--token", token)[0] == 0
    assert machine.credentials.read_text() != before


def test_a_spent_token_is_a_sentence_that_says_what_to_do(machine):
    token = machine.token()
    assert machine.enroll(REDIVER_ENROLLMENT_TOKEN=token)[0] == 0
    code, said = machine.enroll("--force", REDIVER_ENROLLMENT_TOKEN=token)

    assert code == 2
    assert "spent, expired or wrong; ask an admin for a new one" in said
    assert token not in said
    assert machine.enroll()[0] == 2  # no token at all
    assert "https" in machine.enroll("--force", "--server", "http://192.0.2.1", "--token", token)[1]


@pytest.mark.parametrize(
    ("uses", "sentence"),
    [(2, "was made by this key, and its secret is shown once only"), (1, "now the token is spent")],
)
def test_a_lost_answer_makes_no_second_source_and_says_what_happened(machine, uses, sentence):
    house, network, name = machine.house, Proxy(machine.house.port), f"lost-{uses}"
    try:
        network.cut_reply_after = 10
        url, log = f"http://127.0.0.1:{network.port}", machine.directory / "enroll.log"
        env = machine.env(
            REDIVER_ENROLLMENT_TOKEN=machine.token(max_uses=uses), REDIVER_SERVER__MAX_RETRIES="20"
        )
        enroll = Program(
            log, str(BIN / "rediver-agent"), "enroll", "--server", url, "--name", name, env=env
        )
        house.programs.append(enroll)
        wait_for(lambda: any(s["name"] == name for s in sources(house)), "it is enrolled")
        wait_for(lambda: len(network.requests) > 1, "it asks again, for the answer was lost")
        network.heal()
        code = enroll.process.wait(60)
    finally:
        network.close()

    assert code == 2
    assert sentence in enroll.text()
    assert not machine.credentials.exists()
    assert [s["name"] for s in sources(house)].count(name) == 1


def sources(house):
    return house.call("GET", "/api/v1/sources")[1]["sources"]


def test_a_key_is_rotated_under_a_running_agent(house, stub_env, tmp_path):
    old, file = house.source["api_key"], tmp_path / "key"
    file.write_text(old)
    agent = house.start_agent(
        tmp_path, env=stub_env, server={"api_key": None, "api_key_file": str(file)}
    )
    assert house.outcome(house.command("health_check", payload={}))["status"] == "completed"
    path = f"/api/v1/sources/{house.source['id']}"
    (first,) = house.call("GET", path)[1]["keys"]
    new = house.call("POST", f"{path}/keys", {})[1]["api_key"]

    file.write_text("")  # half-written: the last good key stays
    wait_for(lambda: "it is empty; the last good key is used on" in agent.text(), "it says so")
    assert house.outcome(house.command("health_check", payload={}))["status"] == "completed"
    (tmp_path / "new").write_text(f"{new}\n")
    (tmp_path / "new").replace(file)
    wait_for(lambda: "there is a new key" in agent.text(), "it takes the new one")
    assert house.call("DELETE", f"{path}/keys/{first['id']}")[0] == 204
    assert house.call("GET", "/api/v1/commands", key=old)[0] == 401

    assert house.outcome(house.command("health_check", payload={}))["status"] == "completed"
    opened = "the server wakes this agent by a WebSocket"
    wait_for(lambda: agent.text().count(opened) == 2, "its socket is open again, by the new key")
    assert agent.stop() == 0
    assert agent.text().count("it is empty") == 1
    assert old not in agent.text()
    assert new not in agent.text()
