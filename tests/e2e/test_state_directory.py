"""A state directory that is damaged, full, unusable or another's: said, and nothing lost."""

import ctypes
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess  # noqa: TID251 - the agent is started as a user would
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from house import BIN, Program, alive, wait_for
from stub_scanner import behave

AGENT = str(BIN / "rediver-agent")
PAGE = 4096
SETTINGS = """
agent: {{enable_command_polling: true}}
server: {{base_url: "http://127.0.0.1:9", api_key: rs_src_none}}
state_dir: "{state}"
"""


def pids(log):
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def break_an_index(spool):
    """Damage that costs no row: what an index knows is in its table, too."""
    with closing(sqlite3.connect(spool)) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'idx_outbox_due'"
        (page,) = db.execute(query).fetchone()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with spool.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xff" * PAGE)


def spooled(state):
    with closing(sqlite3.connect(f"file:{state}/spool.sqlite3?mode=ro", uri=True)) as db:
        return db.execute("SELECT count(*) FROM outbox WHERE ready").fetchone()[0]


def test_a_damaged_spool_is_set_aside_and_every_command_of_it_is_answered(
    own_house, stub_env, tmp_path
):
    """One scan was done and not delivered, one was running, when agent, server and file broke."""
    state = tmp_path / "state"
    done_log = behave(tmp_path / "done", gate=str(tmp_path / "gate-1"), findings=3)
    behave(tmp_path / "running", gate=str(tmp_path / "gate-2"), findings=4)
    agent = own_house.start_agent(tmp_path, env=stub_env)
    done, running = own_house.scan(tmp_path / "done"), own_house.scan(tmp_path / "running")
    own_house.running(done)
    own_house.running(running)
    own_house.server.crash()
    (tmp_path / "gate-1").touch()
    wait_for(lambda: spooled(state), "the first result waits")
    agent.stop(signal.SIGKILL)
    break_an_index(state / "spool.sqlite3")
    (tmp_path / "gate-2").touch()
    own_house.start_server()

    agent = own_house.start_agent(tmp_path, env=stub_env)
    first, second = own_house.outcome(done), own_house.outcome(running)
    health = own_house.outcome(own_house.command("health_check", payload={}))

    assert (first["status"], first["attempt"]) == ("completed", 1)
    assert len(pids(done_log)) == 1, "it was not run again"
    assert (second["status"], second["attempt"]) == ("completed", 2)
    _, events = own_house.call("GET", f"/api/v1/commands/{running}/events")
    assert "agent_restarted" in str(events)
    assert len(own_house.findings()) == 7
    (aside,) = state.glob("spool.corrupt-*.sqlite3")
    assert health["result"]["metadata"]["spool"]["moved_aside"] == [aside.name]
    assert f"is set aside as {aside.name}" in agent.text()
    assert "1 commands are reported as failed (agent_restarted), 2 rows" in agent.text()


@pytest.fixture
def config(tmp_path):
    """An agent that is never going to reach its server."""
    path = tmp_path / "agent.yaml"
    path.write_text(SETTINGS.format(state=tmp_path / "state"))
    (tmp_path / "state").mkdir(mode=0o700)
    return path


def say(config, *command, **how):
    """What a command says to people; every file of the state directory is as it was."""
    state = config.parent / "state"
    before = sorted((path.name, path.stat().st_size) for path in state.iterdir())
    done = subprocess.run(
        [AGENT, *command, "--config", config], capture_output=True, text=True, timeout=60, **how
    )
    after = sorted((path.name, path.stat().st_size) for path in state.iterdir())
    assert [item for item in after if item not in before and item[0] != "lock"] == []
    assert [item for item in before if item not in after] == []
    assert done.returncode == 2, done.stderr
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("rediver-agent: ")
    assert "fault of its own" not in sentence
    return sentence


@pytest.mark.parametrize("command", [["spool", "list"], ["spool", "retry"], ["reports", "list"]])
def test_a_one_shot_command_says_that_the_spool_is_damaged_and_leaves_it(command, config):
    (config.parent / "state" / "spool.sqlite3").write_bytes(b"no database" * 1000)

    sentence = say(config, *command)

    assert "is damaged (file is not a database)" in sentence
    assert "the agent sets it aside when it is started" in sentence


def test_a_scan_that_would_push_into_a_damaged_spool_says_so(config, stub_env):
    behave(config.parent / "app")
    (config.parent / "state" / "spool.sqlite3").write_bytes(b"no database" * 1000)

    sentence = say(config, "scan", str(config.parent / "app"), "--push", env=stub_env)

    assert "is damaged (file is not a database)" in sentence


def test_a_directory_in_the_place_of_the_spool_is_said_and_stays(config):
    (config.parent / "state" / "spool.sqlite3").mkdir()

    assert "spool.sqlite3 cannot be used: Is a directory" in say(config, "run")


