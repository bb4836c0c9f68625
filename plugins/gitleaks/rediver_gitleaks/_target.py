"""What gitleaks is pointed at, and with which configuration, so that the target cannot hide.

gitleaks reads the `.gitleaksignore` of whatever folder it is pointed at, and no flag prevents that.
So a folder is scanned by a name that nobody can guess, which makes the entries of that file miss;
and a repository's history by way of its git directory, where no such file is.
"""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from secrets import token_hex
from typing import Final

from rediver_agent import Notice, ScanContext, ToolError

LINK: Final = "rediver-target-[0-9a-f]{32}"

_CONFIG: Final = ".gitleaks.toml"
_NAME: Final = "rediver-target-"
_HERE: Final = Path("/proc/self/cwd")  # where a process runs: for gitleaks, the target
_OURS: Final = re.compile(rf".*?/{LINK}/")
# What gitleaks gives to `git log` itself, and that git shall run no program that the repository's
# configuration names for showing changes or signatures.
_LOG: Final = (
    "--log-opts=--full-history {} --diff-filter=tuxdb "
    "--no-ext-diff --no-textconv --no-show-signature"
)


@dataclass(frozen=True, slots=True)
class Target:
    """`arguments` begin gitleaks' command line; `root`, a regex, begins the names of its files."""

    arguments: tuple[str, ...]
    root: str = "^"
    config: str | None = None  # the target's own, from there
    notices: tuple[Notice, ...] = ()


async def trusted_folder(ctx: ScanContext) -> Target:
    """The folder, with all that it says about its own scan."""
    return Target(("dir", "."), config=await _own_config(ctx))


async def folder(ctx: ScanContext) -> Target:
    """The folder, whatever it says. `ToolError` where there is no /proc."""
    if not _HERE.is_dir():
        raise ToolError(
            "a scan that a repository's .gitleaksignore cannot change needs Linux's /proc; set "
            "honour_repository_config: true to scan without it"
        )
    link = ctx.work_dir / f"rediver-target-{token_hex(16)}"
    link.symlink_to(_HERE)
    return Target(("dir", f"{link}/.", *_deaf(ctx)), root=f"/{link.name}/")


async def trusted_history(ctx: ScanContext, branch: str | None, since: date | None) -> Target:
    """The commits, with all that the checkout says about its own scan."""
    _, notices = await _repository(ctx)
    log = await _log(ctx, branch, since)
    return Target(("git", ".", log), config=await _own_config(ctx), notices=notices)


async def history(ctx: ScanContext, branch: str | None, since: date | None) -> Target:
    """The commits, whatever the checkout says. `ToolError` where there is no repository."""
    git_directory, notices = await _repository(ctx)
    log = await _log(ctx, branch, since)
    return Target(("git", git_directory, log, *_deaf(ctx)), notices=notices)


def below_target(file: str) -> str:
    """A file of a report, without the unguessable name before it."""
    return _OURS.sub("", file, count=1) if _NAME in file else file


def _deaf(ctx: ScanContext) -> tuple[str, str]:
    return "--ignore-gitleaks-allow", f"--gitleaks-ignore-path={ctx.work_dir}"


async def _own_config(ctx: ScanContext) -> str | None:
    there = await ctx.run("test", "-f", _CONFIG, ok={0, 1})
    return None if there.exit_code else _CONFIG


async def _repository(ctx: ScanContext) -> tuple[str, tuple[Notice, ...]]:
    """The git directory: without one, gitleaks would find nothing and end well."""
    asked = ("--git-dir", "--is-shallow-repository", "--show-prefix")
    done = await ctx.run("git", "rev-parse", *asked, ok={0, 128})
    if done.exit_code:
        raise ToolError(f"{ctx.target} has no history to scan: {done.stderr_tail.strip()}")
    git_directory, shallow, *prefix = done.stdout.read_text(errors="surrogateescape").splitlines()
    if any(prefix):
        raise ToolError(f"{ctx.target} is a folder in a repository; its history is the root's")
    if shallow == "false":
        return git_directory, ()
    cut = "the clone is shallow: older commits are not in it and were not scanned"
    return git_directory, (Notice("warning", cut),)


async def _log(ctx: ScanContext, branch: str | None, since: date | None) -> str:
    """What git shall show. `ToolError` for a branch that is not there: gitleaks would end well."""
    which = "--all"
    if branch is not None:
        asked = ("--verify", "--quiet", "--end-of-options", f"{branch}^{{commit}}")
        done = await ctx.run("git", "rev-parse", *asked, ok={0, 1, 128})
        commit = done.stdout.read_text(errors="replace").strip()
        if done.exit_code or not re.fullmatch(r"[0-9a-f]{40,64}", commit):
            raise ToolError(f"{ctx.target} has no branch or tag {branch!r}; fetch it first")
        which = commit
    return _LOG.format(f"{which} --since={since.isoformat()}T00:00:00Z" if since else which)
