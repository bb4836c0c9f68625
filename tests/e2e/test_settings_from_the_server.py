"""`config_update` on a running agent: in force without a restart, or not at all."""

import json
import subprocess  # noqa: TID251 - the command line is tested too

import pytest
from house import BIN, wait_for
from stub_scanner import behave
from tcp_proxy import Proxy, reply

ALLOWED = ["agent.max_concurrent", "agent.heartbeat_interval", "agent.verbose", "scanners"]


@pytest.fixture
def apps(tmp_path):
    """Three directories whose scans wait for a gate."""
    found = [tmp_path / f"app{number}" for number in range(3)]
    for app in found:
        behave(app, gate=str(tmp_path / "gate"))
    return found


def update(house, **data):
    return house.outcome(house.command("config_update", payload={"config_data": data}))


def changed(done):
    assert done["status"] == "completed", done
    names = done["result"]["metadata"]["changed"]
    return {change["name"]: (change["old"], change["new"]) for change in names}


def running(house, commands):
    return sum(house.get(command)["status"] == "running" for command in commands)


def test_good_then_broken_then_back(house, stub_env, apps, tmp_path):
    security = {"remote_config": ALLOWED, "allowed_targets": [str(app) for app in apps]}
    agent = house.start_agent(
        env=stub_env, security=security, agent={"max_concurrent": 1, "heartbeat_interval": "300s"}
    )
    scans = [house.scan(app) for app in apps]
    wait_for(lambda: running(house, scans) == 1, f"one runs:\n{house.logs()}")

    # Good: in force at once, in an agent that goes on with what it does.
    good = {"max_concurrent": 3, "heartbeat_interval": "1s", "verbose": True}
    assert changed(update(house, agent=good)) == {
        "agent.max_concurrent": (1, 3),
        "agent.heartbeat_interval": ("5m", "1s"),
        "agent.verbose": (False, True),
    }
    wait_for(lambda: running(house, scans) == 3, f"three run:\n{house.logs()}")

    # The same again: nothing to try.
    assert changed(update(house, agent=good)) == {}

    # Broken: named, and nothing of it is in force.
    for data, sentence in (
        ({"agent": {"verbose": False, "max_concurrent": 0}}, "agent.max_concurrent"),
        ({"agent": {"verbose": False, "drain_seconds": 1}}, "security.remote_config"),
        ({"targets": ["/"]}, "no server may change targets"),
        ({"scanners": [{"name": "stub", "binary": "/bin/sh"}]}, "the program of 'stub'"),
    ):
        done = update(house, **data)
        assert done["status"] == "failed"
        assert done["result"]["metadata"]["reason"] == "invalid_payload"
        assert sentence in done["error_message"]
    assert shown(house)["agent"]["verbose"] is True

    # Back, to what the operator has written.
    assert changed(update(house, agent={"max_concurrent": None, "verbose": None})) == {
        "agent.max_concurrent": (3, 1),
        "agent.verbose": (True, False),
    }
    (tmp_path / "gate").touch()
    assert [house.outcome(scan)["status"] for scan in scans] == ["completed"] * 3

    # It outlives the agent, and goes at its operator's word.
    assert agent.stop() == 0
    assert shown(house)["agent"]["heartbeat_interval"] == "1s"
    assert '(without it: "5m")' in said(house, "show")
    assert "is forgotten" in said(house, "reset")
    assert shown(house)["agent"]["heartbeat_interval"] == "5m"


def said(house, *arguments):
    config = next(house.directory.glob("agent-*.yaml"))
    done = subprocess.run(
        [BIN / "rediver-agent", "config", *arguments, "--config", config],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown(house):
    return json.loads(said(house, "show", "--json"))


class NoHeartbeats(Proxy):
    """A network in which heartbeats are refused, once `deaf` is set."""

    deaf = False

    def _instead(self, data):
        if self.deaf and b"/ingest/heartbeat" in data:
            return reply("503 Service Unavailable")
        return super()._instead(data)


def test_an_agent_that_is_killed_on_trial_comes_back_with_what_was_before(house, stub_env):
    network = NoHeartbeats(house.port)
    try:
        settings = {
            "server": {"base_url": f"http://127.0.0.1:{network.port}"},
            "security": {"remote_config": ["agent.max_concurrent"]},
        }
        agent = house.start_agent(env=stub_env, **settings)
        assert changed(update(house, agent={"max_concurrent": 5}))
        network.deaf = True
        data = {"config_data": {"agent": {"max_concurrent": 9}}}
        command = house.command("config_update", payload=data)
        wait_for(lambda: "version 2 of the server's settings is on trial" in agent.text(), "trial")
        agent.crash()

        assert shown(house)["agent"]["max_concurrent"] == 5
        network.deaf = False
        after = house.start_agent(env=stub_env, **settings)
        done = house.outcome(command)  # its second attempt; the first was answered for
    finally:
        network.close()
    assert "version 1 is in force again" in after.text()
    assert done["attempt"] == 2
    assert changed(done) == {"agent.max_concurrent": (5, 9)}
    assert done["result"]["metadata"]["version"] == 3
