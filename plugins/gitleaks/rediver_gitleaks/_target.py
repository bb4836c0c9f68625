"""What gitleaks is pointed at, and with which configuration, so that the target cannot hide.

gitleaks reads the `.gitleaksignore` of whatever folder it is pointed at, and no flag prevents that.
So a folder is scanned by a name that nobody can guess, which makes the entries of that file miss;
and a repository's history by way of a git directory of our own, where no such file is.
"""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from secrets import token_hex
from typing import Final

from rediver_agent import Notice, ScanContext, ToolError
from rediver_gitleaks._history import log_options, own_git_directory

LINK: Final = "rediver-target-[0-9a-f]{32}"

_CONFIG: Final = ".gitleaks.toml"
_NAME: Final = "rediver-target-"
_HERE: Final = Path("/proc/self/cwd")  # where a process runs: for gitleaks, the target
_OURS: Final = re.compile(rf"^/.*?/{LINK}/")  # in a history, names are relative


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
    directory, notices = await own_git_directory(ctx)
    log = await log_options(ctx, directory, branch, since)
    return Target(("git", str(directory), log), config=await _own_config(ctx), notices=notices)


async def history(ctx: ScanContext, branch: str | None, since: date | None) -> Target:
    """The commits, whatever the checkout says. `ToolError` where there is no repository."""
    directory, notices = await own_git_directory(ctx)
    log = await log_options(ctx, directory, branch, since)
    return Target(("git", str(directory), log, *_deaf(ctx)), notices=notices)


def below_target(file: str) -> str:
    """A file of a report, without the unguessable name before it."""
    return _OURS.sub("", file, count=1) if _NAME in file else file


def _deaf(ctx: ScanContext) -> tuple[str, str]:
    return "--ignore-gitleaks-allow", f"--gitleaks-ignore-path={ctx.work_dir}"


async def _own_config(ctx: ScanContext) -> str | None:
    there = await ctx.run("test", "-f", _CONFIG, ok={0, 1})
    return None if there.exit_code else _CONFIG
