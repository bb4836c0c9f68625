"""The files of docs/examples/agent are used as they stand, and agree with the agent."""

import configparser
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from rediver_agent.agent import STOP_SECONDS, build_executor
from rediver_agent.cli import cli
from rediver_agent.configuration import Configuration
from rediver_agent.loops.metrics import AgentNumbers
from rediver_agent.loops.snapshot import Snapshot
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.settings_file import load
from rediver_agent.spool import Spool
from rediver_agent.status import Status

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples" / "agent"
SEEING = ROOT / "docs" / "how-to" / "see-what-an-agent-does.md"


@pytest.fixture
def unit():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(EXAMPLES / "rediver-agent.service")
    return parser["Service"]


def understood(argv):
    said = CliRunner().invoke(cli, [*argv, "--help"])
    assert said.exit_code == 0, said.output


def test_the_unit_starts_the_agent_as_the_command_line_is(unit):
    program, *argv = shlex.split(unit["ExecStart"])

    assert program.endswith("/rediver-agent")
    understood(argv)


def test_the_unit_waits_for_as_long_as_an_agent_may_take_to_end(unit):
    drain = Settings().agent.drain_seconds

    assert int(unit["TimeoutStopSec"]) >= drain + 2 * STOP_SECONDS
    assert unit["KillMode"] == "mixed"  # the agent ends its tools itself
    assert unit["SuccessExitStatus"] == "3"


def test_the_image_has_commands_that_exist():
    text = (EXAMPLES / "Containerfile").read_text()
    for line in re.findall(r"CMD (\[.*\])", text):
        understood([word for word in yaml.safe_load(line) if word != "rediver-agent"])


@pytest.mark.parametrize("name", ["rediver-agent.service", "Containerfile"])
def test_every_setting_that_is_named_exists(name, monkeypatch, tmp_path):
    key = tmp_path / "key"
    key.write_text("rs_src_example")
    named = dict(re.findall(r"(REDIVER_[A-Z_]+)=(\S+)", (EXAMPLES / name).read_text()))
    assert named.pop("REDIVER_CONFIG") == "/etc/rediver/agent.yaml"
    for variable in named:
        monkeypatch.setenv(variable, str(key))
    load(EXAMPLES / "agent.yaml", {"server": {"api_key_file": str(key)}})


def test_the_configuration_can_be_used_with_a_key(tmp_path):
    key = tmp_path / "key"
    key.write_text("rs_src_example")
    settings = load(EXAMPLES / "agent.yaml", {"server": {"api_key_file": str(key)}})

    assert settings.agent.metrics_port == 9108
    assert settings.allowed_roots() == ["/srv/checkouts"]


@pytest.fixture
def series(tmp_path):
    """The names of everything that an agent tells Prometheus."""

    def now():
        return datetime.now(UTC)

    configuration = Configuration(Settings(state_dir=tmp_path / "state"))
    spool = Spool(tmp_path / "state", now=now)
    executor = build_executor(configuration, Registry({}, {}), spool)
    executor.outcomes["scan", "completed"] += 1
    snapshot = Snapshot(configuration, Status(now(), "hybrid"), executor, 1, now)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(AgentNumbers(snapshot))
    text = generate_latest(registry).decode()
    spool.close()
    return set(re.findall(r"^(rediver_agent_\w+)", text, re.MULTILINE))


def test_alerts_are_about_numbers_that_there_are(series):
    rules = yaml.safe_load((EXAMPLES / "alerts.yaml").read_text())["groups"][0]["rules"]

    for rule in rules:
        named = set(re.findall(r"rediver_agent_\w+", rule["expr"]))
        assert named <= series
        assert named or "up{" in rule["expr"]


def test_the_page_names_every_number(series):
    assert set(re.findall(r"rediver_agent_\w+", SEEING.read_text())) == series
