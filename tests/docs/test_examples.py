"""The examples of the docs, run as they stand.

A ```console block is typed line by line into a shell; `> ` goes on with the line before, and
`# exit N` says with what code a line ends.
Lines below a command must be printed by it, in that order; `…` stands for anything. ```yaml blocks
of settings are loaded, ```json blocks parsed.
"""

import json
import os
import re
import signal
import subprocess  # noqa: TID251 - the examples are typed into a real shell
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from environment_beside import EnvironmentBeside
from house import BIN

from rediver_agent.settings_file import load

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "bin"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return [body for name, body in BLOCK.findall(text) if name == language]


def pages_with(language):
    return [
        pytest.param(page, id=page.relative_to(ROOT).as_posix())
        for page in PAGES
        if blocks(page, language)
    ]


def commands(body):
    """Each command of a block with the lines that it must print."""
    found = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line == ">" or line.startswith("> "):
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", found[-1][1])
        elif line.strip():
            found[-1][1].append(line)
    return found


@pytest.mark.tools
@pytest.mark.parametrize("page", pages_with("console"))
def test_the_commands_of_a_page_do_what_it_says(page, tmp_path):
    path = os.pathsep.join([str(BIN), str(TOOLS), os.environ["PATH"]])
    env = {"PATH": path, "HOME": str(tmp_path / "home"), "COLUMNS": "160", "LANG": "C.UTF-8"}
    (tmp_path / "home").mkdir()
    if any("pip install" in body for body in blocks(page, "console")):  # not into ours
        beside = EnvironmentBeside(tmp_path / "home" / "environment")
        env |= {**beside.variables, "PATH": os.pathsep.join([str(beside.bin), path])}
    exports, sessions = "", []
    try:
        for body in blocks(page, "console"):
            for command, expected in commands(body):
                wanted = re.search(r"# exit (\d)", command)
                code, said = _typed(exports + command, tmp_path, env, sessions)
                if command.startswith("export "):
                    exports += f"{command}\n"
                assert code == (int(wanted[1]) if wanted else 0), f"{command}\n{said}"
                _printed_in_order(said, expected)
    finally:
        for session in sessions:  # what a page starts in the background, and a failed one leaves
            with suppress(ProcessLookupError):
                os.killpg(session, signal.SIGKILL)


def _typed(command, directory, env, sessions):
    """Exit code and output of a shell in a session of its own, which is noted."""
    with subprocess.Popen(
        ["bash", "-c", command], cwd=directory, env=env, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as shell:  # fmt: skip
        sessions.append(shell.pid)
        printed, complained = shell.communicate(timeout=100)
    return shell.returncode, printed + complained


def _printed_in_order(said, expected):
    lines = iter(said.splitlines())
    for pattern in expected:
        glob = re.sub(r"([\[\]?*])", r"[\1]", pattern.strip()).replace("…", "*")
        assert any(fnmatch(line.strip(), glob) for line in lines), f"{pattern!r} not in\n{said}"


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_the_settings_of_a_page_can_be_used(page, tmp_path):
    (tmp_path / "key").write_text("rs_src_example")
    for body in blocks(page, "yaml"):
        assert isinstance(yaml.safe_load(body), dict)
        file = tmp_path / "agent.yaml"
        file.write_text(body.replace("/etc/rediver/key", str(tmp_path / "key")))
        assert load(file).agent.name


def test_json_in_the_docs_is_json():
    for page in PAGES:
        for body in blocks(page, "json"):
            json.loads(body)
