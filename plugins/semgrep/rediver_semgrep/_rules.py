"""Which rules a scan runs: the starter pack, files and folders of the agent's host, the registry.

Rules never come from the scanned target by a relative path: what is not the starter pack or a
registry's name is taken from the agent's working directory, and must be there.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import anyio
from pydantic import AfterValidator

from rediver_agent import ToolError

STARTER: Final = "starter"
REGISTRY: Final = ("semgrep.dev", 443)
REGISTRY_SECONDS: Final = 3.0

_PACK: Final = Path(__file__).parent / "starter"
_REMOTE: Final = re.compile(r"auto|[prs]/[\w./-]+|https://\S+")
_ENDINGS: Final = (".yml", ".yaml")


def _rule(name: str) -> str:
    path = Path(name).absolute()
    if path.is_dir() or (path.is_file() and path.suffix in _ENDINGS):
        return str(path)
    if name == STARTER or _is_remote(name):
        return name
    raise ValueError(
        f"{name!r} is no folder and no {' or '.join(_ENDINGS)} file on the agent's host; name one, "
        f"or {STARTER!r}, or a registry pack such as 'p/security-audit'"
    )


Rule = Annotated[str, AfterValidator(_rule)]


def source(rule: str) -> str:
    """What semgrep's `--config` takes for a rule."""
    return str(_PACK) if rule == STARTER else rule


def rules_hash(rules: Iterable[str]) -> str:
    """Names the rule set by its content. Registry packs count by their name alone."""
    digest = hashlib.sha256()
    for rule in rules:
        path = Path(source(rule))
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and file.suffix in _ENDINGS:
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        if _is_remote(rule):
            digest.update(rule.encode())
    return digest.hexdigest()[:32]


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
    return not rule.startswith("/") and _REMOTE.fullmatch(rule) is not None
