"""What of a folder trivy passes over without a word, and ends well: it has no flag against that.

Folders at the top that are called as those of a running system, folders that cannot be entered, and
misconfigurations that a comment silences. Of a folder with nothing in it it says that it is clean.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from rediver_agent import Completed, Notice, ScanContext
from rediver_trivy._options import Options

_OF_A_SYSTEM: Final = ("dev/", "proc/", "sys/")
_NO_SOURCE: Final = {".git/"}
# `trivy:ignore:AWS-0086`, and also `trivy:exp:2030-01-01:ignore:AWS-0086`.
_SILENCERS: Final = "(trivy|tfsec):(.*:)?ignore:"
_SMALL: Final = "-33554432c"  # a line of a larger file may take more memory than there is
_COMPLAINT: Final = re.compile(r"^\S*find: (.+)$", re.MULTILINE)
_NAMED: Final = 5  # files that a notice names; it counts the others
_MAX_OUTPUT: Final = 16 << 20  # characters


async def unseen(ctx: ScanContext, options: Options) -> tuple[Notice, ...]:
    """What is to be said of the target. Nothing of an image or of a bill of materials."""
    if options.input is not None:
        return ()
    top = _said(await ctx.run("ls", "-Ap")).splitlines()
    if not {*top} - _NO_SOURCE:
        return (Notice("warning", "the target is empty: trivy looked at nothing"),)
    # 1: a folder could not be read, or grep found nothing
    walked = await ctx.run("find", *_walk(options), ok={0, 1})
    told = [*_passed_over(top, options), *_locked(walked)]
    if options.looks_for_silencers:
        told += _silenced(walked)
    return tuple(told)


def _walk(options: Options) -> Iterator[str]:
    """find's arguments: go everywhere but where trivy does not, and look for comments."""
    yield from (".", "(", "-name", ".git")
    for glob in options.exclude:
        if "/" not in glob:
            yield from ("-o", "-name", glob)
    yield from (")", "-prune")
    if options.looks_for_silencers:
        yield from ("-o", "-type", "f", "!", "-name", "*.md", "(", "-size", _SMALL)
        # What looks like no text is read as well: a byte in a comment is enough for that.
        yield from ("-exec", "grep", "-laE", "--", _SILENCERS, "{}", "+", "-o")
        yield from ("-exec", "grep", "-lIE", "--", _SILENCERS, "{}", "+", ")")


def _passed_over(top: list[str], options: Options) -> Iterator[Notice]:
    for name in (entry.rstrip("/") for entry in top if entry in _OF_A_SYSTEM):
        if not any(fnmatchcase(name, glob) for glob in options.exclude):
            yield Notice(
                "warning",
                f"trivy never looks into {name} at the top of its target: scan {name} as a target "
                "of its own, or name it in `exclude`",
                path=name,
            )


def _locked(walked: Completed) -> Iterator[Notice]:
    with walked.stderr.open(encoding="utf-8", errors="replace") as stream:
        folders = _COMPLAINT.findall(stream.read(_MAX_OUTPUT))
    if folders:
        yield Notice("warning", f"trivy could not look into {_some(folders)}")


def _silenced(walked: Completed) -> Iterator[Notice]:
    files = sorted(line.removeprefix("./") for line in _said(walked).splitlines())
    if files:
        said = f"comments with trivy:ignore may silence misconfigurations in {_some(files)}"
        yield Notice("warning", said, path=files[0])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _said(done: Completed) -> str:
    with done.stdout.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(_MAX_OUTPUT)
