"""`pip install rediver-agent[semgrep,gitleaks]` from wheels, with nothing else on the path."""

import json
import shutil
from pathlib import Path

import pytest
from fresh_environment import FreshEnvironment

APP = Path(__file__).parents[2] / "rediver_agent" / "demo" / "app"
pytestmark = [pytest.mark.xdist_group("agent-installed"), pytest.mark.tools]


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    environment = FreshEnvironment(tmp_path_factory.mktemp("agent") / "environment", wheels)
    environment.install("rediver-agent[semgrep,gitleaks]")
    return environment


def test_it_brings_the_plugins_that_were_asked_for_and_nothing_of_a_server(installed):
    asked = ["rediver_agent", "rediver_semgrep", "rediver_gitleaks"]
    others = ["rediver_trivy", "rediver_sarif", "rediver_github"]
    of_a_server = ["flask", "sqlalchemy", "gunicorn", "gevent", "psycopg", "rediver_server"]

    assert installed.missing(*asked, *others, *of_a_server) == [*others, *of_a_server]


def test_it_scans(installed, tmp_path):
    app = tmp_path / "app"
    shutil.copytree(APP, app)
    (app / "settings.py").write_text(
        'token = "ghp_' + "wXu7Bo3Cdf9K2mQ8rT5vY1zA4eH6jL0nP8sD" + '"\n'
    )

    done = installed.run(
        *("rediver-agent", "scan", "app", "--scanner", "semgrep", "--scanner", "gitleaks"),
        *("--format", "json"),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    found = {
        report["tool"]["name"]: len(report["findings"])
        for report in json.loads(done.stdout)["reports"]
    }
    assert set(found) == {"semgrep", "gitleaks"}
    assert all(found.values())


def test_it_writes_a_plugin_from_what_lies_beside_its_code(installed, tmp_path):
    made = installed.run("rediver-agent", "plugin", "new", "hello", cwd=tmp_path)

    assert made.returncode == 0, made.stderr
    assert (tmp_path / "rediver-hello" / "rediver_hello" / "__init__.py").is_file()
