"""Types for scanners' options, so that `exclude` and `severity_threshold` mean the same everywhere.

Both are checked when the options are: a glob that would quietly exclude everything, or a severity
that nobody uses, fails the command with a sentence.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

from rediver_agent.contract.findings import Severity
from rediver_agent.severity import severity_from_word

_FOREIGN: Final = re.compile(r"[\[\]{}!,\\\x00-\x1f]")


def _glob(text: str) -> str:
    glob = text.removeprefix("**/").removesuffix("/**").removesuffix("/")
    if not glob.strip("*/") or ("*" in glob and not glob.strip("*?/")):
        raise ValueError(f"{text!r} excludes everything; name a folder or a file")
    if glob.startswith(("/", "-")) or ".." in glob.split("/"):
        raise ValueError(
            f"{text!r}: globs match at any depth; write it without /, - or .. in front"
        )
    if _FOREIGN.search(glob):
        raise ValueError(f"{text!r}: a glob is made of names, /, *, ** and ? alone")
    return glob


def _severity(word: object) -> Severity:
    severity = severity_from_word(word) if isinstance(word, str) else None
    if severity is None:
        known = "critical, high, medium, low, info, error, warning, note"
        raise ValueError(f"{word!r} is no severity; use one of {known}")
    return severity


Glob = Annotated[str, AfterValidator(_glob)]
"""A file or a folder with all in it, at any depth: `vendor`, `**/vendor/**`, `*.min.js`, `a/**/b`.

The value is without the leading `**/` and the trailing `/**`.
"""

SeverityWord = Annotated[Severity, BeforeValidator(_severity)]
"""A severity in either vocabulary: critical … info, or SARIF's error, warning, note, none."""
