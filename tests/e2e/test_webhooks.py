"""Webhooks to an agent that runs: what it has answered 202 is on its disk, and comes to the server
once.
"""

import hashlib
import hmac
import http.client
import json
import re
import signal
import subprocess  # noqa: TID251 - the program is run as a user runs it
from contextlib import closing

import pytest
from house import BIN, wait_for

SECRET = "It's a Secret to Everybody"


@pytest.fixture
def env(tmp_path):
    """The environment of an agent."""
    return {"HOME": str(tmp_path / "home"), "PATH": f"{BIN}:/usr/bin:/bin"}


def section(**config):
    return {"name": "webhook", "config": {"secrets": [SECRET], "port": 0, **config}}


def start(house, env, **config):
    """An agent that does nothing else, and where it listens."""
    agent = house.start_agent(env=env, collectors=[section(**config)])
    found = wait_for(
        lambda: re.search(r"listening on http://127\.0\.0\.1:(\d+)", agent.text()),
        f"it listens:\n{agent.text()}",
    )
    return agent, int(found[1])


def deliver(port, number, delivery, state="open", secret=SECRET):
    body = json.dumps(
        {
            "action": "created",
            "alert": {
                "number": number, "state": state, "dismissed_reason": "tolerable_risk",
                "security_advisory": {"ghsa_id": f"GHSA-{number}", "severity": "critical"},
            },
            "repository": {"full_name": "acme/shop", "html_url": "https://github.com/acme/shop"},
        }
    ).encode()  # fmt: skip
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "X-GitHub-Event": "dependabot_alert",
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", "/webhook/github", body, headers)
        return connection.getresponse().status


def test_what_was_answered_is_on_the_server_once_whatever_was_killed_since(house, env):
    house.server.crash()
    agent, port = start(house, env)
    assert deliver(port, 1, "one", secret="another secret of somebody") == 401
    assert deliver(port, 1, "one") == 202
    agent.crash()  # nothing after the answer is waited for

    house.start_server()
    agent, port = start(house, env)
    wait_for(house.findings, f"the finding is on the server:\n{house.logs()}")
    assert deliver(port, 1, "one") == 200  # a replay
    assert deliver(port, 2, "two") == 202
    assert deliver(port, 1, "three", state="dismissed") == 202

    def stored():
        return {
            item["rule_id"]: (item["status"], item["occurrence_count"], item["tool"])
            for item in house.findings()
        }

    expected = {"GHSA-1": ("accepted_risk", 2, "github"), "GHSA-2": ("open", 1, "github")}
    wait_for(lambda: stored() == expected, f"{expected}, not {stored()}")
    assert agent.stop(signal.SIGTERM) == 0
    assert "1 replayed" in agent.text()
    assert SECRET not in house.logs()


def test_an_operator_sees_who_listens_and_why_not(house, env, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [BIN / "rediver-agent", *map(str, arguments)],
            capture_output=True, text=True, timeout=60, env=env, cwd=tmp_path,
        )  # fmt: skip

    agent, port = start(house, env)
    config = house.directory / "agent-1.yaml"
    deliver(port, 1, "one")
    where = f"listening on http://127.0.0.1:{port}/webhook/github; 1 kept"
    wait_for(lambda: where in run("status", "--config", config).stdout, "status says so")
    command = house.outcome(house.command("collect", payload={"collector": "webhook"}))
    collected = run("collect", "--config", config)
    assert agent.stop() == 0
    wrong = house.agent_config(collectors=[section(secrets=[])])
    examined = run("doctor", "--config", wrong)

    assert "fetches nothing: it is pushed to" in command["error_message"]
    assert collected.returncode == 2
    assert "webhook is pushed to, and listens while `rediver-agent run` runs" in collected.stderr
    assert "not ok  collector webhook: webhook's option 'secrets'" in examined.stdout
