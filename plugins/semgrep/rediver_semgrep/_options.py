"""What a semgrep scan can be asked for, in semgrep's own words where it has them.

Each option is a flag of its own with a bounded value: none lets a command reach another flag.
"""

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, Field

from rediver_agent import Glob, SeverityWord
from rediver_semgrep._rules import STARTER, Rule

_NUMBERS: Final = {
    "jobs": "jobs",
    "max_memory": "max-memory",
    "timeout_per_rule": "timeout",
    "timeout_threshold": "timeout-threshold",
    "max_target_bytes": "max-target-bytes",
}

RuleId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w./-]*$", max_length=500)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Options(BaseModel, extra="forbid"):
    """What a semgrep scan can be asked for."""

    rules: Annotated[list[Rule], BeforeValidator(_listed)] = Field(
        default=[STARTER],
        min_length=1,
        max_length=100,
        description="Rules to run, one name or several: `starter` (24 rules of our own), a folder "
        "or a `.yml` file on the agent's host, or a registry name such as `p/security-audit`",
    )
    exclude_rule: list[RuleId] = Field(
        default=[], max_length=1000, description="Ids of rules to leave out"
    )
    include: list[Glob] = Field(
        default=[],
        max_length=1000,
        description="Globs of what to scan, at any depth; nothing else is: `src`, `*.py`",
    )
    exclude: list[Glob] = Field(
        default=[],
        max_length=1000,
        description="Globs to leave out, at any depth: `vendor`, `**/vendor/**`, `*.min.js`",
    )
    severity_threshold: SeverityWord | None = Field(
        default=None,
        description="Drop what is below: critical … info, or error, warning, note",
    )
    use_git_ignore: bool = Field(
        default=False,
        description="Leave out what git ignores and does not track, and submodules: in a working "
        "copy, what was built or installed there",
    )
    honour_repository_config: bool = Field(
        default=False, description="Obey the repository's `.semgrepignore`"
    )
    dataflow_traces: bool = Field(
        default=False,
        description="Ask for the way from source to sink. semgrep tells it to those who are "
        "logged in (the agent is not); versions before 1.98 to everyone",
    )
    jobs: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Files that are scanned at a time; semgrep's default goes by the CPUs",
    )
    max_memory: int | None = Field(
        default=None,
        ge=0,
        le=1 << 20,
        description="MiB that one rule may take on one file; semgrep's default, 0, is no limit",
    )
    timeout_per_rule: int | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="Seconds that one rule may take on one file (semgrep's `--timeout`; 5 by "
        "default, 0 is no limit). `timeout_seconds` of the scan limits the whole",
    )
    timeout_threshold: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="Rules that may run out of time on a file before it is given up (3 by "
        "default, 0 is no limit)",
    )
    max_target_bytes: int | None = Field(
        default=None,
        ge=0,
        le=1 << 30,
        description="Larger files are left out, and told (1,000,000 by default, 0 is no limit)",
    )

    def flags(self) -> Iterator[str]:
        """The options as semgrep's command line has them, but for the rules."""
        if not self.honour_repository_config:
            yield "--x-ignore-semgrepignore-files"
        if not self.use_git_ignore:
            yield "--no-git-ignore"
            yield "--exclude=.git"  # not source, and no longer left out by itself
        if self.dataflow_traces:
            yield "--dataflow-traces"
        for name, flag in _NUMBERS.items():
            if (number := getattr(self, name)) is not None:
                yield f"--{flag}={number}"
        yield from (f"--exclude-rule={rule}" for rule in self.exclude_rule)
        yield from (f"--include=**/{glob}" for glob in self.include)
        yield from (f"--exclude=**/{glob}" for glob in self.exclude)
