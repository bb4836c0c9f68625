"""gitleaks: finds secrets in files, or in the whole history of a git repository.

No secret leaves the host: gitleaks redacts its report, and the parser masks what is in it again.
The scanned repository has no say in its own scan, unless the options allow it.
"""

from collections.abc import Iterator

from anyio.to_thread import run_sync
from pydantic import BaseModel

from rediver_agent import (
    Glob,
    Parser,
    ScanContext,
    Scanner,
    ScanReport,
    SeverityWord,
    ToolInfo,
    hookimpl,
)
from rediver_gitleaks._parse import GitleaksParser
from rediver_gitleaks._report import complaints, require_leaks
from rediver_gitleaks._target import (
    folder,
    history,
    trusted_folder,
    trusted_history,
    write_config,
)


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
        "GIT_ALLOW_PROTOCOL": "",  # what a clone lacks is not fetched by the means that it names
    }

    async def probe(self, ctx: ScanContext) -> str:
        """The version, from `gitleaks version`."""
        done = await ctx.run("gitleaks", "version")
        return done.stdout.read_text(errors="replace").strip()

    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        version = await self.probe(ctx)
        if options.honour_repository_config:
            target = await (trusted_history(ctx) if options.history else trusted_folder(ctx))
        else:
            target = await (history(ctx) if options.history else folder(ctx))
        config, report = ctx.work_dir / "config.toml", ctx.work_dir / "report.json"
        write_config(config, target, options.exclude)
        done = await ctx.run(
            *("gitleaks", *target.arguments, f"--config={config}"),
            *(f"--report-path={report}", "--report-format=json", "--redact"),
            # 42 for leaks, since 1, the default, is also said for every failure
            *("--exit-code=42", "--log-level=warn", "--no-banner"),
            ok={0, 1, 42},
        )
        if done.exit_code == 1:
            await run_sync(require_leaks, report, done)
        found = ctx.parse(report, "gitleaks").with_tool(ToolInfo("gitleaks", version))
        for notice in (*target.notices, *complaints(done)):
            found = found.with_notice(notice)
        return found


@hookimpl
def rediver_scanners() -> Iterator[Gitleaks]:
    """The scanner."""
    yield Gitleaks()


@hookimpl
def rediver_parsers() -> Iterator[Parser]:
    """The reader of gitleaks' JSON."""
    yield GitleaksParser()
