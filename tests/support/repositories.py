"""Repositories that the real git has made, and what is read of them without it."""

import os
import subprocess  # noqa: TID251 - repositories are made by the real git
from pathlib import Path, PurePosixPath

import pytest

from rediver_agent.git_context import repository_around

URL = "https://git.example.com/acme/shop"


def git(where, *arguments):
    """What the real git says, with nobody's configuration but its own."""
    env = {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": f"{what}@example.com"
           for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }  # fmt: skip
    command = ["git", "-c", "protocol.file.allow=always", *map(str, arguments)]
    done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(where, message="one"):
    git(where, "commit", "-q", "--allow-empty", "-m", message)
    return git(where, "rev-parse", "HEAD")


def of(directory, read=repository_around):
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read(descriptor, PurePosixPath(Path(directory).resolve()))
    finally:
        os.close(descriptor)


def branch(directory, read=repository_around):
    found = of(directory, read)
    return found.branch if found else None


@pytest.fixture
def upstream(tmp_path):
    """A repository with `main` and `feature`, as a remote has it."""
    git(tmp_path, "init", "-q", "-b", "main", "upstream")
    commit(tmp_path / "upstream")
    git(tmp_path / "upstream", "branch", "feature")
    return tmp_path / "upstream"


@pytest.fixture
def clone(tmp_path, upstream):
    """A clone of it that knows its remote by a proper address."""
    git(tmp_path, "clone", "-q", upstream, "clone")
    git(tmp_path / "clone", "remote", "set-url", "origin", f"{URL}.git")
    (tmp_path / "clone" / "src").mkdir()
    return tmp_path / "clone"


def head(where):
    return git(where, "rev-parse", "HEAD")
