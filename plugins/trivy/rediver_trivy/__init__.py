"""trivy: finds misconfigurations, secrets, vulnerable packages and licences in a folder.

It looks without a network unless the options allow one. The scanned repository has no say in its
own scan, unless the options allow that too.
"""

from collections.abc import Iterator
from typing import Literal

from anyio.to_thread import run_sync
from pydantic import BaseModel, Field

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
from rediver_trivy._database import database_properties, require_database
from rediver_trivy._log import complaints, silenced
from rediver_trivy._parse import TrivyParser

Kind = Literal["vuln", "misconfig", "secret", "license"]

# Beside flags, since trivy fetches the modules of Terraform in spite of --offline-scan.
NO_NETWORK = {
    "HTTP_PROXY": "http://127.0.0.1:9",  # the port that discards
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "GIT_ALLOW_PROTOCOL": "",
}
OFFLINE = ("--offline-scan", "--skip-check-update", "--skip-db-update", "--skip-java-db-update")
# Empty names switch off trivy.yaml, .trivyignore and trivy-secret.yaml of the target.
DEAF = ("--config=", "--ignorefile=", "--secret-config=")


class Options(BaseModel, extra="forbid"):
    """What a trivy scan can be asked for. `vuln` needs a database, or `offline: false`."""

    scanners: list[Kind] = Field(default=["secret", "misconfig"], min_length=1)
    exclude: list[Glob] = []
    severity_threshold: SeverityWord | None = None
    offline: bool = True
    honour_repository_config: bool = False


class Trivy(Scanner[Options]):
    """Runs `trivy fs`."""

    name = "trivy"
    program = "trivy"
    options = Options
    exclusive_cache = True  # one run may be fetching the database there that another reads

    async def probe(self, ctx: ScanContext) -> str:
        """The version, from `trivy --version`."""
        return (await super().probe(ctx)).removeprefix("Version: ")

    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        if "vuln" in options.scanners and options.offline:
            await run_sync(require_database, ctx.cache_dir)
        report = ctx.work_dir / "report.json"
        done = await ctx.run(
            *("trivy", "fs", f"--cache-dir={ctx.cache_dir}", "--format=json", f"--output={report}"),
            *(f"--scanners={','.join(options.scanners)}", "--list-all-pkgs=false", "--no-progress"),
            *("--skip-version-check", "--disable-telemetry"),
            *(OFFLINE if options.offline else ()),
            *(("--show-suppressed",) if options.honour_repository_config else DEAF),
            *(f"--skip-{kind}=**/{glob}" for glob in options.exclude for kind in ("dirs", "files")),
            ".",
            environment=NO_NETWORK if options.offline else None,
        )
        found = ctx.parse(report, "trivy")
        if "vuln" in options.scanners:
            looked_with = await run_sync(database_properties, ctx.cache_dir)
            found = found.with_tool(ToolInfo("trivy", properties=looked_with))
        notices = await run_sync(lambda: [*complaints(done.stderr, offline=options.offline)])
        if "misconfig" in options.scanners and not options.honour_repository_config:
            notices += await silenced(ctx, options.exclude)
        for notice in notices:
            found = found.with_notice(notice)
        return found


@hookimpl
def rediver_scanners() -> Iterator[Trivy]:
    """The scanner."""
    yield Trivy()


@hookimpl
def rediver_parsers() -> Iterator[Parser]:
    """The reader of trivy's JSON."""
    yield TrivyParser()
