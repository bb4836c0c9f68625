"""Start-up is a feature: what `--help` may import, and that the agent needs nothing of a server."""

import json
import subprocess  # noqa: TID251 - a fresh interpreter is what is looked at
import sys

import pytest

PRINT_MODULES = "import sys, json; print(json.dumps(sorted(m.split('.')[0] for m in sys.modules)))"


def imported_by(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{PRINT_MODULES}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_click_and_nothing_heavy():
    modules = imported_by(
        "from rediver_agent.cli import cli\ncli.main(['--help'], standalone_mode=False)"
    )

    assert "click" in modules
    heavy = {"pydantic", "httpx", "anyio", "yaml", "rich", "sqlite3", "pluggy", "psutil"}
    assert not modules & heavy


def test_importing_the_package_imports_nothing_of_it():
    assert not imported_by("import rediver_agent") & {"pydantic", "pluggy", "anyio"}


@pytest.mark.parametrize("module", ["rediver_agent.agent", "rediver_agent.cli.scan"])
def test_an_agent_imports_nothing_of_a_server(module):
    assert not imported_by(f"import {module}") & {"flask", "sqlalchemy", "alembic", "gunicorn"}


def test_every_name_of_the_public_surface_can_be_imported():
    code = "import rediver_agent\nfor name in rediver_agent.__all__: getattr(rediver_agent, name)"

    assert "rediver_agent" in imported_by(code)
