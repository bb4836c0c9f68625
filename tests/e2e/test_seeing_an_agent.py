"""What a running agent shows: `rediver-agent status`, its log, its metrics, and to systemd."""

import json
import os
import re
import signal
import socket
import sqlite3
import struct
import subprocess  # noqa: TID251 - the command line is what is looked at
import urllib.request
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from house import BIN, House, Program, wait_for
from stub_scanner import behave

from rediver_agent.cli.status import standing_of
from rediver_agent.settings_file import load
from rediver_agent.state_dir import StateLock


class Systemd:
    """The socket that a service manager listens at."""

    def __init__(self, path):
        self.path = path
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.door.bind(str(path))
        self.door.settimeout(0.5)

    def environment(self, watchdog_seconds):
        return {
            "NOTIFY_SOCKET": str(self.path),
            "WATCHDOG_USEC": str(round(watchdog_seconds * 1_000_000)),
        }

    def hears(self):
        """The next message; None if there is none for half a second."""
        try:
            return self.door.recv(4096).decode()
        except TimeoutError:
            return None

    def hears_until(self, wanted):
        """Everything up to the message that is waited for."""
        said = []
        wait_for(lambda: said.append(self.hears()) or said[-1] == wanted, f"{wanted} in {said}")
        return [message for message in said if message]


@pytest.fixture
def systemd(tmp_path):
    manager = Systemd(tmp_path / "notify")
    with closing(manager.door):
        yield manager


@pytest.fixture
def alone(tmp_path):
    """A house without a server, for agents that need none."""
    house = House(tmp_path)
    yield house
    house.close()


def free_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return listener.getsockname()[1]


def asked(config, *arguments, env=None):
    """Exit code and what `rediver-agent status` prints."""
    done = subprocess.run(
        [BIN / "rediver-agent", "status", *arguments, "--config", config],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def written(directory):
    """What the agent has written last, as it stands in the file."""
    file = directory / "state" / "status.json"
    return file.read_text() if file.exists() else ""


def standalone(house, target, env, **settings):
    """An agent that scans by itself, and its configuration."""
    agent = house.start_agent(
        agent={"enable_command_polling": False, **settings.pop("agent", {})},
        server={"base_url": None, "api_key": None, "source_id": None},
        targets=[str(target)], scanners=[{"name": "stub"}], env=env, **settings,
    )  # fmt: skip
    return agent, house.directory / f"agent-{len(house.programs) - 1}.yaml"


def test_an_agent_at_work_is_seen_by_its_operator_by_prometheus_and_by_systemd(
    house, stub_env, tmp_path, systemd
):
    app, gate, port = tmp_path / "app", tmp_path / "gate", free_port()
    behave(
        app, gate=str(gate),
        script=f"import os; open({str(tmp_path / 'env')!r}, 'w').write(repr(dict(os.environ)))",
    )  # fmt: skip
    env = {**stub_env, **systemd.environment(watchdog_seconds=1)}
    agent = house.start_agent(app, env=env, agent={"log_format": "json", "metrics_port": port})
    config = tmp_path / "agent-0.yaml"

    said = systemd.hears_until("READY=1")
    assert "WATCHDOG=1" in said + systemd.hears_until("WATCHDOG=1")

    command = house.scan(app, report_progress=True)
    house.running(command)
    wait_for(lambda: command in written(tmp_path), "the command is in the file")
    code, table = asked(config)
    assert code == 0
    assert f"process {agent.process.pid}" in table
    assert f"scan stub {app}" in table
    assert "10 % starting" in table
    assert "1 of 2 busy" in table
    assert "rs_src_" not in table
    assert "NOTIFY_SOCKET" not in wait_for(
        lambda: (tmp_path / "env").exists() and (tmp_path / "env").read_text(), "the tool's own"
    )

    breaks_off(port)
    numbers = metrics(port)
    assert numbers["rediver_agent_slots_busy"] == 1
    assert numbers['rediver_agent_polls_total{result="good"}'] >= 1
    assert numbers["rediver_agent_last_successful_poll_timestamp_seconds"] > 1.7e9
    gate.touch()
    house.outcome(command)
    counts_the_scan_as_its_page_says(port)
    only_on_loopback(port)

    gives_no_sign_while_it_stands_still(agent, systemd)
    agent.process.send_signal(signal.SIGTERM)
    systemd.hears_until("STOPPING=1")
    assert agent.process.wait(60) == 0
    code, table = asked(config)
    assert code == 1
    assert "not running" in table
    assert "stopped" in table
    lines = [json.loads(line) for line in agent.text().splitlines()]
    assert {line["command_id"] for line in lines if command in line["message"]} == {command}


def gives_no_sign_while_it_stands_still(agent, systemd):
    """As when its event loop hangs."""
    agent.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: systemd.hears() is None, "no more signs of life")
    assert systemd.hears() is None
    agent.process.send_signal(signal.SIGCONT)
    systemd.hears_until("WATCHDOG=1")


