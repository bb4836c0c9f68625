"""gitleaks: finds secrets in files, or in the whole history of a git repository.

No secret leaves the host: gitleaks redacts its report, and the parser masks what is in it again.
The scanned repository has no say in its own scan, unless the options allow it.
"""

from collections.abc import Iterator

from anyio.to_thread import run_sync
from pydantic import JsonValue

from rediver_agent import (
    Parser,
    ScanContext,
    Scanner,
    ScanReport,
    ToolInfo,
    hookimpl,
)
from rediver_gitleaks._baseline import known_leaks, marked
from rediver_gitleaks._config import text_of, with_exclusions
from rediver_gitleaks._history import GIT
from rediver_gitleaks._options import Options
from rediver_gitleaks._parse import GitleaksParser
from rediver_gitleaks._report import complaints, looked_at, require_leaks, rules_hash
from rediver_gitleaks._target import (
    Target,
    folder,
    history,
    trusted_folder,
    trusted_history,
)

rediver_api = 1


class Gitleaks(Scanner[Options]):
    """Runs `gitleaks dir`, or `gitleaks git` for the history."""

    name = "gitleaks"
    program = "gitleaks"
    options = Options
    from_command = frozenset(
        {
            "history",
            "branch",
            "since",
            "rules",
            "exclude",
            "severity_threshold",
            "max_target_megabytes",
            "max_decode_depth",
            "max_archive_depth",
        }
    )
    environment = {"NO_COLOR": "1", **GIT}  # noqa: RUF012 - the interface has it as a ClassVar

    async def probe(self, ctx: ScanContext) -> str:
        """The version, from `gitleaks version`."""
        done = await ctx.run("gitleaks", "version")
        return done.stdout.read_text(errors="replace").strip()

    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        version = await self.probe(ctx)
        known = await run_sync(known_leaks, options.baseline) if options.baseline else None
        target = await _target(ctx, options)
        report = ctx.work_dir / "report.json"
        done = await ctx.run(
            *("gitleaks", *target.arguments, f"--config={_config(ctx, options, target)}"),
            *(f"--report-path={report}", "--report-format=json", "--redact"),
            # 42 for leaks, since 1, the default, is also said for every failure
            *("--exit-code=42", "--log-level=info", "--no-banner"),
            *options.flags(),
            ok={0, 1, 42},
        )
        if done.exit_code == 1:
            await run_sync(require_leaks, report, done)
        ctx.parse(report, "gitleaks")
        if known is not None:
            report = await run_sync(marked, report, known)
        looked: dict[str, JsonValue] = {"rules_hash": rules_hash(options), **looked_at(done)}
        found = ctx.parse(report, "gitleaks").with_tool(ToolInfo("gitleaks", version, looked))
        for notice in (*target.notices, *complaints(done)):
            found = found.with_notice(notice)
        return found


async def _target(ctx: ScanContext, options: Options) -> Target:
    if options.history:
        choose = trusted_history if options.honour_repository_config else history
        return await choose(ctx, options.branch, options.since)
    return await (trusted_folder(ctx) if options.honour_repository_config else folder(ctx))


def _config(ctx: ScanContext, options: Options, target: Target) -> str:
    """The configuration to use: as it is where nothing is to be left out."""
    own = options.config or target.config
    if own and not options.exclude:
        return own
    if options.config:
        base = text_of(options.config)
    else:
        base = f'[extend]\npath = "{own}"\n' if own else "[extend]\nuseDefault = true\n"
    file = ctx.work_dir / "config.toml"
    file.write_text(with_exclusions(base, target.root, options.exclude))
    return str(file)


@hookimpl
def rediver_scanners() -> Iterator[Gitleaks]:
    """The scanner."""
    yield Gitleaks()


@hookimpl
def rediver_parsers() -> Iterator[Parser]:
    """The reader of gitleaks' JSON."""
    yield GitleaksParser()
