"""What a gitleaks scan can be asked for, in gitleaks' own words where it has them.

Each option is a flag of its own with a bounded value. Git's own options are none of them: some run
programs.
"""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Final

from pydantic import BaseModel, Field, model_validator

from rediver_agent import Glob, SeverityWord
from rediver_gitleaks._baseline import Baseline
from rediver_gitleaks._config import Config, starts_at_the_root

_NUMBERS: Final = ("max_target_megabytes", "max_decode_depth", "max_archive_depth")
_LAST_DAY: Final = date(2099, 12, 31)  # git takes a later one for no day at all

RuleId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w.-]*$", max_length=200)]
Branch = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w./@+-]*$", max_length=250)]


class Options(BaseModel, extra="forbid"):
    """What a gitleaks scan can be asked for."""

    history: bool = Field(
        default=False, description="Scan all commits of the repository instead of the files"
    )
    branch: Branch | None = Field(
        default=None,
        description="Of the history only the commits of this branch (`main`, `origin/main`) or tag",
    )
    since: date | None = Field(
        default=None,
        ge=date(1970, 1, 1),
        le=_LAST_DAY,
        description='Of the history only the commits from this day on: `"2026-01-31"`',
    )
    rules: list[RuleId] = Field(
        default=[],
        max_length=1000,
        description="Ids of the rules to run (`--enable-rule`); by default all that there are",
    )
    config: Config | None = Field(
        default=None,
        description="A gitleaks configuration (`.toml`) on the agent's host, in place of gitleaks' "
        "own rules",
    )
    baseline: Baseline | None = Field(
        default=None,
        description="An earlier JSON report of gitleaks on the agent's host: what is in it is "
        "kept, marked as suppressed",
    )
    exclude: list[Glob] = Field(
        default=[],
        max_length=1000,
        description="Globs to leave out, at any depth: `vendor`, `**/vendor/**`, `*.min.js`",
    )
    severity_threshold: SeverityWord | None = Field(
        default=None,
        description="Drop what is below; gitleaks knows no severity, every leak is high",
    )
    honour_repository_config: bool = Field(
        default=False,
        description="Obey `.gitleaks.toml`, `.gitleaksignore` and `gitleaks:allow` of the "
        "repository",
    )
    max_target_megabytes: int | None = Field(
        default=None,
        ge=1,
        le=1 << 20,
        description="Larger files are left out; a note says how many. No limit by default",
    )
    max_decode_depth: int | None = Field(
        default=None,
        ge=0,
        le=20,
        description="How often what is encoded (base64, hex, percent) is decoded; gitleaks' "
        "default is 5",
    )
    max_archive_depth: int | None = Field(
        default=None,
        ge=0,
        le=10,
        description="How deep archives in archives are opened; by default none is",
    )

    @model_validator(mode="after")
    def _of_the_history(self) -> "Options":
        if not self.history and (self.branch or self.since):
            raise ValueError("branch and since choose among commits: set history: true with them")
        return self

    @model_validator(mode="after")
    def _of_a_folder(self) -> "Options":
        by_another_name = not self.history and not self.honour_repository_config
        if self.config and by_another_name and starts_at_the_root(self.config):
            raise ValueError(
                f"{self.config!r} has a path that begins with ^: a folder is scanned by another "
                "name, where that is never met; begin it with (?:^|/)"
            )
        return self

    def flags(self) -> Iterator[str]:
        """The options as gitleaks' command line has them, but for what is scanned, and how."""
        yield from (f"--enable-rule={rule}" for rule in self.rules)
        for name in _NUMBERS:
            if (number := getattr(self, name)) is not None:
                yield f"--{name.replace('_', '-')}={number}"
