"""What is checked out, read from the files of a `.git` directory. See the package for the rules."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Final

from rediver_agent.below import open_directory, read_file
from rediver_agent.contract.findings import Branch
from rediver_agent.git_context._config import Entry, parse_config
from rediver_agent.git_context._remote_url import normalised_url

CONVENTIONAL: Final = ("main", "master")
COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
HEADS: Final = "refs/heads/"
_REMOTE: Final = "refs/remotes/origin/"
_SYMBOLIC: Final = "ref: "
_MAX_CONFIG: Final = 1 << 20
_MAX_REF: Final = 4096
_MAX_PACKED: Final = 32 << 20  # bytes: some 400,000 branches and tags
_MAX_ENTRIES: Final = 10_000  # of a directory that is looked through for branches
_MAX_DEPTH: Final = 20
_PACKED: Final = re.compile(
    r"^([0-9a-f]{40}(?:[0-9a-f]{24})?) (refs/(?:heads|remotes/origin)/\S+)$", re.MULTILINE
)
_NO_NAME: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|[/.]$|^[/.]")


def branch_of(git: int, common: int) -> Branch | None:
    """What these directories say is checked out; None where they are not understood.

    `git` is the checkout's own directory, `common` that of its repository: one and the same but
    for worktrees. Never raises for what is in the files.
    """
    try:
        config = read_config(common)
        head = _text(git, "HEAD").rstrip("\n")
        if _is_foreign(config):
            return None
        refs = _Refs(common)
        name = branch_name(head.removeprefix(_SYMBOLIC)) if head.startswith(_SYMBOLIC) else None
        if name is None and not COMMIT.fullmatch(head):
            return None
        return Branch(
            name=name,
            is_default_branch=_is_default(refs, config, name, head),
            commit_sha=refs.commit(HEADS + name) if name else head,
            repository_url=_origin(config),
        )
    except (OSError, ValueError):
        return None


def read_config(common: int) -> list[Entry]:
    """The repository's own configuration. `OSError` or `ValueError` where it cannot be read."""
    try:
        return parse_config(_text(common, "config", _MAX_CONFIG))
    except FileNotFoundError:
        return []


def worktree_of(config: list[Entry]) -> str:
    """Where a submodule's repository says that it is checked out. `ValueError` if it does not."""
    places = [entry.value for entry in config if (entry.section, entry.key) == ("core", "worktree")]
    if not places:
        raise ValueError("the repository names no worktree")
    return places[-1]


def branch_name(ref: str) -> str | None:
    """The branch that a full name such as `refs/heads/main` means; None for any other."""
    name = ref.removeprefix(HEADS)
    known = ref.startswith(HEADS) and name.isprintable() and len(name) <= 255
    return name if known and name and not _NO_NAME.search(name) else None


def _is_default(refs: "_Refs", config: list[Entry], name: str | None, commit: str) -> bool | None:
    told = refs.default_of_origin()
    if told:
        return name == told if name else commit == refs.commit(_REMOTE + told)
    likely = _by_convention(refs, name) or _the_only_one(refs, config, name)
    if name:
        return True if name == likely else None
    tip = likely and (refs.commit(_REMOTE + likely) or refs.commit(HEADS + likely))
    return commit == tip


def _by_convention(refs: "_Refs", name: str | None) -> str | None:
    there = [
        usual
        for usual in CONVENTIONAL
        if usual == name or refs.commit(HEADS + usual) or refs.commit(_REMOTE + usual)
    ]
    return there[0] if len(there) == 1 else None


def _the_only_one(refs: "_Refs", config: list[Entry], name: str | None) -> str | None:
    if any(entry.section == "remote" for entry in config):
        return None
    branches = {name} if name else set[str]()
    for branch in refs.branches():
        branches.add(branch)
        if len(branches) > 1:
            return None
    return next(iter(branches), None)


def _is_foreign(config: list[Entry]) -> bool:
    """Whether it is of a format that this does not read, such as reftable."""
    values = {(entry.section, entry.key): entry.value for entry in config}
    version = values.get(("core", "repositoryformatversion"), "0")
    storage = values.get(("extensions", "refstorage"), "files")
    return version not in ("0", "1") or storage.lower() != "files"


def _origin(config: list[Entry]) -> str | None:
    """The address that `git fetch` would use, unless git would rewrite it first."""
    urls = [
        entry.value
        for entry in config
        if (entry.section, entry.subsection, entry.key) == ("remote", "origin", "url")
    ]
    url = next(filter(None, urls), "")
    rewritten = any(
        entry.section == "url" and entry.key == "insteadof" and url.startswith(entry.value)
        for entry in config
    )
    return None if rewritten else normalised_url(url)


def _text(directory: int, path: str, most: int = _MAX_REF) -> str:
    return read_file(directory, path, most).decode()


class _Refs:
    """The branches of a repository: a file each, and `packed-refs` for those that have none."""

    def __init__(self, common: int) -> None:
        self._common = common

    def commit(self, ref: str) -> str | None:
        """What a branch is at; None if it is not there or has no commit yet."""
        try:
            commit = _text(self._common, ref).strip()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return self._packed.get(ref)
        return commit if COMMIT.fullmatch(commit) else None

    def default_of_origin(self) -> str | None:
        """The branch that the remote's HEAD was when it was cloned. `ValueError` for nonsense."""
        try:
            said = _text(self._common, f"{_REMOTE}HEAD").strip()
        except FileNotFoundError:
            return None
        name = branch_name(HEADS + said.removeprefix(f"{_SYMBOLIC}{_REMOTE}"))
        if name is None or not said.startswith(f"{_SYMBOLIC}{_REMOTE}"):
            raise ValueError("the remote's HEAD names no branch of the remote")
        return name

    def branches(self) -> Iterator[str]:
        """The names of local branches; one may come twice."""
        yield from (name for ref in self._packed if (name := branch_name(ref)))
        with suppress(FileNotFoundError):
            yield from self._files(HEADS.rstrip("/"))

    def _files(self, path: str) -> Iterator[str]:
        directory = open_directory(self._common, path)
        try:
            with os.scandir(directory) as found:
                for number, entry in enumerate(found):
                    if number > _MAX_ENTRIES or path.count("/") > _MAX_DEPTH:
                        raise ValueError("there are more directories than branches need")
                    ref = f"{path}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        yield from self._files(ref)
                    elif name := branch_name(ref):
                        yield name
        finally:
            os.close(directory)

    @cached_property
    def _packed(self) -> dict[str, str]:
        """Those branches of `packed-refs` that may be asked for: tags are many."""
        try:
            text = _text(self._common, "packed-refs", _MAX_PACKED)
        except FileNotFoundError:
            return {}
        return {match[2]: match[1] for match in _PACKED.finditer(text)}
