"""The files of docs/examples/server and the server's how-tos: they are used as they stand."""

import configparser
import re
import shlex
import shutil
import subprocess  # noqa: TID251 - the examples are programs
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from real_postgresql import RealPostgresql
from rediver_server_fixtures import Scans, migrate, postgresql, schema_file, start

from rediver_agent.settings import Settings as AgentSettings
from rediver_server.cli import commands
from rediver_server.settings import Settings

__all__ = ["postgresql", "schema_file"]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples" / "server"
PAGES = (ROOT / "docs" / "how-to").glob("*.md")


def understood(argv: list[str]) -> None:
    """The command line takes these arguments: it names every option that it does not know."""
    said = CliRunner().invoke(commands, [*argv, "--help"])
    assert said.exit_code == 0, said.output


def test_the_unit_starts_the_server_as_the_command_line_is():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(EXAMPLES / "rediver-server.service")
    program, *argv = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/rediver-server")
    understood(argv)


def test_the_services_of_compose_start_as_the_command_line_is():
    compose = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())
    services = compose["services"]
    for name in ("server", "migrate"):
        understood(services[name]["command"])
        assert services[name]["environment"]["REDIVER_SERVER_DATABASE_URL"]
    assert services["server"]["ports"] == ["127.0.0.1:8080:8080"]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(path, id=path.name)
        for path in sorted({*EXAMPLES.iterdir(), *PAGES})
        if path.is_file()
    ],
)
def test_every_setting_that_is_named_exists(file: Path):
    named = set(re.findall(r"REDIVER_SERVER_([A-Z][A-Z_]+)", file.read_text()))
    assert named <= {name.upper() for name in Settings.model_fields}
    for section, name in re.findall(r"REDIVER_([A-Z]+)__([A-Z_]+)", file.read_text()):
        sections = AgentSettings.model_fields[section.lower()].annotation.model_fields
        assert name.lower() in sections


def test_a_server_moves_to_postgresql_with_all_it_knows(
    schema_file: Path, postgresql: RealPostgresql, tmp_path: Path
):
    shutil.copy(schema_file, tmp_path / "server.db")
    old = start(f"sqlite:///{tmp_path / 'server.db'}")
    tenant = old.tenant()
    agent = tenant.agent(scanners=["semgrep"])
    Scans(agent, old.clock).send("found")
    done, waits, held = (tenant.order() for _ in range(3))
    agent.acknowledge(done)
    agent.report(done)
    agent.acknowledge(held)
    asked = ("/commands", f"/commands/{done}/events", "/findings", "/assets", "/sources")
    before = [tenant.admin.ok("GET", path) for path in asked]
    old.app.extensions["rediver"].close()

    url = postgresql.new_database()
    migrate(url)
    copy = [sys.executable, str(EXAMPLES / "copy_to_postgresql.py"), old.url, url]
    done_copying = subprocess.run(copy, capture_output=True, text=True, timeout=100)
    assert done_copying.returncode == 0, done_copying.stderr
    again = subprocess.run(copy, capture_output=True, text=True, timeout=100)
    assert again.returncode == 1
    assert "has to be empty" in again.stderr

    new = start(url)
    new.clock.now = old.clock.now
    agent.app = tenant.admin.app = new.app
    assert [tenant.admin.ok("GET", path) for path in asked] == before
    agent.acknowledge(waits)  # new events and reports do not meet the ids of old ones
    agent.report(held)
    assert Scans(agent, new.clock).counts(
        Scans(agent, new.clock).body("found", id="after-the-move")
    ) == (0, 1, 0, 0)
    new.app.extensions["rediver"].close()
