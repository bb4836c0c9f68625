"""gitleaks: finds secrets in files, or in the whole history of a git repository.

No secret leaves the host: gitleaks redacts its report, and the parser masks what is in it again.
The scanned repository has no say in its own scan, unless the options allow it.
"""

from collections.abc import Iterator

from anyio.to_thread import run_sync
from pydantic import BaseModel

from rediver_agent import (
    Glob,
    Notice,
    Parser,
    ScanContext,
    Scanner,
    ScanReport,
    SeverityWord,
    ToolInfo,
    hookimpl,
)
from rediver_gitleaks import _history
from rediver_gitleaks._parse import GitleaksParser
from rediver_gitleaks._report import complaints, require_leaks
from rediver_gitleaks._target import ignored_nothing, unguessable, write_config

FOUND = 42  # 1, the default, would also be said for every failure


class Options(BaseModel, extra="forbid"):
    """What a gitleaks scan can be asked for."""

    exclude: list[Glob] = []
    severity_threshold: SeverityWord | None = None
    history: bool = False
    honour_repository_config: bool = False


class Gitleaks(Scanner[Options]):
    """Runs `gitleaks dir`, or `gitleaks git` for the history."""

    name = "gitleaks"
    program = "gitleaks"
    options = Options
    environment = {  # noqa: RUF012 - the interface declares it as a ClassVar
        "NO_COLOR": "1",
        # A repository's own configuration could name programs for fetching what is missing in it.
        "GIT_ALLOW_PROTOCOL": "",
    }

    async def probe(self, ctx: ScanContext) -> str:
        """The version, of `gitleaks version`."""
        done = await ctx.run("gitleaks", "version")
        return done.stdout.read_text(errors="replace").strip()

    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport: ...
