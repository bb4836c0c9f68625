"""Which repository, branch and commit a scanned directory is, for the report that says so.

Everything is read from files, and git itself is never started: a repository's own configuration can
name programs that git would run (`core.fsmonitor`). No link is followed, sizes are capped, and
whatever is malformed, too large or of a newer format (reftable) means that nothing is known: no
error, and no guess.

- **Where.** A directory that a server named is read below its own descriptor, so of a worktree or a
  submodule, whose files are elsewhere, nothing is said. For what the operator typed or lists in
  `targets`, the repository may begin above the directory, and a worktree's or submodule's files are
  read where they are, if they name the directory as theirs.
- **The repository** is the address of the remote `origin`: as https, without user, password and
  token, so that every clone of it is one asset.
- **The default branch** is what `refs/remotes/origin/HEAD` names: the remote's when it was cloned.
  Without that, `main` or `master` is (not where both are there), and so is the one local branch of
  a repository that has no remote. Of any other branch it is not known.
- **A detached HEAD** has no name. It counts as the default branch at that branch's own tip, and as
  none of it anywhere else: an old commit must not resolve what was found in newer ones.
- **In CI** the environment knows better (`repository_in_ci`), for the commit that it is about. A
  pull request is never the default branch.

Who can write to `.git` decides which asset the findings are of, as he decides what is scanned.
"""

from rediver_agent.git_context._ci import repository_in_ci
from rediver_agent.git_context._remote_url import normalised_url
from rediver_agent.git_context._repository import Repository, repository_around, repository_at

__all__ = [
    "Repository",
    "normalised_url",
    "repository_around",
    "repository_at",
    "repository_in_ci",
]
