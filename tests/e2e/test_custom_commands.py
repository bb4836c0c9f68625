"""A third-party plugin with a command type, an enricher and an observer, in a real agent."""

import json
import os
import subprocess  # noqa: TID251 - the command line is what is tested

import pytest
import yaml
from house import BIN, wait_for
from stub_scanner import behave

PLUGIN = '''
"""Greets, keeps a diary, and keeps some findings to itself."""

from pathlib import Path

from pydantic import BaseModel

from rediver_agent import CommandHandler, Enricher, NoOptions, Observer, hookimpl

rediver_api = 1


class Payload(BaseModel, extra="forbid"):
    path: str


class Greeting(BaseModel, extra="forbid"):
    word: str = "Hello"


class Greet(CommandHandler[Payload, Greeting]):
    command_type = "greet"
    payload = Payload
    options = Greeting

    def target(self, payload):
        return payload.path

    async def handle(self, ctx, payload, options):
        done = await ctx.run("ls")
        return {"greeting": f"{options.word}, {' '.join(done.stdout.read_text().split())}"}


class Whisper(Greet):
    command_type = "whisper"


class Discreet(Enricher[NoOptions]):
    name = "discreet"

    def enrich(self, finding, options):
        if finding.location.start_line == 1:
            return None
        return finding.model_copy(update={"tags": ["seen"]})


class File(BaseModel, extra="forbid"):
    file: Path


class Diary(Observer[File]):
    name = "diary"
    options = File

    async def started(self, command, options):
        self._write(options, f"started {command.type}")

    async def finished(self, command, result, options):
        self._write(options, f"finished {command.type} {result.status}")

    def _write(self, options, line):
        with options.file.open("a") as file:
            file.write(line + "\\n")


@hookimpl
def rediver_handlers():
    yield Greet()
    yield Whisper()


@hookimpl
def rediver_enrichers():
    yield Discreet()


@hookimpl
def rediver_observers():
    yield Diary()
'''


@pytest.fixture(scope="module")
def env(tmp_path_factory, stub_env):
    """The environment of an agent that has this plugin beside the stub scanner."""
    site = tmp_path_factory.mktemp("greet-plugin")
    (site / "rediver_greet.py").write_text(PLUGIN)
    info = site / "rediver_greet-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rediver-greet\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rediver_agent]\ngreet = rediver_greet\n")
    return {**stub_env, "PYTHONPATH": os.pathsep.join([str(site), stub_env["PYTHONPATH"]])}


def allowed(tmp_path):
    """Settings under which the plugin is used. `wave` has no plugin, `whisper` is not allowed."""
    types = ["scan", "greet", "wave"]
    return {
        "security": {"allowed_targets": [str(tmp_path / "app")], "allowed_command_types": types},
        "handlers": [{"name": "greet", "config": {"word": "Good day"}}],
        "enrichers": [{"name": "discreet"}],
        "observers": [{"name": "diary", "config": {"file": str(tmp_path / "diary")}}],
    }


def test_a_server_commands_what_a_plugin_can_do(house, env, tmp_path):
    behave(tmp_path / "app", findings=3)
    agent = house.start_agent(env=env, **allowed(tmp_path))
    here = {"path": str(tmp_path / "app")}
    # Of the pool: routed by what the agent's heartbeat says that it can do.
    pooled = house.call("POST", "/api/v1/commands", {"type": "greet", "payload": here})[1]["id"]
    elsewhere = house.command("greet", payload={"path": str(tmp_path)})
    odd = house.command("greet", payload={**here, "hour": 3})
    refused = [house.command(kind, payload=here) for kind in ("wave", "whisper")]
    scan = house.scan(tmp_path / "app")

    greeted = house.outcome(pooled)
    wave, whisper = [house.outcome(command) for command in refused]
    scanned = house.outcome(scan)

    assert greeted["status"] == "completed"
    assert greeted["result"]["metadata"]["greeting"] == "Good day, behave.json"
    assert greeted["result"]["metadata"]["survivors"] == 0
    assert house.outcome(elsewhere)["result"]["metadata"]["reason"] == "target_not_allowed"
    assert "no payload key 'hour' (it has: path)" in house.outcome(odd)["error_message"]
    assert {wave["result"]["metadata"]["reason"], whisper["result"]["metadata"]["reason"]} == {
        "type_not_allowed"
    }
    assert "such as rediver-wave" in wave["error_message"]
    assert "security.allowed_command_types" in whisper["error_message"]
    assert "no installed plugin handles 'wave'" in agent.text()
    assert scanned["result"]["metadata"]["dropped"] == {"discreet": 1}
    assert [finding["tags"] for finding in house.findings()] == [["seen"]] * 2
    wait_for(
        lambda: (tmp_path / "diary").read_text().count("finished") == 6, "the observer knows all"
    )
    assert agent.stop() == 0
    diary = (tmp_path / "diary").read_text().splitlines()
    assert diary.count("started greet") == 3
    assert diary.count("finished greet completed") == 1
    assert "finished scan completed" in diary


def typed(tmp_path, env, *arguments, **settings):
    config = tmp_path / "agent.yaml"
    config.write_text(yaml.safe_dump({"state_dir": str(tmp_path / "state"), **settings}))
    return subprocess.run(
        [str(BIN / "rediver-agent"), *arguments, "--config", str(config)],
        env={**os.environ, **env}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_scan_at_hand_says_what_was_dropped_whatever_it_prints(env, tmp_path):
    behave(tmp_path / "app", findings=3)
    listed = {"enrichers": [{"name": "discreet"}]}
    scan = ("scan", str(tmp_path / "app"), "--scanner", "stub")

    table = typed(tmp_path, env, *scan, "--fail-on", "high", **listed)
    document = typed(tmp_path, env, *scan, "--format", "json", **listed)

    assert table.returncode == 1
    assert "2 findings" in table.stdout
    assert "1 dropped by discreet" in table.stdout
    assert "1 dropped by discreet" in document.stderr
    (report,) = json.loads(document.stdout)["reports"]
    assert [finding["tags"] for finding in report["findings"]] == [["seen"]] * 2


@pytest.mark.parametrize("command", ["scan", "import", "collect", "run"])
def test_an_enricher_that_is_not_there_stops_all_that_would_go_without_it(env, tmp_path, command):
    arguments = {
        "scan": ("scan", str(tmp_path), "--scanner", "stub"),
        "import": ("import", str(tmp_path / "report.json")),
        "collect": ("collect",),
        "run": ("run",),
    }[command]
    listed = {
        "enrichers": [{"name": "redact"}],
        "targets": [str(tmp_path)],
        "collectors": [{"name": "github"}],
    }

    done = typed(tmp_path, env, *arguments, **listed)

    assert done.returncode == 2
    assert "rediver-agent: enrichers: no plugin provides 'redact'" in done.stderr
    assert done.stdout == ""
