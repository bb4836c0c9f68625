"""The history of a repository, in a git directory of our own that is lent its objects and refs.

The target's `.git` is hostile, too: its configuration can have `git log` run a program, and with
its attributes, grafts and replaced objects it hides files and commits. None of that is read here.
Nor is the history of another repository: what `.git` leads to must lie in the target.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Final

from anyio.to_thread import run_sync

from rediver_agent import Completed, Notice, ScanContext, ToolError

GIT: Final[Mapping[str, str]] = {
    # A scanner's user is often not the owner. What git guards against by that is not read here.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "GIT_ALLOW_PROTOCOL": "",  # what a clone lacks is not fetched by the means that it names
    "GIT_NO_REPLACE_OBJECTS": "1",
}
"""The environment of every git."""

_ASKED: Final = (
    *("--is-shallow-repository", "--show-object-format", "--git-common-dir", "--show-prefix"),
    *("--revs-only", "HEAD"),
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40,64}")
_LENT: Final = ("objects", "refs", "packed-refs", "shallow", "worktrees")
_BORROWED: Final = "objects/info/alternates"
_NO_ATTRIBUTES: Final = {  # the empty tree: git would take those of HEAD
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
# What gitleaks gives to `git log` itself.
_LOG: Final = "--log-opts=--full-history {} --diff-filter=tuxdb"


async def own_git_directory(ctx: ScanContext) -> tuple[Path, tuple[Notice, ...]]:
    """A git directory with the target's history. `ToolError` where there is none, or not there."""
    done = await ctx.run("git", "rev-parse", *_ASKED, ok={0, 128})
    if done.exit_code:
        raise ToolError(f"{ctx.target} has no history to scan: {done.stderr_tail.strip()}")
    shallow, kind, directory, *more = _lines(done)
    if any(line.endswith("/") for line in more):
        raise ToolError(f"{ctx.target} is a folder in a repository; its history is the root's")
    there = await _below_target(ctx, directory)
    head = next((line for line in more if _COMMIT.fullmatch(line)), "ref: refs/heads/unborn")
    origin = _lines(await ctx.run("git", "config", "--get", "remote.origin.url", ok={0, 1}))
    if (there / "reftable").exists():
        raise ToolError(
            f"{ctx.target} keeps its branches as a reftable, which is not read: "
            "`git refs migrate --ref-format=files` changes that"
        )
    ours = ctx.work_dir / "history.git"
    await run_sync(_lend, ours, there, head, "\n".join(_configuration(kind, origin)))
    if shallow == "false":
        return ours, ()
    cut = "the clone is shallow: older commits are not in it and were not scanned"
    return ours, (Notice("warning", cut),)


async def log_options(
    ctx: ScanContext, directory: Path, branch: str | None, since: date | None
) -> str:
    """What git shall show. `ToolError` for a branch that is not there: gitleaks would end well."""
    which = "--all"
    if branch is not None:
        asked = ("--verify", "--quiet", "--end-of-options", f"{branch}^{{commit}}")
        git_dir = f"--git-dir={directory}"
        done = await ctx.run("git", git_dir, "rev-parse", *asked, ok={0, 1, 128})
        which = "".join(_lines(done))
        if done.exit_code or not _COMMIT.fullmatch(which):
            raise ToolError(f"{ctx.target} has no branch or tag {branch!r}; fetch it first")
    return _LOG.format(f"{which} --since={since.isoformat()}T00:00:00Z" if since else which)


async def _below_target(ctx: ScanContext, directory: str) -> Path:
    """Where the git directory is. `ToolError` where it, or what is lent of it, is elsewhere."""
    target, *there = _lines(await ctx.run("realpath", "--", ".", directory))
    git_directory = Path(*there)
    if len(there) == 1 and git_directory.is_relative_to(target):
        lent = [str(path) for name in _LENT if (path := git_directory / name).exists()]
        leads_out = ("(", "-type", "l", "-o", "-path", f"*/{_BORROWED}", ")")
        if not _lines(await ctx.run("find", *lent, *leads_out, "-print", "-quit")):
            return git_directory
    raise ToolError(
        f"the history of {ctx.target} lies elsewhere (a worktree, a submodule, links in its git "
        f"directory, or {_BORROWED}, which `git repack -a` makes needless): scan the repository "
        "that has it"
    )


def _configuration(kind: str, origin: list[str]) -> Iterator[str]:
    """Only what the objects need to be read, and the address that gitleaks makes links of."""
    yield "[core]\nbare = true\ncommitGraph = false"
    if kind == "sha1":
        yield "repositoryFormatVersion = 0"
    else:
        yield f"repositoryFormatVersion = 1\n[extensions]\nobjectFormat = {json.dumps(kind)}"
    if kind in _NO_ATTRIBUTES:
        yield f"[attr]\ntree = {_NO_ATTRIBUTES[kind]}"
    if origin and origin[0].isascii() and origin[0].isprintable():
        yield f'[remote "origin"]\nurl = {json.dumps(origin[0])}'


def _lend(ours: Path, there: Path, head: str, configuration: str) -> None:
    ours.mkdir()
    (ours / "HEAD").write_text(f"{head}\n")
    (ours / "config").write_text(f"{configuration}\n")
    for name in _LENT:
        if (there / name).exists():
            (ours / name).symlink_to(there / name)


def _lines(done: Completed) -> list[str]:
    return done.stdout.read_text(errors="surrogateescape").splitlines()
