"""What trivy did not look at. It says so in its log at best, and ends with exit code 0 all the same."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rediver_agent import Notice, ScanContext

_LINE: Final = re.compile(r"^\S+\s+(ERROR|WARN)\s+(.+)$", re.MULTILINE)
_QUOTED: Final = re.compile(r'\s*cause="(?:[^"\\]|\\.)*"')  # a line of the target
_FILE: Final = re.compile(r'file_path="([^"]+)"')
_BEGINNING: Final = "scanning is enabled"
_HARMLESS: Final = "Falling back to embedded checks"  # that is what --skip-check-update is for
_MODULE: Final = "Failed to load module"
_SILENCERS: Final = "(trivy|tfsec):ignore:"
_NAMED: Final = 5


def complaints(log: str, offline: bool) -> Iterator[Notice]: ...


async def silenced(ctx: ScanContext, exclude: Sequence[str]) -> tuple[Notice, ...]:
    """Comments that silence misconfigurations: trivy leaves those out, and no flag prevents it."""
    plain = [glob for glob in exclude if "/" not in glob]
    done = await ctx.run(
        *("grep", "-rIlE", "--exclude-dir=.git", "--exclude=*.md"),
        *(f"--exclude{kind}={glob}" for glob in plain for kind in ("", "-dir")),
        *("--", _SILENCERS, "."),
        ok={0, 1, 2},  # 1: nowhere; 2: also nowhere, or not in all that could be read
    )
    ...
