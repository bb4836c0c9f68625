"""A commanded scan, from the operator's POST to stored findings, and every way it can fail."""

import signal

import pytest
from house import alive, wait_for
from stub_scanner import behave, write_program


def pids(log):
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def test_a_commanded_scan_ends_with_its_findings_on_the_server(house, stub_env, tmp_path):
    behave(tmp_path / "app", findings=3)
    house.start_agent(tmp_path / "app", env=stub_env)

    done = house.outcome(house.scan(tmp_path / "app", report_progress=True))

    assert done["status"] == "completed", done
    assert done["result"]["findings_count"] == 3
    assert done["result"]["exit_code"] == 0
    assert done["result"]["metadata"]["survivors"] == 0
    assert done["result"]["metadata"]["coverage"] == "full"
    assert done["attempt"] == 1
    found = house.findings()
    assert sorted(item["title"] for item in found) == ["Finding 0", "Finding 1", "Finding 2"]
    assert {item["location"]["path"] for item in found} == {"a.txt"}
    assert all(item["fingerprint"].startswith("rv1:") for item in found)


def test_a_second_scan_finds_the_same_and_a_clean_one_resolves_it(house, stub_env, tmp_path):
    app = tmp_path / "app"
    behave(app, findings=2)
    house.start_agent(app, env=stub_env)
    for findings in (2, 2, 0):
        behave(app, findings=findings)
        assert house.outcome(house.scan(app))["status"] == "completed"

    assert [item["status"] for item in house.findings()] == ["resolved", "resolved"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"exit": 3}, "tool_error"),
        ({"exit": 3, "report": None}, "tool_error"),
        ({"report": None}, "report_unreadable"),
        ({"report": ""}, "report_unreadable"),
        ({"report": '{"stub": 2'}, "report_unreadable"),
        ({"report": "<html>"}, "report_unreadable"),
        ({"notices": [["error", "half of it"]]}, "partial_scan"),
        ({"notices": [["error", "x" * 20_000]]}, "partial_scan"),
        ({"notices": [["error", "a NUL: \0"]]}, "partial_scan"),
        ({"script": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)", "gate": "/no"},
         "tool_error"),
    ],
)  # fmt: skip
def test_a_scan_that_went_wrong_is_a_failure_with_its_reason(
    house, stub_env, tmp_path, how, reason
):
    behave(tmp_path / "app", **how)
    house.start_agent(tmp_path / "app", env=stub_env)

    done = house.outcome(house.scan(tmp_path / "app"))

    assert done["status"] == "failed"
    assert done["result"]["metadata"]["reason"] == reason
    assert done["error_message"]


def test_a_partial_scan_resolves_nothing_and_keeps_what_it_found(house, stub_env, tmp_path):
    app = tmp_path / "app"
    behave(app, findings=3)
    house.start_agent(app, env=stub_env)
    house.outcome(house.scan(app))
    behave(app, findings=1, notices=[["error", "half of it"]])

    done = house.outcome(house.scan(app))

    assert done["result"]["metadata"]["reason"] == "partial_scan"
    assert done["result"]["findings_count"] == 1
    assert [item["status"] for item in house.findings()] == ["open"] * 3


def test_a_file_that_was_not_understood_makes_the_coverage_partial_only(house, stub_env, tmp_path):
    behave(tmp_path / "app", findings=1, notices=[["warning", "a.js was not parsed"]])
    house.start_agent(tmp_path / "app", env=stub_env)

    done = house.outcome(house.scan(tmp_path / "app"))

    assert done["status"] == "completed"
    assert done["result"]["metadata"]["coverage"] == "partial"
    assert done["result"]["metadata"]["notices"][0]["message"] == "a.js was not parsed"


def test_a_time_out_ends_the_tool_and_says_so(house, stub_env, tmp_path):
    log = behave(tmp_path / "app", gate=str(tmp_path / "never"))
    house.start_agent(tmp_path / "app", env=stub_env)

    done = house.outcome(house.scan(tmp_path / "app", timeout_seconds=1))

    assert (done["status"], done["result"]["metadata"]["reason"]) == ("failed", "timeout")
    assert done["result"]["metadata"]["survivors"] == 0
    assert pids(log)
    assert not any(alive(pid) for pid in pids(log))


