"""What an agent has to say survives its own death and the server's, and is counted once."""

import shutil
import signal
import sqlite3

from house import alive, wait_for
from stub_scanner import behave


def pids(log):
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def spooled(state, kind="result"):
    """How many rows of a kind wait in an agent's spool."""
    with sqlite3.connect(f"file:{state}/spool.sqlite3?mode=ro", uri=True) as spool:
        query = "SELECT count(*) FROM outbox WHERE ready AND kind = ?"
        count = spool.execute(query, (kind,)).fetchone()[0]
    spool.close()
    return count


def scanned_while_the_server_was_down(own_house, stub_env, tmp_path, findings=3):
    """A finished scan in the spool of a running agent whose server has been killed."""
    app = tmp_path / "app"
    log = behave(app, gate=str(tmp_path / "gate"), findings=findings)
    agent = own_house.start_agent(app, env=stub_env)
    command = own_house.scan(app)
    wait_for(lambda: pids(log), "the tool runs")
    own_house.running(command)
    own_house.server.crash()
    (tmp_path / "gate").touch()
    wait_for(lambda: spooled(tmp_path / "state"), "the result is in the spool")
    return agent, command


def test_a_killed_agent_and_a_dead_server_lose_nothing_between_scan_and_delivery(
    own_house, stub_env, tmp_path
):
    agent, command = scanned_while_the_server_was_down(own_house, stub_env, tmp_path)
    agent.stop(signal.SIGKILL)
    assert spooled(tmp_path / "state", "findings") == 1

    own_house.start_server()
    own_house.start_agent(tmp_path / "app", env=stub_env)
    done = own_house.outcome(command)

    assert done["status"] == "completed", done
    assert done["result"]["findings_count"] == 3
    assert done["attempt"] == 1
    assert len(pids(tmp_path / "app.pids")) == 1, "the scan was not run again"
    assert len(own_house.findings()) == 3
    wait_for(lambda: not spooled(tmp_path / "state"), "the spool is empty")


def test_what_is_sent_twice_is_counted_once(own_house, stub_env, tmp_path):
    agent, command = scanned_while_the_server_was_down(own_house, stub_env, tmp_path)
    agent.stop(signal.SIGKILL)
    shutil.copytree(tmp_path / "state", tmp_path / "twin")  # as if the reply had been lost
    own_house.start_server()
    first = own_house.start_agent(tmp_path / "app", env=stub_env)
    own_house.outcome(command)
    wait_for(lambda: not spooled(tmp_path / "state"), "the first has delivered")
    before = own_house.findings()
    first.stop()

    own_house.start_agent(tmp_path / "app", env=stub_env, state="twin")
    wait_for(lambda: not spooled(tmp_path / "twin"), "the twin has delivered, too")

    after = own_house.findings()
    assert [item["occurrence_count"] for item in after] == [1, 1, 1]
    assert {item["id"] for item in after} == {item["id"] for item in before}
    _, events = own_house.call("GET", f"/api/v1/commands/{command}/events")
    assert sum(event["to_status"] == "completed" for event in events["events"]) == 1


def test_an_agent_killed_in_the_middle_of_a_scan_leaves_no_tool_and_is_answered_for(
    house, stub_env, tmp_path
):
    log = behave(tmp_path / "app", gate=str(tmp_path / "gate"))
    agent = house.start_agent(tmp_path / "app", env=stub_env)
    command = house.scan(tmp_path / "app")
    house.running(command)
    wait_for(lambda: pids(log), "the tool runs")

    agent.stop(signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in pids(log)), "the tool is gone with its agent")
    (tmp_path / "gate").touch()
    house.start_agent(tmp_path / "app", env=stub_env)

    done = house.outcome(command)
    assert (done["status"], done["attempt"]) == ("completed", 2)
    _, events = house.call("GET", f"/api/v1/commands/{command}/events")
    assert any("agent_restarted" in str(event) for event in events["events"])


def test_a_server_that_is_away_does_not_stop_an_agent(own_house, stub_env, tmp_path):
    behave(tmp_path / "app")
    own_house.server.crash()
    agent = own_house.start_agent(tmp_path / "app", env=stub_env)
    wait_for(lambda: "cannot be reached" in agent.text(), "the agent notices")

    own_house.start_server()

    assert own_house.outcome(own_house.scan(tmp_path / "app"))["status"] == "completed"
    assert agent.process.poll() is None


def test_a_second_agent_on_the_same_state_directory_is_refused(house, stub_env, tmp_path):
    first = house.start_agent(env=stub_env)
    wait_for((tmp_path / "state" / "spool.sqlite3").exists, "the first runs")

    second = house.start_agent(env=stub_env)

    assert second.process.wait(60) == 2
    assert f"another agent (process {first.process.pid})" in second.text()
    assert "Traceback" not in second.text()


