"""The real gitleaks, through the scanner: what it finds, and what a repository cannot hide."""

import base64
import json
import re
import shutil
import zipfile
from functools import partial
from pathlib import Path

import anyio
import pytest
from agent_context import agent_context, real_scans

from rediver_agent import ScanReport, ToolError
from rediver_agent.contract import Finding
from rediver_agent.testing import parse, scan
from rediver_gitleaks import Gitleaks
from rediver_gitleaks._parse import GitleaksParser

pytestmark = pytest.mark.tools

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
AWS = "AKIA" + "EYM3UZ57IPTMMHHK"  # in two parts, so that no scanner takes it for a real one
GITHUB = "ghp_" + "uHW06o5qD4ycwRUyILWd5I6X0o4zL4nt3pj7"
GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@b.test", "-C")


@pytest.fixture
def target(tmp_path):
    """A folder with a key in `a.env` and one in `keys/b.env`."""
    directory = tmp_path / "app"
    write(directory / "a.env", f"A=1\nKEY={AWS}\n")
    write(directory / "keys" / "b.env", f"TOKEN={GITHUB}\n")
    return directory


@pytest.fixture
def run(tmp_path, target):
    return real_scans(Gitleaks(), target, tmp_path / "base")


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def git(target: Path, *arguments: str) -> str:
    done = anyio.run(anyio.run_process, [*GIT, str(target), *arguments])
    return done.stdout.decode().strip()


def commit(target: Path) -> str:
    git(target, "init", "-q")
    git(target, "add", "-A")
    git(target, "commit", "-qm", "one")
    return git(target, "rev-parse", "HEAD")


def findings(report: ScanReport) -> list[Finding]:
    events = parse(GitleaksParser(), report.path.read_bytes())
    return [event for event in events if isinstance(event, Finding)]


def places(report: ScanReport) -> set[tuple[str | None, str | None, int | None]]:
    return {
        (f.rule_id, f.location.path, f.location.start_line) for f in findings(report) if f.location
    }


BOTH = {("aws-access-token", "a.env", 2), ("github-pat", "keys/b.env", 1)}


def hide(target: Path, head: str = "") -> None:
    """Everything that a repository can do to make gitleaks pass over it."""
    entries = [f"{path}:{rule}:{line}" for rule, path, line in BOTH]
    entries += [f"{head}:{entry}" for entry in entries]
    entries += [f"/proc/self/cwd/{entry}" for entry in entries]
    write(target / ".gitleaksignore", "\n".join(entries))
    write(target / ".gitleaks.toml", '[allowlist]\npaths = [".*"]\n')
    write(target / ".gitattributes", "*.env binary\n")


def test_it_finds_what_is_known_to_be_in_the_vulnerable_app(run, target):
    if not FIXTURES.is_dir():
        pytest.skip(f"{FIXTURES} is not there")
    shutil.copytree(FIXTURES / "vulnerable-app", target, dirs_exist_ok=True)
    expected = json.loads((FIXTURES / "vulnerable-app-expected.json").read_text())["gitleaks"]

    report = run()

    assert {(rule, path, line) for rule, path, line in expected["findings"]} <= places(report)
    assert report.notices == ()


def test_a_folder_cannot_hide_from_its_scan(run, target):
    write(target / "a.env", f"A=1\nKEY={AWS} # gitleaks:allow\n")
    hide(target)

    assert places(run()) == BOTH


def test_a_history_cannot_be_hidden_by_the_checkout(run, target):
    write(target / "a.env", f"A=1\nKEY={AWS} # gitleaks:allow\n")
    hide(target, commit(target))
    write(target / "a.env", "A=1\n")
    git(target, "commit", "-qam", "gone, but not from the history")

    report = run(history=True)

    assert places(report) == BOTH
    assert all(f.properties["commit"] for f in findings(report))


@pytest.mark.parametrize("history", [False, True])
def test_a_repositorys_own_configuration_counts_when_the_options_say_so(history, run, target):
    commit(target)
    hide(target)

    assert places(run(honour_repository_config=True, history=history)) == set()


@pytest.mark.parametrize(("history", "own"), [(False, False), (True, True)])
def test_what_is_excluded_is_not_scanned(history, own, run, target):
    write(target / "lib" / "keys" / "c.env", f"TOKEN={GITHUB}\n")
    commit(target)

    report = run(exclude=["keys/**", "base", "app"], history=history, honour_repository_config=own)

    assert places(report) == {("aws-access-token", "a.env", 2)}