HOSTILE = """
import os, signal, sys, time
log = {log!r}
def note():
    open(log, "a").write(str(os.getpid()) + chr(10))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
note()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note()
        os.execve(sys.executable, ["python", "-c", "import time; time.sleep(300)"], {{}})
    note()
time.sleep(300)
"""


def test_cancelling_a_scan_ends_its_whole_tree(house, stub_env, tmp_path):
    app = tmp_path / "app"
    log = app.with_name("app.pids")
    behave(app, gate=str(tmp_path / "never"), script=HOSTILE.format(log=str(log)))
    house.start_agent(app, env=stub_env)
    command = house.scan(app)
    wait_for(lambda: len(pids(log)) >= 4, "the tool and its three hostile children run")

    assert house.call("DELETE", f"/api/v1/commands/{command}")[0] == 200
    done = house.outcome(command)

    assert done["status"] == "cancelled"
    assert done["result"]["metadata"]["survivors"] == 0
    assert done["result"]["metadata"]["processes_killed"] >= 4
    assert not any(alive(pid) for pid in pids(log))


@pytest.mark.parametrize(
    "spelling", ["../outside", "link", "root2", "missing", "app/../../outside"]
)
def test_a_target_outside_the_allowed_roots_is_refused_by_the_agent(
    house, stub_env, tmp_path, spelling
):
    root = tmp_path / "root"
    for name in ("root/app", "outside", "root2"):
        behave(tmp_path / name)
    (root / "link").symlink_to(tmp_path / "outside")
    house.start_agent(root, env=stub_env)
    target = f"{tmp_path}/root2" if spelling == "root2" else f"{root}/{spelling}"

    done = house.outcome(house.scan(target))

    assert (done["status"], done["result"]["metadata"]["reason"]) == (
        "failed",
        "target_not_allowed",
    )
    assert not (tmp_path / "outside.pids").exists()
    assert not (tmp_path / "root2.pids").exists()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type_name": "restart", "payload": {}}, "type_not_allowed"),
        ({"type_name": "make_coffee", "payload": {}}, "type_not_allowed"),
        ({"payload": {"scanner": "stubb", "target": "/srv"}}, "unknown_scanner"),
        ({"payload": {"scanner": "stub", "target": "/srv", "config": {"dept": 2}}}, "invalid_payload"),  # noqa: E501 - a row of a table
        ({"payload": {"scanner": "stub", "target": "/srv", "config": {"depth": "x"}}}, "invalid_payload"),  # noqa: E501 - a row of a table
        ({"payload": {"scanner": "stub", "target": "/srv", "config": {"host_file": "/x"}}}, "invalid_payload"),  # noqa: E501 - a row of a table
    ],
)  # fmt: skip
def test_what_an_agent_will_not_do_is_answered_with_the_reason(house, stub_env, fields, reason):
    house.start_agent(env=stub_env)

    done = house.outcome(house.command(**fields))

    assert (done["status"], done["result"]["metadata"]["reason"]) == ("failed", reason)


def test_a_missing_tool_is_a_failure_and_never_a_clean_scan(house, stub_env, stub_plugin, tmp_path):
    behave(tmp_path / "app")
    path = stub_env["PATH"].replace(str(stub_plugin / "bin"), str(tmp_path))
    house.start_agent(tmp_path / "app", env={**stub_env, "PATH": path})

    done = house.outcome(house.scan(tmp_path / "app"))

    assert (done["status"], done["result"]["metadata"]["reason"]) == ("failed", "tool_missing")
    assert "stub-tool" in done["error_message"]


def test_a_health_check_tells_which_tools_can_be_used(house, stub_env, tmp_path):
    house.start_agent(env=stub_env)

    done = house.outcome(house.command("health_check", payload={}))

    scanners = done["result"]["metadata"]["scanners"]
    assert done["status"] == "completed"
    assert scanners["stub"] == {"usable": True, "version": "stub 1.0"}
    assert scanners["gitleaks"]["usable"] is False
    assert "gitleaks" in scanners["gitleaks"]["problem"]


