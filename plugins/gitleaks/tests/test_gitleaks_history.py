"""The real gitleaks and git over a hostile `.git`: nothing of it runs, hides or leads out."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from agent_context import real_scans

from rediver_agent import ScanReport, ToolError
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_gitleaks import Gitleaks
from rediver_gitleaks._parse import GitleaksParser

pytestmark = pytest.mark.tools

AWS = "AKIA" + "EYM3UZ57IPTMMHHK"  # in two parts, so that no scanner takes it for a real one
WHO = ("-c", "user.name=A", "-c", "user.email=a@b.test")
SIGNED = """tree {tree}
author A <a@b.test> 1700000000 +0000
committer A <a@b.test> 1700000000 +0000
gpgsig -----BEGIN PGP SIGNATURE-----
 \n abc\n -----END PGP SIGNATURE-----

one
"""


@pytest.fixture
def target(tmp_path):
    """A repository whose first commit has a key, and is signed; the second has nothing."""
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "a.env").write_text(f"KEY={AWS}\n")
    git(directory, "init", "-q", "-b", "main")
    git(directory, "add", "-A")
    commit = SIGNED.format(tree=git(directory, "write-tree"))
    first = git(directory, "hash-object", "-t", "commit", "-w", "--stdin", said=commit)
    git(directory, "update-ref", "HEAD", first)
    (directory / "b.txt").write_text("b\n")
    git(directory, "add", "-A")
    git(directory, *WHO, "commit", "-qm", "two")
    return directory


@pytest.fixture
def scanned(tmp_path) -> Callable[[Path], ScanReport]:
    return lambda directory: real_scans(Gitleaks(), directory, tmp_path / "base")(history=True)


def git(directory: Path, *arguments: str, said: str = "") -> str:
    run = partial(anyio.run_process, input=said.encode())
    return anyio.run(run, ["git", "-C", str(directory), *arguments]).stdout.decode().strip()


def findings(report: ScanReport) -> list[Finding]:
    events = parse(GitleaksParser(), report.path.read_bytes())
    return [event for event in events if isinstance(event, Finding)]


def test_what_a_git_directory_says_runs_nothing_and_hides_nothing(scanned, target, tmp_path):
    ran, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    git(target, "config", "format.pretty", "%G? %H")
    git(target, "config", "gpg.program", str(program))
    git(target, "config", "log.showRoot", "false")
    git(target, "config", "color.ui", "always")
    (target / ".git" / "info" / "attributes").write_text("*.env binary\n")
    (target / ".git" / "info" / "grafts").write_text(git(target, "rev-parse", "HEAD"))
    git(target, "config", "remote.origin.url", "https://github.com/acme/shop.git")

    report = scanned(target)

    assert [f.location.path for f in findings(report) if f.location] == ["a.env"]
    assert findings(report)[0].references[0].startswith("https://github.com/acme/shop/")
    assert report.notices == ()
    assert report.tool is not None
    assert report.tool.properties["commits_scanned"] == 2
    assert not ran.exists()


def test_a_commit_that_no_branch_has_is_scanned_where_it_is_checked_out(scanned, target):
    git(target, "checkout", "-q", "--detach")
    git(target, "branch", "-qD", "main")

    assert len(findings(scanned(target))) == 1


def a_file(ours: Path, other: Path) -> None:
    (ours / ".git").write_text(f"gitdir: {other}/.git\n")


def a_link(ours: Path, other: Path) -> None:
    (ours / ".git").symlink_to(other / ".git")


def a_link_inside(ours: Path, other: Path) -> None:
    git(ours, "init", "-q")
    (ours / ".git" / "refs" / "heads" / "x").symlink_to(other / ".git" / "refs" / "heads")


def a_loan(ours: Path, other: Path) -> None:
    git(ours, "init", "-q")
    (ours / ".git" / "objects" / "info" / "alternates").write_text(f"{other}/.git/objects\n")
    (ours / ".git" / "refs" / "heads" / "x").write_text(git(other, "rev-parse", "HEAD"))


@pytest.mark.parametrize("lead_to", [a_file, a_link, a_link_inside, a_loan])
def test_a_git_directory_does_not_lead_to_the_history_of_another(
    lead_to, scanned, target, tmp_path
):
    ours = tmp_path / "ours"
    ours.mkdir()
    lead_to(ours, target)

    with pytest.raises(ToolError, match="lies elsewhere"):
        scanned(ours)


def test_a_folder_that_is_called_like_our_own_name_for_the_target_keeps_its_name(scanned, target):
    name = f"lib/rediver-target-{'a' * 32}/a.env"
    (target / name).parent.mkdir(parents=True)
    (target / name).write_text(f"KEY={AWS}\n")
    git(target, "add", "-A")
    git(target, *WHO, "commit", "-qm", "three")

    paths = {f.location.path for f in findings(scanned(target)) if f.location}

    assert paths == {"a.env", name}


def test_branches_that_are_not_read_are_an_error(scanned, target):
    (target / ".git" / "reftable").mkdir()

    with pytest.raises(ToolError, match="keeps its branches as a reftable"):
        scanned(target)


def test_a_repository_of_another_owner_and_a_bare_one_are_scanned(scanned, target, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(target), "bare.git")
    elsewhere = {**Gitleaks.environment, "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    asked = ["git", "-C", str(target), "rev-parse", "--git-dir"]
    done = anyio.run(
        partial(anyio.run_process, env={**elsewhere, "PATH": os.environ["PATH"]}), asked
    )

    assert done.stdout == b".git\n"
    assert len(findings(scanned(tmp_path / "bare.git"))) == 1