def test_nothing_of_a_secret_is_in_the_report_also_where_it_was_encoded(run, target):
    hidden = base64.b64encode(f"aws_key = {AWS} and more".encode()).decode()
    write(target / "c.env", f"first: {hidden}\n")

    report = run()

    assert ("aws-access-token", "c.env", 1) in places(report)
    shown = "".join(finding.model_dump_json() for finding in findings(report))
    for secret in (AWS, GITHUB, hidden, hidden[:24]):
        assert secret not in shown
        assert secret not in report.path.read_text()


def test_a_history_that_git_cannot_read_is_never_clean(run, target):
    commit(target)
    for pack in (target / ".git" / "objects").glob("[0-9a-f][0-9a-f]"):
        shutil.rmtree(pack)

    report = run(history=True)

    assert findings(report) == []
    assert "error" in {notice.level for notice in report.notices}


def test_a_folder_of_a_repository_has_no_history_of_its_own(tmp_path, target):
    commit(target)
    scanner = Gitleaks()

    with (
        agent_context(scanner, target / "keys", tmp_path / "base") as context,
        pytest.raises(ToolError, match="folder in a repository"),
    ):
        scan(scanner, context, history=True)


def test_an_empty_target_is_no_clean_scan(run, target):
    shutil.rmtree(target)
    target.mkdir()

    report = run()

    assert findings(report) == []
    assert [notice.level for notice in report.notices] == ["warning"]


def test_a_configuration_of_the_host_and_its_rules_find_what_they_name(run, target, tmp_path):
    base = tmp_path / "base.toml"
    base.write_text("[extend]\nuseDefault = true\n")
    ours = tmp_path / "ours.toml"
    ours.write_text(f'[extend]\npath = "{base}"\n[[rules]]\nid = "ours"\nregex = "A=[0-9]"\n')
    write(target / "vendor" / "c.env", "A=2\n")

    with pytest.raises(ToolError, match="nosuch not found"):
        run(rules=["nosuch"])

    report = run(config=str(ours), rules=["ours", "github-pat"], exclude=["vendor"])

    assert places(report) == {("ours", "a.env", 1), ("github-pat", "keys/b.env", 1)}


def test_a_baseline_marks_what_an_earlier_scan_of_the_same_folder_found(run, target, tmp_path):
    arguments = ["gitleaks", "dir", ".", "--no-banner", "--exit-code=0", "--report-format=json"]
    baseline = tmp_path / "baseline.json"
    anyio.run(partial(anyio.run_process, cwd=target), [*arguments, f"--report-path={baseline}"])
    write(target / "new.env", f"TOKEN={GITHUB}\n")

    report = run(baseline=str(baseline))

    assert AWS in baseline.read_text()
    assert places(report) == {*BOTH, ("github-pat", "new.env", 1)}
    assert [f.location.path for f in findings(report) if not f.suppression and f.location] == [
        "new.env"
    ]


def test_archives_are_opened_and_large_files_left_out_when_that_is_asked_for(run, target):
    with zipfile.ZipFile(target / "keys.zip", "w") as archive:
        archive.writestr("in/c.env", f"TOKEN={GITHUB}\n")
    write(target / "large.txt", "x" * 2_000_000 + f"\nTOKEN={GITHUB}\n")

    report = run(max_archive_depth=1, max_target_megabytes=1, max_decode_depth=2)

    assert places(report) == {*BOTH, ("github-pat", "keys.zip!in/c.env", 1)}
    assert [notice.level for notice in report.notices] == ["info"]
    assert report.tool is not None
    assert report.tool.properties["bytes_scanned"]


def test_of_a_history_only_a_branch_or_what_is_new_is_scanned(run, target):
    commit(target)
    git(target, "branch", "old")
    write(target / "c.env", f"TOKEN={GITHUB}\n")
    git(target, "add", "-A")
    git(target, "commit", "-qm", "two")

    old = run(history=True, branch="old", since="2001-01-01")
    assert places(old) == BOTH
    none = run(history=True, since="2099-12-31")

    assert places(none) == set()
    assert old.tool is not None
    assert old.tool.properties["commits_scanned"] == 1
    assert [notice.level for notice in none.notices] == ["warning"]
    with pytest.raises(ToolError, match="no branch or tag 'gone'"):
        run(history=True, branch="gone")


def test_the_version_is_known(tmp_path, target):
    scanner = Gitleaks()

    with agent_context(scanner, target, tmp_path / "base") as context:
        version = anyio.run(scanner.probe, context)

    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
