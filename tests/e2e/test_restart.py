"""`restart`: opted into, after what runs, in the same process, answered by who has started."""

import signal
from pathlib import Path

import pytest
from house import alive, wait_for
from stub_scanner import behave

TYPES = ["scan", "health_check", "restart"]


@pytest.fixture
def app(tmp_path):
    return tmp_path / "app"


@pytest.fixture
def agent(house, app, stub_env):
    """An agent that may be restarted."""
    security = {"allowed_command_types": TYPES, "allowed_targets": [str(app)]}
    return house.start_agent(env=stub_env, security=security)


def restart(house, seconds=60):
    return house.command("restart", payload={"grace_period_seconds": seconds})


def test_a_restart_finishes_what_runs_and_keeps_process_arguments_and_environment(
    house, agent, app, tmp_path
):
    behave(app, gate=str(tmp_path / "gate"), findings=3)
    scan = house.scan(app)
    house.running(scan)
    pid = agent.process.pid
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    first, second = restart(house), restart(house)
    wait_for(lambda: house.get(first)["status"] != "pending", "it is claimed")
    (tmp_path / "gate").touch()

    assert house.outcome(scan)["result"]["findings_count"] == 3
    for command in (first, second):
        done = house.outcome(command)
        assert done["status"] == "completed", done
        assert done["result"]["metadata"]["restarted"] is True
    assert house.get(scan)["attempt"] == 1
    assert alive(pid)
    assert f"{first}: restarted" in agent.text()  # said by who has started
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == arguments

    (config,) = house.directory.glob("agent-*.yaml")
    config.write_text("agent: [")  # it would not start again, so it goes on as it is
    done = house.outcome(restart(house))
    assert (done["status"], done["result"]["metadata"]["reason"]) == ("failed", "config_rejected")
    assert house.outcome(house.command("health_check", payload={}))["status"] == "completed"
    assert agent.stop() == 0


def test_what_is_not_done_within_the_grace_period_is_ended_and_may_be_run_again(
    house, agent, app, tmp_path
):
    pids = behave(app, gate=str(tmp_path / "gate"))
    scan = house.scan(app)
    wait_for(lambda: pids.exists() and pids.read_text(), "its tool runs")
    tool = int(pids.read_text().split()[0])
    done = house.outcome(restart(house, seconds=0))

    assert done["status"] == "completed", done
    assert not alive(tool)
    (tmp_path / "gate").touch()
    assert house.outcome(scan)["status"] == "completed"  # the second attempt, by the new one
    assert house.get(scan)["attempt"] == 2


def test_a_stop_while_it_waits_wins_and_the_restart_is_not_called_done(house, agent, app, tmp_path):
    behave(app, gate=str(tmp_path / "gate"))
    scan = house.scan(app)
    house.running(scan)
    command = restart(house, seconds=600)
    wait_for(lambda: house.get(command)["status"] != "pending", "it is claimed")
    agent.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "a second signal cancels" in agent.text(), "it has heard the signal")
    (tmp_path / "gate").touch()

    assert agent.process.wait(60) == 0
    done = house.outcome(command)
    assert (done["status"], done["result"]["metadata"]["reason"]) == ("failed", "agent_stopped")
    assert house.outcome(scan)["status"] == "completed"


def test_a_restart_that_was_not_opted_into_is_refused(house, stub_env, tmp_path):
    agent = house.start_agent(tmp_path, env=stub_env)
    done = house.outcome(restart(house))

    assert (done["status"], done["result"]["metadata"]["reason"]) == ("failed", "type_not_allowed")
    assert "restart" in done["error_message"]
    assert alive(agent.process.pid)
