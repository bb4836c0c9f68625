"""semgrep: finds bugs and vulnerabilities in source code by rules.

The scanned repository has no say in its own scan: its `.semgrepignore` is not read unless the
options allow it, and what a `nosemgrep` comment silences is kept, marked as suppressed.
"""

from collections.abc import Iterator

from anyio.to_thread import run_sync
from pydantic import BaseModel, Field

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
from rediver_semgrep._parse import SemgrepParser
from rediver_semgrep._report import completed, require_results
from rediver_semgrep._rules import STARTER, Rule, require_registry, rules_hash, source


class Options(BaseModel, extra="forbid"):
    """What a semgrep scan can be asked for."""

    rules: list[Rule] = Field(default=[STARTER], min_length=1)
    exclude: list[Glob] = []
    severity_threshold: SeverityWord | None = None
    honour_repository_config: bool = False


class Semgrep(Scanner[Options]):
    """Runs `semgrep scan`. Its JSON tells what it found, its SARIF what the JSON leaves out."""

    name = "semgrep"
    program = "semgrep"
    options = Options
    environment = {  # noqa: RUF012 - the interface declares it as a ClassVar
        # Without a network, `semgrep --version` alone would take 99 s.
        "SEMGREP_ENABLE_VERSION_CHECK": "0",
        "SEMGREP_SEND_METRICS": "off",
        # It asks git for the files; a repository's own configuration could name programs to run.
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": "false",
        "GIT_CONFIG_KEY_1": "safe.bareRepository",
        "GIT_CONFIG_VALUE_1": "explicit",
    }

    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        await require_registry(options.rules)
        report, twin = ctx.work_dir / "report.json", ctx.work_dir / "report.sarif"
        done = await ctx.run(
            *("semgrep", "scan", "--metrics=off", "--verbose", "--no-rewrite-rule-ids"),
            *("--disable-nosem", "--json", f"--output={report}", f"--sarif-output={twin}"),
            *([] if options.honour_repository_config else ["--x-ignore-semgrepignore-files"]),
            *(f"--exclude=**/{glob}" for glob in options.exclude),
            *(f"--config={source(rule)}" for rule in options.rules),
            ".",
            ok={0, 2, 7},  # 2 and 7 are failures that may leave results behind
        )
        if done.exit_code:
            await run_sync(require_results, report, done)
        for written in (report, twin):
            ctx.parse(written, "semgrep")
        found = ctx.parse(await run_sync(completed, report, twin), "semgrep").with_tool(
            ToolInfo(
                "semgrep", properties={"rules_hash": await run_sync(rules_hash, options.rules)}
            )
        )
        if done.exit_code:
            said = f"semgrep ended with exit code {done.exit_code}; not every rule was run"
            return found.with_notice(Notice("error", said))
        return found


@hookimpl
def rediver_scanners() -> Iterator[Semgrep]:
    """The scanner."""
    yield Semgrep()


@hookimpl
def rediver_parsers() -> Iterator[Parser]:
    """The reader of `semgrep --json`."""
    yield SemgrepParser()
