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
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


def alert(number, state):
    return {
        "number": number, "state": state, "dismissed_reason": "tolerable_risk",
        "security_advisory": {"ghsa_id": f"GHSA-{number}", "severity": "critical"},
    }  # fmt: skip


def deliver(port, number, delivery, state="open", secret=SECRET, site="https://github.com"):
    where = {"full_name": "acme/shop", "html_url": f"{site}/acme/shop"}
    document = {"action": "created", "alert": alert(number, state), "repository": where}
    body = json.dumps(document).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "X-GitHub-Event": "dependabot_alert",
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", "/webhook/github", body, headers)
        return connection.getresponse().status


def test_what_was_answered_is_on_the_server_once_whatever_was_killed_since(own_house, env):
    own_house.server.crash()
    agent, port = start(own_house, env)
    assert deliver(port, 1, "one", secret="another secret of somebody") == 401
    assert deliver(port, 1, "one") == 202
    agent.crash()  # nothing after the answer is waited for

    own_house.start_server()
    agent, port = start(own_house, env)
    wait_for(own_house.findings, f"the finding is on the server:\n{own_house.logs()}")
    assert deliver(port, 1, "one") == 200  # a replay
    assert deliver(port, 2, "two") == 202
    assert deliver(port, 1, "three", state="dismissed") == 202

    def stored():
        return {
            item["rule_id"]: (item["status"], item["occurrence_count"], item["tool"])
            for item in own_house.findings()
        }

    expected = {"GHSA-1": ("accepted_risk", 2, "github"), "GHSA-2": ("open", 1, "github")}
    wait_for(lambda: stored() == expected, f"{expected}, not {stored()}")
    assert agent.stop(signal.SIGTERM) == 0
    assert "1 replayed" in agent.text()
    assert SECRET not in own_house.logs()


@pytest.fixture
def hub():
    """A GitHub with one kind of alerts. `hub.alerts` is what it has; `hub.url` where it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(self.server.alerts).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.alerts = []
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def test_an_alert_that_is_fetched_and_pushed_is_one_finding_with_its_newest_status(house, env, hub):
    options = {
        "base_url": hub.url, "token": "ghp_of_the_tests", "repositories": ["acme/shop"],
        "alert_types": ["dependabot"],
    }  # fmt: skip
    collectors = [section(), {"name": "github", "config": options}]
    agent = house.start_agent(env=env, collectors=collectors)
    found = wait_for(
        lambda: re.search(r"listening on http://127\.0\.0\.1:(\d+)", agent.text()),
        f"it listens:\n{agent.text()}",
    )

    def statuses():
        return {row["rule_id"]: row["status"] for row in house.findings()}

    def collected(source_config=None, **alerts):
        hub.alerts = [alert(int(number[1:]), state) for number, state in alerts.items()]
        payload = {"collector": "github", "source_config": source_config or {}}
        done = house.outcome(house.command("collect", payload=payload))
        assert done["status"] == "completed", done
        return statuses()

    def pushed(number, state, expected):
        assert deliver(int(found[1]), number, f"{number}-{state}", state, site=hub.url) == 202
        wait_for(lambda: statuses() == expected, f"{expected}, not {statuses()}\n{house.logs()}")

    assert collected(n1="open", n2="open") == {"GHSA-1": "open", "GHSA-2": "open"}
    pushed(1, "fixed", {"GHSA-1": "resolved", "GHSA-2": "open"})
    pushed(2, "dismissed", {"GHSA-1": "resolved", "GHSA-2": "accepted_risk"})
    assert collected(n1="fixed", n2="open") == {"GHSA-1": "resolved", "GHSA-2": "open"}
    assert collected(n1="open", n2="open") == {"GHSA-1": "open", "GHSA-2": "open"}
    pushed(3, "open", {"GHSA-1": "open", "GHSA-2": "open", "GHSA-3": "open"})
    assert collected(n1="open", n2="open", n3="fixed")["GHSA-3"] == "resolved"
    assert collected({"since": "2026-01-01T00:00:00Z"}, n2="open")["GHSA-1"] == "open"
    assert collected(n1="open", n3="fixed")["GHSA-2"] == "resolved", "it is there no more"
    assert len(house.findings()) == 3
    assert len({row["asset_id"] for row in house.findings()}) == 1


def test_an_operator_sees_who_listens_and_why_not(house, env, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [BIN / "rediver-agent", *map(str, arguments)],
            capture_output=True, text=True, timeout=60, env=env, cwd=tmp_path,
        )  # fmt: skip

    agent, port = start(house, env)
    config = house.directory / "agent-0.yaml"
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
