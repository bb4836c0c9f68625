"""semgrep: finds bugs and vulnerabilities in source code by rules.

The scanned repository has no say in its own scan: its `.semgrepignore` is not read and what git
ignores is scanned unless the options say otherwise, and what a `nosemgrep` comment silences is
kept, marked as suppressed. semgrep's open engine is used alone, and nothing of the code is sent.
"""

from collections.abc import Iterator

from anyio.to_thread import run_sync

from rediver_agent import (
    Notice,
    Parser,
    ScanContext,
    Scanner,
    ScanReport,
    ToolError,
    ToolInfo,
    hookimpl,
)
from rediver_semgrep._options import Options
from rediver_semgrep._parse import SemgrepParser
from rediver_semgrep._report import completed, failure, require_results
from rediver_semgrep._rules import of_host, require_registry, rules_hash, source

rediver_api = 1


class Semgrep(Scanner[Options]):
    """Runs `semgrep scan`. Its JSON tells what it found, its SARIF what the JSON leaves out."""

    name = "semgrep"
    program = "semgrep"
    options = Options
    from_command = frozenset(
        {
            "rules",
            "exclude_rule",
            "include",
            "exclude",
            "severity_threshold",
            "dataflow_traces",
            "jobs",
            "max_memory",
            "timeout_per_rule",
            "timeout_threshold",
            "max_target_bytes",
        }
    )
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
        own, named = of_host(options.rules), await run_sync(rules_hash, options.rules)
        report, twin = ctx.work_dir / "report.json", ctx.work_dir / "report.sarif"
        try:
            done = await ctx.run(
                *("semgrep", "scan", "--metrics=off", "--oss-only", "--verbose"),
                *("--no-rewrite-rule-ids", "--disable-nosem"),
                *("--json", f"--output={report}", f"--sarif-output={twin}"),
                *options.flags(),
                *(f"--config={source(rule)}" for rule in options.rules),
                ".",
                ok={0, 2, 7},  # 2 and 7 are failures that may leave results behind
            )
        except ToolError as fault:
            if fault.exit_code is None:
                raise
            raise failure(fault.exit_code, "", fault.stderr_tail, own) from fault
        if done.exit_code:
            await run_sync(require_results, report, done, own)
        for written in (report, twin):
            ctx.parse(written, "semgrep")
        whole = await run_sync(completed, report, twin)
        if not whole.rules:
            raise ToolError(
                f"there is no rule in {', '.join(options.rules)}: nothing was looked for"
            )
        found = ctx.parse(whole.path, "semgrep").with_tool(
            ToolInfo("semgrep", properties={"rules": whole.rules, "rules_hash": named})
        )
        if done.exit_code:
            said = f"semgrep ended with exit code {done.exit_code}; not every rule was run"
            found = found.with_notice(Notice("error", said))
        if options.dataflow_traces and whole.results and not whole.flows:
            said = "semgrep told no data flows: newer ones do so for those who are logged in alone"
            found = found.with_notice(Notice("info", said))
        return found


@hookimpl
def rediver_scanners() -> Iterator[Semgrep]:
    """The scanner."""
    yield Semgrep()


@hookimpl
def rediver_parsers() -> Iterator[Parser]:
    """The reader of `semgrep --json`."""
    yield SemgrepParser()
