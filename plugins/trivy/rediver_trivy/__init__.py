"""trivy: finds misconfigurations, secrets, vulnerable packages and licences in files, in images
that lie in a tar archive, and in software bills of materials.

It looks without a network unless the options allow one. The scanned repository has no say in its
own scan, unless the options allow that too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from anyio.to_thread import run_sync

from rediver_agent import (
    Completed,
    Notice,
    Parser,
    ScanContext,
    Scanner,
    ScanReport,
    ToolError,
    ToolInfo,
    hookimpl,
)
from rediver_trivy._command import command, environment, rules_hash
from rediver_trivy._database import complaint_of_age, looked_with, ready_database
from rediver_trivy._log import Log, failure
from rediver_trivy._options import Options
from rediver_trivy._parse import TrivyParser
from rediver_trivy._unseen import unseen

rediver_api = 1

__all__ = ["Options", "Trivy", "rediver_parsers", "rediver_scanners"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Trivy(Scanner[Options]):
    """Runs `trivy fs`, `trivy image` or `trivy sbom`."""

    now: Callable[[], datetime] = _utc_now

    name = "trivy"
    program = "trivy"
    options = Options
    from_command = frozenset(
        {
            "kind",
            "input",
            "scanners",
            "severity",
            "severity_threshold",
            "ignore_unfixed",
            "ignore_status",
            "exclude",
            "include_dev_deps",
            "license_full",
        }
    )
    exclusive_cache = True  # one run may be fetching the database there that another reads

    async def probe(self, ctx: ScanContext) -> str:
        """The version, from `trivy --version`."""
        return (await super().probe(ctx)).removeprefix("Version: ")

    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        """See `Scanner.scan`."""
        report = ctx.work_dir / "report.json"
        arguments = await run_sync(lambda: [*command(ctx, options, report)])
        notices: list[Notice] = []
        if "vuln" in options.scanners:
            notices += await ready_database(ctx, options)
        try:
            done = await ctx.run("trivy", *arguments, environment=environment(options))
        except ToolError as fault:
            raise failure(fault, ctx.cache_dir) from fault
        found = ctx.parse(report, "trivy")
        said, tool = await run_sync(self._looked_with, ctx, options, done)
        notices += said
        notices += await unseen(ctx, options)
        return replace(found.with_tool(tool), notices=(*found.notices, *notices))

    def _looked_with(
        self, ctx: ScanContext, options: Options, done: Completed
    ) -> tuple[list[Notice], ToolInfo]:
        """What trivy looked with and at, and what is to be said of that."""
        log = Log.of(done.stderr)
        known = dict(looked_with(ctx.cache_dir, options))
        if named := rules_hash(options):
            known["rules_hash"] = named
        notices = [*log.complaints(options)]
        if options.severity and "UNKNOWN" not in options.severity:
            said = (
                "what trivy knows no severity of is left out: add UNKNOWN to `severity` to see it"
            )
            notices.append(Notice("info", said))
        if "vuln" in options.scanners:
            old = complaint_of_age(ctx.cache_dir, options, self.now())
            notices += [old] if old else []
        return notices, ToolInfo("trivy", properties={**known, **log.counted()})


@hookimpl
def rediver_scanners() -> Iterator[Trivy]:
    """The scanner."""
    yield Trivy()


@hookimpl
def rediver_parsers() -> Iterator[Parser]:
    """The reader of trivy's JSON."""
    yield TrivyParser()
