"""What trivy did not look at: its log tells that at best, and it ends with exit code 0 even so."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rediver_agent import Notice, ScanContext

_LINE: Final = re.compile(r"^\S+\s+(ERROR|WARN)\s+(.+)$", re.MULTILINE)
_QUOTED: Final = re.compile(r'\s*cause="(?:[^"\\]|\\.)*"')  # a line of the target
_FILE: Final = re.compile(r'file_path="([^"]+)"')
_FIRST_WORDS: Final = "scanning is enabled"
_HARMLESS: Final = "Falling back to embedded checks"  # as --skip-check-update asks
_MODULE: Final = "Failed to load module"
_SILENCERS: Final = "(trivy|tfsec):ignore:"
_MAX_LOG: Final = 16 << 20  # characters; a log beyond that is not read to its end
_MAX_MESSAGE: Final = 500
_NAMED: Final = 5  # files that a notice names; it counts the others


def complaints(file: Path, *, offline: bool) -> Iterator[Notice]:
    """A notice for each file or module that was not understood, and one if the log is not whole."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        log = stream.read(_MAX_LOG)
    if _FIRST_WORDS not in log or len(log) == _MAX_LOG:
        yield Notice("warning", "trivy's log is too long to tell whether it read every file")
    for level, text in dict.fromkeys(_LINE.findall(log)):
        if _HARMLESS in text:
            continue
        named = _FILE.search(text)
        expected = (level == "WARN" and "kipping" not in text) or (offline and _MODULE in text)
        yield Notice(
            "info" if expected else "warning",
            f"trivy: {_QUOTED.sub('', text)}"[:_MAX_MESSAGE],
            path=named[1] if named else None,
        )


async def silenced(ctx: ScanContext, exclude: Sequence[str]) -> tuple[Notice, ...]:
    """Comments that silence misconfigurations: trivy leaves those out, and no flag prevents it."""
    names = [glob for glob in exclude if "/" not in glob]
    done = await ctx.run(
        *("grep", "-rIlE", "--exclude-dir=.git", "--exclude=*.md"),
        *(f"--exclude{kind}={name}" for name in names for kind in ("", "-dir")),
        *("--", _SILENCERS, "."),
        ok={0, 1, 2},  # 1: in no file; 2: some file could not be read
    )
    files = done.stdout.read_text(errors="replace").splitlines()
    if not files:
        return ()
    named = [file.removeprefix("./") for file in sorted(files)[:_NAMED]]
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    said = f"comments with trivy:ignore may silence misconfigurations in {', '.join(named)}{more}"
    return (Notice("warning", said, path=named[0]),)
