"""What trivy looks with: its databases and its checks, where they are kept and how old they are.

A missing database is an error, and an old one is said to be old: it does not know what was found
out since, and an old clean is no clean.
"""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.to_thread import run_sync
from pydantic import JsonValue

from rediver_agent import Notice, ScanContext, ToolError
from rediver_trivy._log import last_words
from rediver_trivy._options import Options

# How the agent itself reaches the network; a child gets nothing of this unless it is handed over.
_NETWORK: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)


def network() -> dict[str, str]:
    """The environment of a trivy that fetches something."""
    return {name: os.environ[name] for name in _NETWORK if name in os.environ}


async def ready_database(ctx: ScanContext, options: Options) -> tuple[Notice, ...]:
    """See that there is a vulnerability database, and a new one where it may be fetched.

    Raises `ToolError` where there is none. One that could not be renewed is used as it is.
    """
    if options.offline:
        await run_sync(_require, ctx.cache_dir)
        return ()
    ctx.progress(None, "trivy fetches its vulnerability database")
    why = await _fetch(ctx, options)
    if why is None:
        await run_sync(_require, ctx.cache_dir)
        return ()
    if not await run_sync(_is_there, ctx.cache_dir):
        raise ToolError(
            f"trivy has no vulnerability database and could not fetch one: {why}; see that the "
            "agent reaches the registry, name another in db_repository, or leave `vuln` out of "
            "scanners"
        )
    return (Notice("info", f"trivy's database could not be renewed: {why}"),)


async def _fetch(ctx: ScanContext, options: Options) -> str | None:
    """Why it could not be fetched. trivy's own `--timeout` does not limit this, so we do."""
    try:
        with anyio.fail_after(options.database_timeout):
            await ctx.run(
                *("trivy", "fs", f"--cache-dir={ctx.cache_dir}", "--download-db-only"),
                *("--config=", "--no-progress", "--skip-version-check", "--disable-telemetry"),
                *(f"--db-repository={name}" for name in options.db_repository),
                environment=network(),
            )
    except TimeoutError:
        return f"it took longer than {options.database_timeout} s (database_timeout)"
    except ToolError as fault:
        return last_words(fault)
    return None


def looked_with(cache_dir: Path, options: Options) -> Iterator[tuple[str, JsonValue]]:
    """The dates of the databases and the bundle of checks, as they say it themselves."""
    if "vuln" in options.scanners:
        yield "database_updated_at", _said(cache_dir / "db").get("UpdatedAt")
        if java := _said(cache_dir / "java-db").get("UpdatedAt"):
            yield "java_database_updated_at", java
    if "misconfig" in options.scanners:
        yield "checks", _said(cache_dir / "policy").get("Digest") or "built into trivy"


def complaint_of_age(cache_dir: Path, options: Options, now: datetime) -> Notice | None:
    """That the database is older than `max_database_age`, or does not say how old it is."""
    written = _said(cache_dir / "db").get("UpdatedAt")
    try:
        age = now - datetime.fromisoformat(written or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return Notice("warning", "trivy's vulnerability database does not say how old it is")
    if age <= timedelta(days=options.max_database_age):
        return None
    return Notice(
        "warning",
        f"trivy's vulnerability database is {age.days} days old (max_database_age: "
        f"{options.max_database_age}): it does not know what was found out since",
    )


def _is_there(cache_dir: Path) -> bool:
    return (cache_dir / "db" / "trivy.db").is_file()


def _require(cache_dir: Path) -> None:
    if not _is_there(cache_dir):
        raise ToolError(
            f"trivy has no vulnerability database in {cache_dir}: fetch it with `trivy fs "
            f"--download-db-only --cache-dir {cache_dir}`, set offline: false, or leave `vuln` out "
            "of scanners"
        )


def _said(directory: Path) -> Mapping[str, str]:
    try:
        metadata: Any = json.loads((directory / "metadata.json").read_bytes())
        return {name: str(value)[:200] for name, value in metadata.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