def test_a_wrong_key_is_said_and_loses_nothing(own_house, stub_env, tmp_path):
    agent, command = scanned_while_the_server_was_down(own_house, stub_env, tmp_path)
    agent.stop(signal.SIGKILL)
    own_house.start_server()
    wrong = own_house.start_agent(
        tmp_path / "app", env=stub_env, server={"api_key": "rs_src_wrong"}
    )
    wait_for(lambda: "check server.api_key" in wrong.text(), "the agent says what to do")
    wrong.stop()
    assert "rs_src_wrong" not in wrong.text()
    assert spooled(tmp_path / "state") == 1

    own_house.start_agent(tmp_path / "app", env=stub_env)

    assert own_house.outcome(command)["status"] == "completed"


def test_a_full_spool_fails_the_scan_that_does_not_fit_and_keeps_the_rest(
    house, stub_env, tmp_path
):
    behave(tmp_path / "small", findings=3)
    behave(tmp_path / "large", findings=20_000)
    house.start_agent(tmp_path, env=stub_env, retry_queue={"max_bytes": 1 << 20})

    large = house.outcome(house.scan(tmp_path / "large"))
    small = house.outcome(house.scan(tmp_path / "small"))

    assert (large["status"], large["result"]["metadata"]["reason"]) == ("failed", "disk_full")
    assert "the spool is full" in large["error_message"]
    assert small["status"] == "completed"
    assert len(house.findings()) == 3


def test_with_hardly_any_disk_left_nothing_new_is_claimed(house, stub_env, tmp_path):
    behave(tmp_path / "app")
    agent = house.start_agent(
        tmp_path / "app", env=stub_env, retry_queue={"min_free_bytes": 1 << 60}
    )
    command = house.scan(tmp_path / "app")

    wait_for(lambda: "the disk is nearly full" in agent.text(), "the agent says so")

    assert house.get(command)["status"] == "pending"


def test_a_claim_that_could_not_be_written_down_is_made_again(house, stub_env, tmp_path):
    """The server has given the command to this agent, whose disk then fails for a while."""
    behave(tmp_path / "app")
    agent = house.start_agent(tmp_path / "app", env=stub_env)
    first = house.scan(tmp_path / "app")
    assert house.outcome(first)["status"] == "completed"
    with sqlite3.connect(tmp_path / "state" / "spool.sqlite3") as spool:
        spool.execute(
            "CREATE TRIGGER bad BEFORE INSERT ON commands WHEN NEW.state = 'begun' "
            "BEGIN SELECT RAISE(ABORT, 'the disk fails'); END"
        )
    second = house.scan(tmp_path / "app")
    wait_for(lambda: "the disk fails" in agent.text(), "the agent cannot write its claim")

    with spool:
        spool.execute("DROP TRIGGER bad")
    spool.close()

    assert house.outcome(second)["status"] == "completed"
    assert house.get(second)["attempt"] == 1


def test_an_agent_outlives_the_absence_of_its_state_directory(house, stub_env, tmp_path):
    behave(tmp_path / "app")
    agent = house.start_agent(tmp_path / "app", env=stub_env)
    assert house.outcome(house.scan(tmp_path / "app"))["status"] == "completed"
    (tmp_path / "state").rename(tmp_path / "away")
    wait_for(lambda: "is state_dir still there" in agent.text(), "the agent says so")
    (tmp_path / "away").rename(tmp_path / "state")

    assert house.outcome(house.scan(tmp_path / "app"))["status"] == "completed"


def test_an_agent_starts_on_a_full_spool_and_makes_room_by_delivering(
    own_house, stub_env, tmp_path
):
    agent, command = scanned_while_the_server_was_down(own_house, stub_env, tmp_path)
    agent.stop(signal.SIGKILL)
    with sqlite3.connect(tmp_path / "state" / "spool.sqlite3") as spool:
        spool.execute("INSERT INTO commands VALUES ('cmd_begun', 1, 'begun', 0)")
        spool.execute(
            "CREATE TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    spool.close()

    own_house.start_server()
    own_house.start_agent(tmp_path / "app", env=stub_env)

    assert own_house.outcome(command)["status"] == "completed"


def test_findings_that_the_server_refuses_make_the_result_a_failure(own_house, stub_env, tmp_path):
    """A scan is not reported as complete to a server that does not have its findings."""
    agent, command = scanned_while_the_server_was_down(own_house, stub_env, tmp_path)
    agent.stop(signal.SIGKILL)
    with sqlite3.connect(tmp_path / "state" / "spool.sqlite3") as spool:  # as by a newer agent
        spool.execute("UPDATE outbox SET body = '[{\"type\": \"new\"}]' WHERE kind = 'findings'")
    spool.close()

    own_house.start_server()
    agent = own_house.start_agent(tmp_path / "app", env=stub_env)
    done = own_house.outcome(command)

    assert (done["status"], done["result"]["metadata"]["reason"]) == ("failed", "findings_rejected")
    assert "parked" in agent.text()
