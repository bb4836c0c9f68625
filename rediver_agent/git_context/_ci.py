"""What GitHub Actions and GitLab CI say of the commit that they have checked out.

They are believed for that commit only: a job may check out another branch, or another repository.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from rediver_agent.contract.findings import Branch
from rediver_agent.git_context._head import COMMIT, CONVENTIONAL, branch_name
from rediver_agent.git_context._remote_url import normalised_url
from rediver_agent.git_context._repository import Repository

Environment = Mapping[str, str]
_MAX_EVENT: Final = 26 << 20  # bytes: GitHub sends no larger ones
_PULL: Final = re.compile(r"refs/pull/([1-9][0-9]{0,9})/(?:merge|head)")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class _Job:
    """What a CI job is about. `commits` are those that it may have checked out for that."""

    workspace: str
    branch: Branch
    commits: frozenset[str]


def repository_in_ci(
    environment: Environment, path: PurePosixPath, found: Repository | None
) -> Repository | None:
    """The repository as the CI job knows it, if the directory `path` is what the job is about.

    `found` is what the files say, if they say anything.
    """
    job = None
    if environment.get("GITHUB_ACTIONS") == "true":
        job = _github(environment)
    elif environment.get("GITLAB_CI") == "true":
        job = _gitlab(environment)
    if job is None or not PurePosixPath(job.workspace).is_absolute():
        return None
    workspace = PurePosixPath(Path(job.workspace).resolve())
    if not path.is_relative_to(workspace):
        return None
    if found is None:
        return Repository(workspace, job.branch)
    commit = found.branch.commit_sha if found.branch else None
    about_it = commit in job.commits if commit else found.root == workspace
    return Repository(found.root, job.branch) if about_it else None


def _github(environment: Environment) -> _Job:
    event = _event(environment.get("GITHUB_EVENT_PATH"))
    ref, commit = environment.get("GITHUB_REF", ""), environment.get("GITHUB_SHA", "")
    place = f"{environment.get('GITHUB_SERVER_URL')}/{environment.get('GITHUB_REPOSITORY')}"
    branch = Branch(repository_url=normalised_url(place))
    pull, match = _table(event.get("pull_request")), _PULL.fullmatch(ref)
    if pull or match or environment.get("GITHUB_HEAD_REF"):
        head = _table(pull.get("head"))
        head_commit = _commit(head.get("sha"))
        number = str(pull.get("number") or (match[1] if match else ""))
        said = {
            "name": _branch(environment.get("GITHUB_HEAD_REF") or head.get("ref")),
            "commit_sha": head_commit or _commit(commit),
            "is_default_branch": False,
            "pull_request_number": int(number) if _NUMBER.fullmatch(number) else None,
        }
        # Of this event GITHUB_SHA is a commit of the base, which is no pull request.
        of_base = environment.get("GITHUB_EVENT_NAME") == "pull_request_target"
        commits = {head_commit, None if of_base else commit}
    else:
        default = _table(event.get("repository")).get("default_branch")
        said = {"commit_sha": _commit(commit), **_named(branch_name(ref), _branch(default))}
        commits = {commit}
    return _Job(
        environment.get("GITHUB_WORKSPACE", ""),
        branch.model_copy(update=said),
        frozenset(filter(None, commits)),
    )


def _gitlab(environment: Environment) -> _Job:
    commit = environment.get("CI_COMMIT_SHA", "")
    head = environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "")
    branch = Branch(
        repository_url=normalised_url(environment.get("CI_PROJECT_URL", "")),
        commit_sha=_commit(head) or _commit(commit),
    )
    for kind in ("CI_MERGE_REQUEST", "CI_EXTERNAL_PULL_REQUEST"):
        number = environment.get(f"{kind}_IID", "")
        if _NUMBER.fullmatch(number):
            said = {
                "name": _branch(environment.get(f"{kind}_SOURCE_BRANCH_NAME")),
                "is_default_branch": False,
                "pull_request_number": int(number),
            }
            break
    else:
        tagged = environment.get("CI_COMMIT_TAG")
        name = None if tagged else _branch(environment.get("CI_COMMIT_REF_NAME"))
        said = _named(name, _branch(environment.get("CI_DEFAULT_BRANCH")))
    return _Job(
        environment.get("CI_PROJECT_DIR", ""),
        branch.model_copy(update=said),
        frozenset(filter(None, (commit, head))),
    )


def _named(name: str | None, default: str | None) -> dict[str, Any]:
    """A branch, or what is none, such as a tag. Without a known default, by convention."""
    if name is None:
        return {"is_default_branch": False}
    is_default = name == default if default else True if name in CONVENTIONAL else None
    return {"name": name, "is_default_branch": is_default}


def _branch(name: object) -> str | None:
    return branch_name(f"refs/heads/{name}") if isinstance(name, str) else None


def _commit(said: object) -> str | None:
    return said if isinstance(said, str) and COMMIT.fullmatch(said) else None


def _event(name: str | None) -> dict[str, Any]:
    """The event that began the job; {} where it cannot be read."""
    with suppress(OSError, ValueError, RecursionError):
        file = Path(name or "")
        if file.is_file() and file.stat().st_size <= _MAX_EVENT:
            return _table(json.loads(file.read_bytes()))
    return {}


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
