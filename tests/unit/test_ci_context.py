"""What CI says of the commit that it has checked out, and when it is not believed."""

import json
from pathlib import PurePosixPath

import pytest
from repositories import URL, branch, clone, commit, git, head, of, upstream

from rediver_agent.contract.findings import Branch
from rediver_agent.git_context import repository_in_ci

__all__ = ["clone", "upstream"]


def github(clone, ref, event, **environment):
    file = clone.parent / "event.json"
    file.write_text(json.dumps(event))
    return {
        "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(clone), "GITHUB_EVENT_PATH": str(file),
        "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_REF": ref, "GITHUB_SHA": head(clone), **environment,
    }  # fmt: skip


def in_ci(environment, directory):
    found = repository_in_ci(environment, PurePosixPath(directory), of(directory))
    return found.branch if found else None


REPOSITORY = {"repository": {"default_branch": "develop"}}
GITHUB_URL = "https://github.com/acme/shop"
HEAD_SHA = "ab" * 20


@pytest.mark.parametrize(
    ("ref", "event", "name", "is_default"),
    [
        ("refs/heads/develop", REPOSITORY, "develop", True),
        ("refs/heads/main", REPOSITORY, "main", False),
        ("refs/heads/main", {}, "main", True),
        ("refs/heads/x", {}, "x", None),
        ("refs/tags/v1", REPOSITORY, None, False),
    ],
)
def test_a_push_on_github(clone, ref, event, name, is_default):
    assert in_ci(github(clone, ref, event), clone / "src") == Branch(
        name=name, is_default_branch=is_default, commit_sha=head(clone), repository_url=GITHUB_URL
    )


@pytest.mark.parametrize("known", [True, False])
def test_a_pull_request_on_github_is_never_the_default_branch(clone, known):
    pull = {"number": 7, "head": {"sha": HEAD_SHA, "ref": "develop"}}
    event = {**REPOSITORY, "pull_request": pull} if known else ["nonsense"]
    environment = github(clone, "refs/pull/7/merge", event, GITHUB_HEAD_REF="develop")

    assert in_ci(environment, clone) == Branch(
        name="develop",
        is_default_branch=False,
        commit_sha=HEAD_SHA if known else head(clone),
        repository_url=GITHUB_URL,
        pull_request_number=7,
    )


def test_a_job_of_a_pull_request_that_has_checked_out_its_base_is_no_pull_request(clone):
    event = {"pull_request": {"number": 7, "head": {"sha": HEAD_SHA, "ref": "x"}}}
    name = {"GITHUB_EVENT_NAME": "pull_request_target", "GITHUB_HEAD_REF": "x"}

    assert in_ci(github(clone, "refs/heads/main", event, **name), clone) is None
    event["pull_request"]["head"]["sha"] = head(clone)
    found = in_ci(github(clone, "refs/heads/main", event, **name), clone)
    assert (found.name, found.is_default_branch, found.pull_request_number) == ("x", False, 7)


def gitlab(clone, **environment):
    return {
        "GITLAB_CI": "true", "CI_PROJECT_DIR": str(clone), "CI_COMMIT_SHA": head(clone),
        "CI_PROJECT_URL": URL, "CI_DEFAULT_BRANCH": "main", **environment,
    }  # fmt: skip


def test_a_branch_a_tag_and_a_merge_request_on_gitlab(clone):
    git(clone, "checkout", "-q", "--detach")
    sha = head(clone)
    same = {"commit_sha": sha, "repository_url": URL}

    assert in_ci(gitlab(clone, CI_COMMIT_REF_NAME="main"), clone) == Branch(
        name="main", is_default_branch=True, **same
    )
    assert in_ci(gitlab(clone, CI_COMMIT_REF_NAME="v1", CI_COMMIT_TAG="v1"), clone) == Branch(
        is_default_branch=False, **same
    )
    request = {"CI_MERGE_REQUEST_IID": "9", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "main"}
    assert in_ci(gitlab(clone, CI_COMMIT_REF_NAME="main", **request), clone) == Branch(
        name="main", is_default_branch=False, pull_request_number=9, **same
    )


def test_ci_is_believed_for_its_own_commit_and_workspace_only(clone, upstream, tmp_path):
    environment = gitlab(clone, CI_COMMIT_REF_NAME="main")
    (tmp_path / "elsewhere").mkdir()
    git(clone, "init", "-q", "fixture")
    git(clone, "init", "-q", "other")
    commit(clone / "other", "of another repository")
    git(clone, "switch", "-q", "-c", "checked-out-by-the-job")
    commit(clone)

    for directory in (clone, tmp_path / "elsewhere", clone / "fixture", clone / "other"):
        assert in_ci(environment, directory) is None
    assert branch(clone).name == "checked-out-by-the-job"


def test_ci_knows_a_workspace_without_a_repository(tmp_path):
    environment = {
        "GITLAB_CI": "true", "CI_PROJECT_DIR": str(tmp_path), "CI_PROJECT_URL": URL,
        "CI_COMMIT_SHA": HEAD_SHA, "CI_COMMIT_REF_NAME": "main", "CI_DEFAULT_BRANCH": "main",
    }  # fmt: skip
    (tmp_path / "src").mkdir()

    found = repository_in_ci(environment, PurePosixPath(tmp_path / "src"), None)

    assert found.root == PurePosixPath(tmp_path)
    assert found.branch.is_default_branch is True


@pytest.mark.parametrize("kind", ["GITHUB_ACTIONS", "GITLAB_CI"])
def test_an_environment_that_only_claims_to_be_ci_says_nothing(tmp_path, kind):
    assert repository_in_ci({kind: "true"}, PurePosixPath(tmp_path), None) is None
    assert repository_in_ci({}, PurePosixPath(tmp_path), None) is None
