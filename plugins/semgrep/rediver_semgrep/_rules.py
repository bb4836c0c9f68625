"""Which rules a scan runs: the starter pack, files and folders of the agent's host, the registry.

Rules never come from the scanned target by a name that it can take: what is named as the starter
pack or as a registry's is that, whatever lies in the agent's working directory.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final

import anyio
from pydantic import AfterValidator

from rediver_agent import ToolError

STARTER: Final = "starter"
REGISTRY: Final = ("semgrep.dev", 443)
REGISTRY_SECONDS: Final = 3.0

_PACK: Final = Path(__file__).parent / "starter"
_REMOTE: Final = re.compile(r"[prs]/[\w./-]+")
_ENDINGS: Final = (".yml", ".yaml")
_MAX_ENTRIES: Final = 100_000  # of a folder; `/` is no folder of rules


def _rule(name: str) -> str:
    if name == STARTER or _is_remote(name):
        return name
    path = Path(name).absolute()
    if path.is_dir() or (path.is_file() and path.suffix in _ENDINGS):
        return str(path)
    raise ValueError(
        f"{name!r} is no folder and no {' or '.join(_ENDINGS)} file on the agent's host; name one, "
        f"or {STARTER!r}, or a registry pack such as 'p/security-audit'"
    )


Rule = Annotated[str, AfterValidator(_rule)]


def source(rule: str) -> str:
    """What semgrep's `--config` takes for a rule."""
    return str(_PACK) if rule == STARTER else rule


def of_host(rules: Iterable[str]) -> list[str]:
    """The files and folders among the rules that are the host's own."""
    return [rule for rule in rules if rule != STARTER and not _is_remote(rule)]


def rules_hash(rules: Iterable[str]) -> str:
    """Names the rule set by its content. Registry packs count by their name alone."""
    digest = hashlib.sha256()
    for rule in rules:
        if _is_remote(rule):
            digest.update(rule.encode())
            continue
        for file in sorted(_rule_files(Path(source(rule)))):
            try:
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError as fault:
                raise ToolError(f"the rules in {file} cannot be read: {fault.strerror}") from fault
    return digest.hexdigest()[:32]


def _rule_files(place: Path) -> Iterator[Path]:
    inside = place.rglob("*") if place.is_dir() else [place]
    for number, file in enumerate(inside):
        if number >= _MAX_ENTRIES:
            raise ToolError(
                f"{place} holds more than {_MAX_ENTRIES:,} files: name the folder of the rules"
            )
        if file.suffix in _ENDINGS and file.is_file():
            yield file


async def require_registry(
    rules: Iterable[str], address: tuple[str, int] = REGISTRY, seconds: float = REGISTRY_SECONDS
) -> None:
    """Fail early where a registry's rules cannot be had: semgrep would try for 98 s, then crash."""
    remote = [rule for rule in rules if _is_remote(rule)]
    if not remote:
        return
    try:
        with anyio.fail_after(seconds):
            await (await anyio.connect_tcp(*address)).aclose()
    except (OSError, TimeoutError) as fault:
        raise ToolError(
            f"the rules {', '.join(remote)} come from the registry at {address[0]}, which cannot "
            f"be reached from here; name rule files on this host, or {STARTER!r}"
        ) from fault


def _is_remote(rule: str) -> bool:
    return _REMOTE.fullmatch(rule) is not None
