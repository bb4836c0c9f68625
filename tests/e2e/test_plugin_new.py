"""`rediver-agent plugin new`: what it writes passes its own tests as it stands, and is a plugin."""

import json
import os
import subprocess  # noqa: TID251 - the tests start the programs themselves
import tomllib
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner
from environment_beside import EnvironmentBeside
from house import BIN

from rediver_agent import __version__
from rediver_agent.cli import cli
from rediver_agent.errors import ConfigurationError

# One kind has the shortest name, one the longest, and one a word that Python has already.
NAMES = {
    "scanner": "lint",
    "collector": "x",
    "parser": "report-of-a-tool-with-a-name-1",
    "handler": "none",
}
OTHERS = "semgrep,trivy,gitleaks,github,webhook"  # so that none is asked for its version


def new(*arguments):
    return CliRunner().invoke(cli, ["plugin", "new", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A package of each kind, installed in an environment of their own."""
    directory = tmp_path_factory.mktemp("made")
    for kind, name in NAMES.items():
        said = new(name, "--kind", kind, "--directory", directory)
        assert said.exit_code == 0, said.output
    packages = {kind: directory / f"rediver-{name}" for kind, name in NAMES.items()}
    environment = EnvironmentBeside(directory / ".venv")
    editables = [word for package in packages.values() for word in ("-e", f"{package}[dev]")]
    environment.run("pip", "install", "--quiet", *editables, cwd=directory)
    return environment, packages


def modules(packages):
    return [
        f"{package}/rediver_{NAMES[kind].replace('-', '_')}" for kind, package in packages.items()
    ]


@pytest.mark.xdist_group("plugin_new")
def test_the_tests_of_a_package_pass_as_it_stands(made):
    environment, packages = made

    def tested(package):
        return environment.run("pytest", "-q", "-p", "no:cacheprovider", cwd=package)

    with ThreadPoolExecutor() as at_once:
        for said in at_once.map(tested, packages.values()):
            assert " passed" in said
            assert "skipped" not in said


@pytest.mark.xdist_group("plugin_new")
def test_the_agent_finds_each_and_says_what_it_provides(made, tmp_path):
    environment, _ = made

    environment.variables["REDIVER_DISABLE_PLUGINS"] = OTHERS
    said = json.loads(environment.run("rediver-agent", "plugins", "--json", cwd=tmp_path))

    ours = {f"rediver-{name}" for name in NAMES.values()}
    rows = [row for row in said["plugins"] if row["distribution"] in ours]
    assert {row["kind"]: row["name"] for row in rows} == NAMES


@pytest.mark.xdist_group("plugin_new")
def test_a_package_is_as_its_own_linter_has_it_and_typed(made, tmp_path):
    environment, packages = made
    for package in packages.values():
        environment.run(str(BIN / "ruff"), "check", "--no-cache", cwd=package)
        environment.run(str(BIN / "ruff"), "format", "--check", "--no-cache", cwd=package)
    settings = tmp_path / "pyrightconfig.json"
    venv = {"venvPath": str(BIN.parents[1]), "venv": BIN.parent.name}
    included = {"include": modules(packages), "typeCheckingMode": "strict", **venv}
    settings.write_text(json.dumps(included))

    said = environment.run(str(BIN / "basedpyright"), "-p", str(settings), "--stats", cwd=tmp_path)

    assert f"Total files checked: {len(packages)}" in said


@pytest.mark.xdist_group("plugin_new")
def test_it_asks_for_the_agents_in_which_nothing_can_be_gone_that_it_uses(made):
    _, packages = made
    assert __version__.startswith("0.1.")  # what goes away warns for a release: 0.2 has it still
    projects = {
        kind: tomllib.loads((package / "pyproject.toml").read_text())["project"]
        for kind, package in packages.items()
    }

    assert projects["scanner"]["dependencies"] == ["rediver-agent[sarif]>=0.1,<0.3"]
    assert projects["handler"]["dependencies"] == ["pydantic>=2.10", "rediver-agent>=0.1,<0.3"]
    assert projects["collector"]["entry-points"] == {"rediver_agent": {"x": "rediver_x"}}
    assert projects["parser"]["name"] == f"rediver-{NAMES['parser']}"


def test_it_says_what_to_do_next(tmp_path):
    said = new("rediver-my-tool", "--directory", tmp_path / "not there yet")

    package = tmp_path / "not there yet" / "rediver-my-tool"
    assert f"\n  cd '{package}'\n  pip install -e '.[dev]'\n  pytest\n" in said.output
    assert (package / "rediver_my_tool" / "py.typed").exists()
    assert (package / ".github" / "workflows" / "ci.yml").exists()


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("Lint", "scanner", "'Lint' is no name for a plugin: take small letters"),
        ("9lives", "scanner", "a letter first"),
        ("../lint", "scanner", "is no name"),
        ("my_tool", "scanner", "such as `my-tool`"),
        ("lint-", "scanner", "is no name"),
        ("rediver-", "scanner", "'' is no name"),
        ("l" * 31, "scanner", "at most 30"),
        ("semgrep", "scanner", "rediver-semgrep is one of our own"),
        ("rediver-agent", "parser", "rediver-agent is one of our own"),
        ("health-check", "handler", "health_check is one of the agent's own command types"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(name, kind, sentence, tmp_path):
    said = new(name, "--kind", kind, "--directory", tmp_path)

    assert isinstance(said.exception, ConfigurationError)
    assert sentence in str(said.exception)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_left_alone(tmp_path):
    there = tmp_path / "rediver-lint"
    there.mkdir()

    said = new("lint", "--directory", tmp_path)

    assert "is there already" in str(said.exception)
    assert list(there.iterdir()) == []


def test_what_cannot_be_written_to_its_end_leaves_nothing(tmp_path):
    disk_is_full = "ulimit -f 0; exec rediver-agent plugin new lint"
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])

    done = subprocess.run(
        ["bash", "-c", disk_is_full], cwd=tmp_path, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.startswith("rediver-agent: rediver-lint cannot be written (")
    assert list(tmp_path.iterdir()) == []
