"""The command line that trivy is run with, and the environment that keeps it off the network."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from rediver_agent import ScanContext, ToolError
from rediver_trivy._database import network
from rediver_trivy._options import Options

# Beside flags, since trivy fetches the modules of Terraform in spite of --offline-scan.
_NO_NETWORK: Final = {
    "HTTP_PROXY": "http://127.0.0.1:9",  # the port that discards
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "GIT_ALLOW_PROTOCOL": "",
}
_FOR_EVER: Final = "8760h"  # the agent's own time-out ends it; trivy's default is five minutes
_PACKAGE: Final = re.compile(r"^package\s+([\w]+)", re.MULTILINE)
_MAX_REGO: Final = 1 << 20


def command(ctx: ScanContext, options: Options, report: Path) -> Iterator[str]:
    """trivy's arguments. A file that is to be scanned is checked: `CommandError` if it is none."""
    sbom = options.kind == "sbom"
    # `config` is `fs` with one scanner; as `fs`, it tells what an ignore file accepts.
    yield "fs" if options.kind == "config" else options.kind
    yield from (f"--cache-dir={ctx.cache_dir}", "--format=json", f"--output={report}")
    yield from (f"--scanners={','.join(options.scanners)}", "--list-all-pkgs=false")
    yield from ("--no-progress", "--skip-version-check", "--disable-telemetry")
    # A kept one goes by the digests that an image claims: a false one would hide what is in others.
    yield "--cache-backend=memory"
    yield f"--timeout={_FOR_EVER}"
    if options.offline:
        yield from ("--offline-scan", "--skip-java-db-update")
        if not sbom:
            yield "--skip-check-update"
    if options.offline or "vuln" in options.scanners:
        yield "--skip-db-update"  # it is there, or was fetched just now
    yield from _host_files(options)
    yield from _choices(options)
    if options.input is None:
        yield "."
    elif sbom:
        yield ctx.file_in_target(options.input)
    else:
        yield f"--input={ctx.file_in_target(options.input)}"


def environment(options: Options) -> dict[str, str]:
    """What trivy's environment has besides the scanner's own."""
    return _NO_NETWORK if options.offline else network()


def rules_hash(options: Options) -> str | None:
    """Names the content of the host's files that change what is found; None if there are none."""
    named = [options.secret_config, options.ignorefile, *options.config_check, *options.vex]
    files = [file for name in named if name for file in _files(Path(name))]
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()}"


def _host_files(options: Options) -> Iterator[str]:
    """Empty names switch off trivy.yaml, .trivyignore and trivy-secret.yaml of the target."""
    deaf = not options.honour_repository_config
    if deaf:
        yield "--config="
    if options.ignorefile or deaf:
        yield f"--ignorefile={options.ignorefile or ''}"
    if (options.secret_config or deaf) and options.kind != "sbom":
        yield f"--secret-config={options.secret_config or ''}"
    if options.ignorefile or options.vex or not deaf:
        yield "--show-suppressed"
    yield from (f"--vex={file}" for file in options.vex)
    for place in options.config_check:
        yield f"--config-check={place}"
    # Checks of a package that is not named are passed over, and trivy says nothing of it.
    yield from (f"--check-namespaces={name}" for name in _namespaces(options.config_check))


def _choices(options: Options) -> Iterator[str]:
    if options.severity:
        yield f"--severity={','.join(options.severity)}"
    if options.ignore_unfixed:
        yield "--ignore-unfixed"
    if options.ignore_status:
        yield f"--ignore-status={','.join(options.ignore_status)}"
    if options.include_dev_deps:
        yield "--include-dev-deps"
    if options.license_full:
        yield "--license-full"
    if options.parallel is not None:
        yield f"--parallel={options.parallel}"
    if not options.offline:
        yield from (f"--java-db-repository={name}" for name in options.java_db_repository)
    for glob in options.exclude:
        yield from (f"--skip-dirs=**/{glob}", f"--skip-files=**/{glob}")


def _namespaces(places: Iterable[str]) -> list[str]:
    """What the checks' packages begin with."""
    found: set[str] = set()
    for place in places:
        for file in _files(Path(place)):
            if file.suffix == ".rego":
                with file.open(encoding="utf-8", errors="replace") as stream:
                    found.update(_PACKAGE.findall(stream.read(_MAX_REGO)))
    return sorted(found - {"builtin"})


def _files(place: Path) -> list[Path]:
    """The files there. `ToolError` for one that may not be read: trivy would pass over it."""
    inside = sorted(place.rglob("*")) if place.is_dir() else [place]
    files = [file for file in inside if file.is_file()]
    if locked := [file for file in files if not os.access(file, os.R_OK)]:
        raise ToolError(f"{locked[0]} cannot be read by the agent's user")
    return files
