"""Which repository, branch and commit a directory is: as git says, or nothing at all."""

import os
import shutil
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repositories import URL, branch, clone, commit, git, head, of, upstream

from rediver_agent.contract.findings import Branch
from rediver_agent.git_context import (
    Repository,
    normalised_url,
    repository_around,
    repository_at,
)

__all__ = ["clone", "upstream"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("read", [repository_at, repository_around])
def test_a_clone_is_its_remote_s_default_branch(clone, read, packed):
    if packed:
        git(clone, "pack-refs", "--all")

    assert of(clone, read) == Repository(
        PurePosixPath(clone),
        Branch(
            name="main", is_default_branch=True, commit_sha=head(clone), repository_url=URL
        ),
    )  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_another_branch_of_a_clone_is_not_the_default_one(clone, packed):
    git(clone, "switch", "-q", "-c", "feature/x")
    there = commit(clone)
    if packed:
        git(clone, "pack-refs", "--all")

    assert branch(clone) == Branch(
        name="feature/x", is_default_branch=False, commit_sha=there, repository_url=URL
    )


def test_below_the_root_only_what_the_operator_named_finds_the_repository(clone):
    assert of(clone / "src").root == PurePosixPath(clone)
    assert of(clone / "src", repository_at) is None


def test_a_worktree_has_its_own_branch_and_its_repository_s_address(clone, tmp_path):
    git(clone, "worktree", "add", "-q", tmp_path / "tree", "-b", "side")

    found = of(tmp_path / "tree")

    assert found.root == PurePosixPath(tmp_path / "tree")
    assert (found.branch.name, found.branch.is_default_branch) == ("side", False)
    assert (found.branch.commit_sha, found.branch.repository_url) == (head(clone), URL)
    assert of(tmp_path / "tree", repository_at).branch is None, "its files are elsewhere"


def test_a_submodule_is_a_repository_of_its_own(clone, upstream, tmp_path):
    commit(upstream, "two")
    git(clone, "submodule", "--quiet", "add", upstream, "lib/mod")
    module = clone / "lib" / "mod"
    git(module, "remote", "set-url", "origin", "git@git.example.com:acme/lib.git")

    assert branch(module) == Branch(
        name="main",
        is_default_branch=True,
        commit_sha=head(upstream),
        repository_url="https://git.example.com/acme/lib",
    )
    assert branch(clone).repository_url == URL
    git(module, "worktree", "add", "-q", tmp_path / "tree", "-b", "side")
    assert branch(tmp_path / "tree").repository_url == "https://git.example.com/acme/lib"


def test_a_detached_head_is_the_default_branch_at_its_tip_only(clone, tmp_path):
    git(clone, "checkout", "-q", "--detach")
    at_tip = branch(clone)
    elsewhere = commit(clone, "local")

    assert (at_tip.name, at_tip.is_default_branch) == (None, True)
    assert branch(clone) == Branch(
        is_default_branch=False, commit_sha=elsewhere, repository_url=URL
    )


def test_a_shallow_clone_is_understood(upstream, tmp_path):
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{upstream}", "shallow")

    found = branch(tmp_path / "shallow")

    assert (found.name, found.is_default_branch) == ("main", True)
    assert found.commit_sha == head(upstream)
    assert found.repository_url is None, "a path is no address"


@pytest.mark.parametrize(
    ("branches", "on", "is_default"),
    [
        (["main"], "main", True),
        (["main", "dev"], "main", True),
        (["main", "dev"], "dev", None),
        (["master", "dev"], "master", True),
        (["main", "master"], "main", None),
        (["trunk"], "trunk", True),
        (["trunk", "group/dev"], "trunk", None),
    ],
)
def test_without_a_remote_the_default_branch_is_told_by_convention(
    tmp_path, branches, on, is_default
):
    git(tmp_path, "init", "-q", "-b", branches[0])
    commit(tmp_path)
    for name in branches[1:]:
        git(tmp_path, "branch", name)
    git(tmp_path, "switch", "-q", on)

    assert (branch(tmp_path).name, branch(tmp_path).is_default_branch) == (on, is_default)
    git(tmp_path, "pack-refs", "--all")
    assert branch(tmp_path).is_default_branch is is_default


def test_a_branch_without_a_commit_has_a_name(tmp_path):
    git(tmp_path, "init", "-q", "-b", "trunk")

    assert branch(tmp_path) == Branch(name="trunk", is_default_branch=True)


def test_a_remote_without_a_known_head_leaves_other_branches_open(clone):
    git(clone, "remote", "set-head", "origin", "--delete")
    assert branch(clone).is_default_branch is True
    git(clone, "switch", "-q", "-c", "only-this")
    git(clone, "branch", "-q", "-D", "main")

    assert branch(clone).is_default_branch is None


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://git.example.com/acme/shop", URL),
        ("https://x-token:s3cret@git.example.com/acme/shop.git", URL),
        ("https://Git.Example.com:443/acme/shop/", URL),
        ("https://git.example.com/acme/shop.git?private_token=s3cret#s3cret", URL),
        ("git@git.example.com:acme/shop.git", URL),
        ("git.example.com:/acme/shop", URL),
        ("ssh://git:s3cret@git.example.com:2222/acme/shop.git", URL),
        ("git+ssh://git.example.com/acme/shop", URL),
        ("git://git.example.com/acme/shop", URL),
        ("http://git.example.com:8080/acme/shop", "http://git.example.com:8080/acme/shop"),
        ("git@[2001:db8::1]:acme/shop", "https://[2001:db8::1]/acme/shop"),
        ("https://user:12/s3cret@git.example.com/acme/shop", None),
        ("https://user:s3cret/x@git.example.com/acme/shop", None),
        ("https://git.example.com", None),
        ("https://git.example.com/../shop", None),
        ("/srv/git/shop.git", None),
        ("../shop.git", None),
        ("file:///srv/git/shop.git", None),
        ("C:/shop", None),
        ("codecommit::eu-west-1://profile@shop", None),
        ("ext::sh -c s3cret", None),
        (f"https://git.example.com/{'a' * 2000}", None),
        ("", None),
    ],
)
def test_an_address_has_one_spelling_and_no_password(written, url):
    assert normalised_url(written) == url