def counts_the_scan_as_its_page_says(port):
    over = 'rediver_agent_commands_total{status="completed",type="scan"}'
    wait_for(lambda: metrics(port).get(over) == 1, "the scan is counted")
    assert {series.partition("{")[0] for series in metrics(port)} == of_the_page()


def of_the_page():
    """The agent's series, as the reference page has them."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
    return set(re.findall(r"^\| `(rediver_agent_\w+)", page.read_text(), re.MULTILINE))


def metrics(port):
    """Series and values."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    return {
        series: float(value)
        for series, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def breaks_off(port):
    """As a scraper that is killed; a line of the log that is no JSON would show at the end."""
    with socket.create_connection(("127.0.0.1", port)) as scraper:
        scraper.sendall(b"GET /metr")
        scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def only_on_loopback(port):
    """Another address of this machine could listen at the port, so nobody does."""
    with closing(socket.create_server(("127.0.0.2", port))):
        pass


def test_a_killed_agent_does_not_look_alive(alone, stub_env, tmp_path):
    behave(tmp_path / "app", gate=str(tmp_path / "never"))
    agent, config = standalone(alone, tmp_path / "app", stub_env)
    wait_for(lambda: '"name": "stub"' in written(tmp_path), "it scans")
    code, said = asked(config, "--json")
    document = json.loads(said)
    assert code == 0
    assert (document["state"], document["pid"]) == ("running", agent.process.pid)
    assert document["facts"]["mode"] == "standalone"
    assert (tmp_path / "state" / "status.json").stat().st_mode & 0o777 == 0o600

    # One that lives and has written nothing for long is no agent that works.
    later = datetime.now(UTC) + timedelta(minutes=2)
    assert standing_of(load(config), later).state == "silent"
    assert standing_of(load(config), datetime.now(UTC)).state == "running"

    agent.crash()
    code, said = asked(config)
    assert code == 1
    assert "ended without a word; last seen" in said
    assert json.loads(asked(config, "--json")[1])["pid"] is None


NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
ORPHANS = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(0.2)
    os._exit(0)