@pytest.mark.parametrize("rudeness", ["RuntimeError('rude')", "SystemExit(0)"])
def test_a_plugin_that_raises_ends_only_its_own_command(house, stub_env, tmp_path, rudeness):
    site = tmp_path / "site"
    (site / "rediver_rude").mkdir(parents=True)
    (site / "rediver_rude" / "__init__.py").write_text(f"raise {rudeness}\n")
    info = site / "rediver_rude-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rediver-rude\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rediver_agent]\nrude = rediver_rude\n")
    behave(tmp_path / "app")
    path = f"{stub_env['PYTHONPATH']}:{site}"
    house.start_agent(tmp_path / "app", env={**stub_env, "PYTHONPATH": path})

    assert house.outcome(house.scan(tmp_path / "app"))["status"] == "completed"


def test_a_parser_that_never_ends_costs_its_command_and_not_the_agents_end(
    house, stub_env, tmp_path
):
    behave(tmp_path / "app", report='{"stub": 1, "hang": true}')
    agent = house.start_agent(tmp_path / "app", env=stub_env)

    done = house.outcome(house.scan(tmp_path / "app", timeout_seconds=1))

    assert (done["status"], done["result"]["metadata"]["reason"]) == ("failed", "timeout")
    assert agent.stop() == 0


def test_more_scans_than_slots_wait_their_turn(house, stub_env, tmp_path):
    logs = [behave(tmp_path / f"app{n}", gate=str(tmp_path / "gate")) for n in range(4)]
    house.start_agent(tmp_path, env=stub_env, agent={"max_concurrent": 2})
    commands = [house.scan(tmp_path / f"app{n}") for n in range(4)]
    wait_for(lambda: sum(bool(pids(log)) for log in logs) == 2, "two tools run")
    health = house.outcome(house.command("health_check", payload={}))

    assert health["status"] == "completed", "control types need no slot"
    assert sum(bool(pids(log)) for log in logs) == 2
    (tmp_path / "gate").touch()
    assert {house.outcome(command)["status"] for command in commands} == {"completed"}


def test_the_first_signal_drains_and_the_outcome_arrives(house, stub_env, tmp_path):
    log = behave(tmp_path / "app", gate=str(tmp_path / "gate"))
    agent = house.start_agent(tmp_path / "app", env=stub_env)
    command = house.scan(tmp_path / "app")
    wait_for(lambda: pids(log), "the tool runs")
    agent.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "draining" in agent.text(), "the agent drains")
    (tmp_path / "gate").touch()

    assert agent.process.wait(60) == 0
    assert house.get(command)["status"] == "completed"


def test_the_second_signal_cancels_and_the_outcome_says_so(house, stub_env, tmp_path):
    log = behave(tmp_path / "app", gate=str(tmp_path / "never"))
    agent = house.start_agent(tmp_path / "app", env=stub_env)
    command = house.scan(tmp_path / "app")
    wait_for(lambda: pids(log), "the tool runs")
    agent.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "draining" in agent.text(), "the agent drains")
    agent.process.send_signal(signal.SIGTERM)

    assert agent.process.wait(60) == 3
    assert house.get(command)["status"] == "pending", "another attempt may be made"
    assert not any(alive(pid) for pid in pids(log))


def test_a_tool_gets_none_of_the_agents_environment(house, stub_env, stub_plugin, tmp_path):
    tools = tmp_path / "bin"
    show = "import json, os, sys\nopen('env.json', 'w').write(json.dumps(dict(os.environ)))\n"
    report = "open(sys.argv[1], 'w').write('{\"stub\": 0}')\n"
    write_program(tools / "stub-tool", show + report)
    behave(tmp_path / "app")
    env = {**stub_env, "PATH": f"{tools}:{stub_env['PATH']}", "AWS_SECRET_ACCESS_KEY": "x"}
    house.start_agent(tmp_path / "app", env=env)

    assert house.outcome(house.scan(tmp_path / "app"))["status"] == "completed"
    seen = (tmp_path / "app" / "env.json").read_text()
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    assert house.source["api_key"] not in seen
