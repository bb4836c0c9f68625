"""The origin document's three configurations, word for word: what each of them makes an agent do.

What a test cannot wait for, and a server's address and key, come from the environment.
"""

import json
import os
import signal
import subprocess  # noqa: TID251 - the command line is used as an operator does

import pytest
from house import BIN, Program, alive, wait_for
from stub_scanner import behave

STANDALONE = """\
agent:
  name: standalone-scanner
  scan_interval: 1h
  enable_command_polling: false

targets:
  - /opt/code/project1
  - /opt/code/project2
"""

SERVER_CONTROLLED = """\
agent:
  name: managed-scanner
  enable_command_polling: true
  command_poll_interval: 30s

  # No local targets - all scans are server-initiated
"""

HYBRID = """\
agent:
  name: hybrid-scanner
  scan_interval: 24h  # Daily local scans
  enable_command_polling: true
  command_poll_interval: 30s

targets:
  - /opt/code/project1

# Server can also dispatch additional scans on-demand
"""


class Operator:
    """Starts an agent as one of the documents says, and looks at its reports."""

    def __init__(self, directory, env):
        self.directory, self.env = directory, {**env, "REDIVER_STATE_DIR": str(directory / "state")}
        self.code = directory / "code"
        self.programs = []

    def behave(self, project, **how):
        return behave(self.code / project, **how)

    def start(self, document, **env):
        self.env |= env
        config = self.directory / "agent.yaml"
        config.write_text(document.replace("/opt/code", str(self.code)))
        log = self.directory / f"alone-{len(self.programs)}.log"
        command = (str(BIN / "rediver-agent"), "run", "--config", str(config))
        self.programs.append(Program(log, *command, env=self.env))
        return self.programs[-1]

    def says(self, *arguments):
        """Runs `rediver-agent`. Returns exit code, stdout and stderr."""
        config = ["--config", str(self.directory / "agent.yaml")]
        env = {**os.environ, **self.env}
        done = subprocess.run(
            [str(BIN / "rediver-agent"), *arguments, *config],
            env=env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def reports(self):
        return json.loads(self.says("reports", "list", "--json")[1])["reports"]

    def outcomes(self):
        """Project, status and findings of each report."""
        return sorted(
            (report["target"].rpartition("/")[2], report["status"], report.get("findings_count"))
            for report in self.reports()
        )

    def close(self):
        for program in self.programs:
            if program.process.poll() is None:
                program.crash()


@pytest.fixture
def operator(tmp_path, stub_env):
    operator = Operator(tmp_path, stub_env)
    yield operator
    operator.close()


def under(house, *roots):
    """The environment of an agent under the house's server."""
    return {
        "REDIVER_SERVER__BASE_URL": f"http://127.0.0.1:{house.port}",
        "REDIVER_SERVER__API_KEY": house.source["api_key"],
        "REDIVER_SERVER__WEBSOCKET": "false",
        "REDIVER_SECURITY__ALLOWED_TARGETS": json.dumps([str(root) for root in roots]),
    }


def started(log):
    """The processes of the tool that a target has seen."""
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def test_standalone_scans_its_targets_again_and_again_and_keeps_the_reports(operator):
    logs = [operator.behave("project1", findings=3), operator.behave("project2", findings=0)]
    agent = operator.start(STANDALONE, REDIVER_AGENT__SCAN_INTERVAL="0.5s")
    wait_for(lambda: all(len(started(log)) >= 3 for log in logs), "three scans of each")
    assert agent.stop() == 0, agent.text()

    assert set(operator.outcomes()) == {("project1", "completed", 3), ("project2", "completed", 0)}
    _, table, _ = operator.says("reports", "list")
    assert "3 findings: 3 high" in table
    assert "0 findings" in table
    one = next(report["id"] for report in operator.reports() if report["findings_count"])
    code, shown, _ = operator.says("reports", "show", one.removeprefix("local_")[:12])
    assert (code, shown.count("a.txt:")) == (0, 3)
    code, sarif, _ = operator.says("reports", "show", one, "--format", "sarif")
    assert len(json.loads(sarif)["runs"][0]["results"]) == 3


def test_a_restart_scans_nothing_again_and_a_killed_scan_is_a_failure_that_is_seen(operator):
    log1 = operator.behave("project1", findings=3)
    log2 = operator.behave("project2", gate=str(operator.directory / "gate"))
    agent = operator.start(STANDALONE)
    wait_for(lambda: started(log2), "the second target's tool runs")
    wait_for(lambda: "3 findings" in agent.text(), "the first target's scan is done")
    (tool,) = started(log2)
    agent.stop(signal.SIGKILL)

    agent = operator.start(STANDALONE)
    wait_for(lambda: "kept as failed" in agent.text(), "the agent has recovered")
    code, _, said = operator.says("reports", "show", "latest")
    assert (code, "the agent was killed during the work" in said) == (2, True)
    wait_for(lambda: "next_scan_at" in status(operator), "the schedule has looked")

    assert [outcome[:2] for outcome in operator.outcomes()] == [
        ("project1", "completed"),
        ("project2", "failed"),
    ]
    assert not alive(tool)
    assert agent.stop() == 0
    assert (len(started(log1)), len(started(log2))) == (1, 1)


def status(operator):
    """What a running agent says of itself, as far as it knows it."""
    said = operator.says("status", "--json")[1]
    return {name for name, value in json.loads(said).get("facts", {}).items() if value is not None}


def test_server_controlled_scans_nothing_by_itself(operator, own_house):
    log = operator.behave("project1")
    agent = operator.start(
        SERVER_CONTROLLED, REDIVER_AGENT__SCAN_INTERVAL="0.1s", **under(own_house, operator.code)
    )
    wait_for(
        lambda: own_house.server.text().count("/commands/claim") >= 4, "several polls are served"
    )
    assert started(log) == []

    done = own_house.outcome(own_house.scan(operator.code / "project1"))

    assert (done["status"], len(started(log))) == ("completed", 1), done
    assert agent.stop() == 0, agent.text()
    code, said, _ = operator.says("reports", "list")
    assert (code, "this agent does nothing alone" in said) == (0, True)


def test_hybrid_does_both_and_the_server_gets_the_reports_of_both(operator, house):
    log = operator.behave("project1", findings=3)
    agent = operator.start(HYBRID, **under(house, operator.code))
    wait_for(lambda: len(house.findings()) == 3, f"the local report is sent: {agent.text()}")
    assert len(started(log)) == 1
    operator.behave("project1", findings=4)

    done = house.outcome(house.scan(operator.code / "project1"))

    assert (done["status"], done["result"]["findings_count"]) == ("completed", 4)
    assert (len(started(log)), len(house.findings())) == (2, 4)
    assert agent.stop() == 0, agent.text()
    (kept,) = operator.reports()
    assert (kept["delivery"], kept["findings_count"]) == ("sent", 3)
    code, shown, _ = operator.says("reports", "show", "latest")
    assert (code, shown.count("a.txt:")) == (0, 3)