os.wait()
"""


@pytest.mark.slow
def test_an_agent_as_process_1_of_a_container_drains_and_collects_orphans(
    alone, stub_env, tmp_path
):
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this user may make no process namespace")
    behave(tmp_path / "app", script=ORPHANS)
    config = alone.agent_config(
        agent={"enable_command_polling": False, "scan_interval": "1s"},
        server={"base_url": None, "api_key": None, "source_id": None},
        targets=[str(tmp_path / "app")], scanners=[{"name": "stub"}],
    )  # fmt: skip
    run = (*NAMESPACE, str(BIN / "rediver-agent"), "run", "--config", str(config))
    alone.programs.append(agent := Program(tmp_path / "agent.log", *run, env=stub_env))
    wait_for(lambda: written(tmp_path).count('"findings": 2') > 2, "it scans")

    pid = json.loads(asked(config, "--json")[1])["pid"]
    assert json.loads(written(tmp_path))["pid"] == 1
    assert asked(config)[0] == 0
    wait_for(lambda: not Path(f"/proc/{pid}/task/{pid}/children").read_text(), "none is left")
    os.kill(pid, signal.SIGTERM)
    assert agent.process.wait(60) == 0
    assert "draining" in agent.text()


def test_local_runs_are_shown_with_what_they_found_and_why_they_failed(alone, stub_env, tmp_path):
    behave(tmp_path / "app", findings=3)
    agent, config = standalone(alone, tmp_path / "app", stub_env, agent={"scan_interval": "1s"})
    wait_for(lambda: '"findings": 3' in written(tmp_path), "the first run is kept")
    behave(tmp_path / "app", exit=3)
    wait_for(lambda: '"failed", "findings": null' in written(tmp_path), "the failed one is too")
    code, said = asked(config)

    assert code == 0
    assert "next scan" in said
    assert "3 findings" in said
    assert "stub-tool ended with exit code 3" in said

    # Whoever only looks on is not ended by what he sees.
    with closing(sqlite3.connect(tmp_path / "state" / "spool.sqlite3")) as spool, spool:
        spool.execute("UPDATE local_runs SET result = '{' WHERE finished_at IS NOT NULL")
    wait_for(lambda: "holds what no agent has written" in written(tmp_path), "it is said")
    assert asked(config)[0] == 0
    assert agent.stop() == 0


def test_an_agent_that_nohup_has_started_outlives_its_terminal(alone, stub_env, tmp_path):
    behave(tmp_path / "app")
    config = alone.agent_config(
        agent={"enable_command_polling": False}, targets=[str(tmp_path / "app")],
        server={"base_url": None, "api_key": None, "source_id": None},
    )  # fmt: skip
    command = ("nohup", str(BIN / "rediver-agent"), "run", "--config", str(config))
    agent = Program(tmp_path / "log", *command, env=stub_env)
    alone.programs.append(agent)
    wait_for(lambda: '"name": "test-agent"' in written(tmp_path), "it runs")
    agent.process.send_signal(signal.SIGHUP)
    assert agent.stop() == 0
    assert agent.text().count("draining") == 1


@pytest.mark.parametrize(
    "content",
    ["{", "[" * 100_000, '{"written_at": "x"}', '{"written_at": "2026-01-01T00:00:00"}', None],
)
def test_a_status_file_that_no_agent_wrote_is_as_good_as_none(tmp_path, content):
    config, file = tmp_path / "agent.yaml", tmp_path / "state" / "status.json"
    config.write_text(f"state_dir: {tmp_path / 'state'}\n")
    file.parent.mkdir(mode=0o700)
    os.mkfifo(file) if content is None else file.write_text(content)
    with StateLock(file.parent):
        standing = standing_of(load(config), datetime.now(UTC))
    assert (standing.state, standing.pid) == ("starting", os.getpid())


def test_a_state_directory_that_no_agent_has_used_is_left_alone(tmp_path):
    config = tmp_path / "agent.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\n")
    code, said = asked(config)

    assert code == 1
    assert "never was" in said
    assert not (tmp_path / "state").exists()


def test_a_metrics_port_that_is_taken_is_said_before_anything_begins(alone, stub_env, tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        agent, _ = standalone(alone, tmp_path, stub_env, agent={"metrics_port": port})
        assert agent.process.wait(60) == 2

    assert f"agent.metrics_port {port} cannot be had" in agent.text()
    assert "Traceback" not in agent.text()


def test_metrics_without_their_library_name_the_extra(tmp_path):
    config = tmp_path / "agent.yaml"
    config.write_text(
        f"agent: {{metrics_port: 9}}\ntargets: [{tmp_path}]\nstate_dir: {tmp_path / 'state'}\n"
    )
    without = "import sys; sys.modules['prometheus_client'] = None"
    run = f"{without}; sys.argv[1:] = ['run', '--config', {str(config)!r}]"
    program = f"{run}; from rediver_agent.cli import main; main()"
    done = subprocess.run(
        [BIN / "python", "-c", program], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 2
    assert "install rediver-agent[metrics]" in done.stderr
