"""`pip install rediver-server` from wheels: it serves, and brings no scanner."""

import re
import urllib.request

import pytest
from fresh_environment import FreshEnvironment
from house import Program, wait_for

pytestmark = pytest.mark.xdist_group("server-installed")


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    environment = FreshEnvironment(tmp_path_factory.mktemp("server") / "environment", wheels)
    environment.install("rediver-server")
    return environment


def test_it_brings_the_agents_contract_and_none_of_its_plugins(installed):
    # The distribution rediver-agent is what has the contract; it is there, and so is what it needs.
    contract = ["rediver_server", "rediver_agent.contract", "flask", "sqlalchemy"]
    plugins = [
        *("rediver_semgrep", "rediver_trivy", "rediver_gitleaks", "rediver_sarif"),
        *("rediver_json", "rediver_github", "rediver_webhook"),
    ]

    assert installed.missing(*contract, *plugins) == plugins


def test_it_serves(installed, tmp_path):
    database = ("--database-url", f"sqlite:///{tmp_path / 'server.sqlite3'}")
    said = installed.run("rediver-server", "tenant", "create", "acme", *database, cwd=tmp_path)
    server = Program(
        tmp_path / "log",
        *("env", "-i", *(f"{key}={word}" for key, word in installed.variables(tmp_path).items())),
        *(str(installed.bin / "rediver-server"), "serve", "--port", "0", *database),
    )
    try:
        found = wait_for(
            lambda: re.search(r"listening on (http://127\.0\.0\.1:\d+)", server.text()),
            "the server listens",
        )
        with urllib.request.urlopen(f"{found[1]}/healthz", timeout=30) as answer:
            assert answer.status == 200
        assert server.stop() == 0
    finally:
        if server.process.poll() is None:
            server.crash()
    assert said.returncode == 0, said.stderr