@given(
    st.text(alphabet="aB1:/@.[]%\\?# \n-s", max_size=30),
    st.sampled_from(["https://", "ssh://", "", "git@"]),
)
def test_no_address_is_an_error_or_keeps_what_stands_before_an_at(written, scheme):
    url = normalised_url(scheme + written)

    assert url is None or ("@" not in url and url.startswith(("https://", "http://")))


def test_an_address_that_git_would_rewrite_is_not_known(clone):
    git(clone, "remote", "set-url", "origin", "forge:acme/shop")
    assert branch(clone).repository_url == "https://forge/acme/shop"
    git(clone, "config", "url.https://git.example.com/.insteadOf", "forge:")

    assert branch(clone).repository_url is None


def test_a_configuration_is_read_as_git_reads_it(clone):
    (clone / ".git" / "config").write_text(
        '\ufeff# [remote "origin"]\n[core]\n\tbare = false ; no\n[REMOTE "origin"] URL = "https://'
        'user:pa#ss@git.example.com/"acme\\\n/sh\\\nop # not this\n[remote "Origin"]\n\turl = x\n'
    )

    assert git(clone, "config", "remote.origin.url").endswith("git.example.com/acme/shop")
    assert branch(clone).repository_url is None, "a # in a password ends the address early"
    git(clone, "config", "remote.origin.url", "https://git.example.com/acme/shop")
    assert branch(clone).repository_url == URL


FOREIGN = "[core]\nrepositoryformatversion = 1\n[extensions]\nrefStorage = reftable\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("HEAD", ""),
        ("HEAD", "ref: refs/heads/.invalid\n"),
        ("HEAD", "ref: refs/heads/../../../etc/passwd\n"),
        ("HEAD", "ref: refs/remotes/origin/main\n"),
        ("HEAD", "ref: refs/heads/a\x1b[31m\n"),
        ("HEAD", "f" * 39),
        ("HEAD", "ref: refs/heads/" + "x" * 9000),
        ("HEAD", b"ref: refs/heads/\xff\n"),
        ("config", FOREIGN),
        ("config", "[core]\nrepositoryformatversion = 2\n"),
        ("config", "[core\n"),
        ("config", "stray = 1\n"),
        ("config", '[remote "origin"]\nurl = "a\n'),
        ("config", b"[core]\nx = \xff\n"),
        ("config", "# " + "x" * (1 << 20)),
        ("refs/remotes/origin/HEAD", "nonsense"),
        ("refs/remotes/origin/HEAD", "ref: refs/heads/main"),
    ],
)
def test_a_malformed_file_means_that_nothing_is_known(clone, name, content):
    path = clone / ".git" / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    for read in (repository_at, repository_around):
        assert of(clone, read) == Repository(PurePosixPath(clone), None)


def test_a_branch_whose_file_is_nonsense_has_no_commit(clone):
    (clone / ".git" / "refs" / "heads" / "main").write_text("nonsense\n")

    assert branch(clone) == Branch(name="main", is_default_branch=True, repository_url=URL)


@pytest.mark.parametrize("name", ["HEAD", "config", "refs", "refs/heads/main"])
def test_no_link_is_followed(clone, tmp_path, name):
    path = clone / ".git" / name
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")

    assert branch(clone) is None
    assert branch(clone, repository_at) is None


def test_git_s_directory_itself_is_no_link(clone, tmp_path):
    (clone / ".git").rename(tmp_path / "moved")
    (clone / ".git").symlink_to(tmp_path / "moved")

    assert branch(clone) is None


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(clone):
    (clone / ".git" / "HEAD").unlink()
    os.mkfifo(clone / ".git" / "HEAD")

    assert branch(clone) is None


def test_a_tree_cannot_point_to_somebody_s_repository(clone, tmp_path):
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    git(clone, "worktree", "add", "-q", tmp_path / "tree", "-b", "side")
    inside = hostile / "worktrees" / "x"
    shutil.copytree(clone / ".git" / "worktrees" / "tree", inside)
    (inside / "gitdir").write_text(f"{hostile}/.git\n")
    (inside / "commondir").write_text(f"{clone}/.git\n")

    for pointer in (
        f"gitdir: {clone}/.git", f"gitdir: {clone}/.git/worktrees/tree", f"gitdir: {inside}",
        "gitdir: ../nowhere", "gitdir: ", "nonsense",
    ):  # fmt: skip
        (hostile / ".git").write_text(f"{pointer}\n")
        assert of(hostile) == Repository(PurePosixPath(hostile), None), pointer


@given(
    st.binary(max_size=60), st.sampled_from(["HEAD", "config", "packed-refs", "refs/heads/main"])
)
def test_no_bytes_are_an_error(tmp_path_factory, content, name):
    root = tmp_path_factory.mktemp("tree")
    (root / ".git" / "refs" / "heads").mkdir(parents=True)
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (root / ".git" / name).write_bytes(content)

    assert of(root).root == PurePosixPath(root)