def without_the_rights_of_root():
    """Rights of files bind root, too, in what is started from here; nobody else needs this."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.parametrize("name", ["spool.sqlite3", "lock"])
def test_a_file_that_may_not_be_read_is_said_and_stays(name, config):
    (config.parent / "state" / name).touch(mode=0)

    sentence = say(config, "run", preexec_fn=without_the_rights_of_root)

    assert f"{name} cannot be used: Permission denied" in sentence


def in_a_mount(*options):
    """The prefix of a command that has a file system of its own for its first argument."""
    prefix = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets no test mount a file system")
    return [*prefix, "sh", "-c", f'mount {" ".join(options)} "$0" && exec "$@"']


def test_a_read_only_file_system_is_said(config):
    state = config.parent / "state"
    (state / "spool.sqlite3").write_bytes(b"")
    prefix = in_a_mount("-t", "tmpfs", "-o", "ro,mode=700", "none")

    done = subprocess.run(
        [*prefix, str(state), AGENT, "run", "--config", config], capture_output=True, text=True
    )

    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert "cannot be used: Read-only file system" in sentence


def test_a_full_disk_loses_nothing_and_is_got_over_without_a_restart(own_house, stub_env, tmp_path):
    """On a file system of its own: one result waits, one scan cannot write what it found."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    for name, findings in (("old", 3), ("large", 8000), ("new", 1)):
        behave(tmp_path / name, gate=str(tmp_path / f"gate-{name}"), findings=findings)
    queue = {"min_free_bytes": 1 << 20}
    config = own_house.agent_config(tmp_path, retry_queue=queue)
    agent = Program(
        tmp_path / "agent.log", *in_a_mount("-t", "tmpfs", "-o", "size=16m,mode=700", "none"),
        str(state), AGENT, "run", "--config", str(config), env=stub_env,
    )  # fmt: skip
    own_house.programs.append(agent)
    inside = Path(f"/proc/{agent.process.pid}/root{state}")
    old, large = own_house.scan(tmp_path / "old"), own_house.scan(tmp_path / "large")
    own_house.running(old)
    own_house.running(large)
    own_house.server.crash()
    (tmp_path / "gate-old").touch()
    wait_for(lambda: "completed" in agent.text(), "the old scan is done")

    fill(inside / "filler", leave=512 << 10)
    (tmp_path / "gate-large").touch()
    wait_for(lambda: f"{large}: failed: the agent's disk is full" in agent.text(), "it says so")
    fill(inside / "filler-2", leave=0)
    own_house.start_server()
    new = own_house.scan(tmp_path / "new")

    assert own_house.outcome(old)["status"] == "completed"
    wait_for(lambda: "nothing new is claimed" in agent.text(), "it says so")
    assert own_house.get(new)["status"] == "pending"
    assert own_house.get(large)["result"] is None, "there is no outcome, not even a clean one"

    for filler in inside.glob("filler*"):
        filler.unlink()
    (tmp_path / "gate-new").touch()
    assert own_house.outcome(new)["status"] == "completed"
    assert (own_house.outcome(large)["status"], own_house.get(large)["attempt"]) == ("completed", 2)
    assert "disk_full" in str(own_house.call("GET", f"/api/v1/commands/{large}/events"))
    assert agent.process.poll() is None
    assert len(own_house.findings()) == 3 + 8000 + 1


def fill(path, leave):
    """Write until only so many bytes are left on that file system."""
    if (left := shutil.disk_usage(path.parent).free - leave) > 0:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, left)


def test_the_lock_goes_with_its_agent_and_not_with_what_that_left_behind(house, stub_env, tmp_path):
    """The agent is killed, and its supervisor stands still: both it and the tool live on."""
    log = behave(tmp_path / "app", gate=str(tmp_path / "gate"))
    first = house.start_agent(tmp_path / "app", env=stub_env)
    command = house.scan(tmp_path / "app")
    (tool,) = wait_for(lambda: pids(log), "the tool runs")
    supervisor = psutil.Process(tool).ppid()
    house.running(command)
    second = house.start_agent(tmp_path / "app", env=stub_env)
    assert second.process.wait(60) == 2
    assert f"another agent (process {first.process.pid}) runs on {tmp_path}" in second.text()
    os.kill(supervisor, signal.SIGSTOP)
    try:
        first.stop(signal.SIGKILL)
        assert alive(tool)
        with (tmp_path / "state" / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (tmp_path / "gate").touch()

        third = house.start_agent(tmp_path / "app", env=stub_env)

        done = house.outcome(command)
        assert (done["status"], done["attempt"]) == ("completed", 2), third.text()
        assert not alive(tool)
    finally:
        os.kill(supervisor, signal.SIGKILL)


def test_a_spool_that_is_damaged_under_a_running_agent_is_set_aside_by_a_restart(
    house, stub_env, tmp_path
):
    behave(tmp_path / "app")
    agent = house.start_agent(tmp_path / "app", env=stub_env)
    assert house.outcome(house.scan(tmp_path / "app"))["status"] == "completed"

    with closing(sqlite3.connect(tmp_path / "state" / "spool.sqlite3")) as spool:
        spool.execute("PRAGMA writable_schema = ON")
        spool.execute("UPDATE sqlite_schema SET sql = 'no table' WHERE name = 'commands'")
        spool.execute("PRAGMA schema_version = 4711")  # so that who has it open reads it anew
        spool.commit()
    second = house.scan(tmp_path / "app")

    wait_for(lambda: list((tmp_path / "state").glob("spool.corrupt-*")), "it is set aside")
    assert house.outcome(second)["status"] == "completed"
    assert agent.process.poll() is None
