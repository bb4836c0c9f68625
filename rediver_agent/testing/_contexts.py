"""What a plugin under test is given in place of the agent's contexts, and how it is run in them."""

import io
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import anyio
from pydantic import JsonValue

from rediver_agent.contract.findings import Asset, Finding
from rediver_agent.errors import (
    DiskFull,
    ReportUnreadable,
    TargetNotAllowed,
    ToolError,
    ToolMissing,
)
from rediver_agent.interfaces import (
    AnyCollector,
    AnyHandler,
    AnyScanner,
    CollectEvent,
    Completed,
    Log,
    ParseEvent,
    Parser,
    ScanReport,
    ToolInfo,
)


@dataclass(frozen=True, slots=True)
class Played:
    """What a program did once: how it ended, what it said, and the files it left in `work_dir`."""

    exit_code: int = 0
    stdout: str | bytes = b""
    stderr: str = ""
    files: Mapping[str, str | bytes] = field(default_factory=dict[str, str | bytes])


Recorded = Mapping[str, Played]
"""By program and first argument ("gitleaks dir"), else by program ("gitleaks")."""


class _FakeRuns:
    """Programs that were recorded, and what was asked of them."""

    def __init__(self, directory: Path, recorded: Recorded) -> None:
        self.work_dir = directory / "work"
        self.cache_dir = directory / "cache"
        self.log: Log = logging.LoggerAdapter(logging.getLogger(__name__))
        self.ran: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.said: list[tuple[float | None, str]] = []
        self.printed: dict[Path, str] = {}
        """Which of `recorded` has printed what."""
        self._recorded = recorded
        for made in (self.work_dir, self.cache_dir):
            made.mkdir(parents=True, exist_ok=True)

    async def run(
        self,
        program: str,
        /,
        *arguments: str,
        ok: Collection[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """See `ScanContext.run`."""
        self.ran.append([program, *arguments])
        self.environments.append(dict(environment or {}))
        named = " ".join((program, *arguments[:1]))
        named = named if named in self._recorded else program
        if named not in self._recorded:
            raise ToolMissing(f"{program} is not on PATH or not executable; install it")
        played = self._recorded[named]
        stdout = self.work_dir.parent / f"{len(self.ran)}.stdout"
        self.printed[stdout] = named
        stdout.write_bytes(as_bytes(played.stdout))
        stderr = stdout.with_suffix(".stderr")
        stderr.write_bytes(as_bytes(played.stderr))
        for name, content in played.files.items():
            file = self.work_dir / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(as_bytes(content))
        if played.exit_code not in ok:
            raise ToolError(
                f"{program} ended with exit code {played.exit_code}: {played.stderr}",
                exit_code=played.exit_code,
                stderr_tail=played.stderr,
            )
        return Completed(played.exit_code, stdout, stderr, played.stderr)

    def progress(self, percent: float | None, message: str) -> None:
        """See `ScanContext.progress`."""
        self.said.append((percent, message))


class FakeScanContext(_FakeRuns):
    """A `ScanContext` that starts nothing: it plays what was recorded, and keeps what was asked.

    `ran` holds every argv, `said` every progress. A program that was not recorded is `ToolMissing`,
    an exit code that was not asked for is `ToolError`, as from the agent's own context.
    """

    def __init__(self, directory: Path, recorded: Recorded, target: str = "app") -> None:
        super().__init__(directory, recorded)
        self.target = target

    def parse(self, report: Path, format: str, /) -> ScanReport:  # noqa: A002 - the field's word
        """See `ScanContext.parse`."""
        if not report.is_file() or report.stat().st_size == 0:
            raise ReportUnreadable(f"{self.target}: the tool left no report, or an empty one")
        return ScanReport(report, format)

    def file_in_target(self, path: str, /) -> str:
        """See `ScanContext.file_in_target`. Every file is there that does not lie outside."""
        return _file_in(self.target, path)


class FakeHandlerContext(_FakeRuns):
    """A `HandlerContext` that starts nothing, likewise. `target` None: it is about no directory."""

    def __init__(
        self, directory: Path, recorded: Recorded | None = None, target: str | None = None
    ) -> None:
        super().__init__(directory, recorded or {})
        self.target = target

    def file_in_target(self, path: str, /) -> str:
        """See `HandlerContext.file_in_target`. Every file is there that does not lie outside."""
        if self.target is None:
            raise TargetNotAllowed(f"this command is about no directory that {path!r} could be in")
        return _file_in(self.target, path)


class FakeCollectContext:
    """A `CollectContext` with a cache of its own. `said` holds every progress."""

    def __init__(self, directory: Path) -> None:
        self.cache_dir = directory / "cache"
        self.log: Log = logging.LoggerAdapter(logging.getLogger(__name__))
        self.said: list[tuple[float | None, str]] = []
        self.cache_dir.mkdir(parents=True, exist_ok=True)

    def progress(self, percent: float | None, message: str) -> None:
        """See `CollectContext.progress`."""
        self.said.append((percent, message))


@dataclass(frozen=True, slots=True)
class Kept:
    """What a collector that is pushed to has kept in one go."""

    asset: Asset
    findings: Sequence[Finding]
    tool: ToolInfo


class FakeListenContext(FakeCollectContext):
    """A `ListenContext`. `kept` holds every push; while `full`, there is no room for another."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.kept: list[Kept] = []
        self.full = False

    async def keep(self, asset: Asset, findings: Sequence[Finding], tool: ToolInfo) -> None:
        """See `ListenContext.keep`."""
        await anyio.lowlevel.checkpoint()
        if self.full:
            raise DiskFull("the disk is full; free space")
        self.kept.append(Kept(asset, findings, tool))


def collect(collector: AnyCollector, ctx: Any, **options: Any) -> list[CollectEvent]:
    """Everything that a collector yields, with its options validated as the agent does."""

    async def collected() -> list[CollectEvent]:
        valid = collector.options.model_validate(options)
        return [event async for event in collector.collect(ctx, valid)]

    return anyio.run(collected)


def scan(scanner: AnyScanner, ctx: Any, **options: Any) -> ScanReport:
    """Run a scanner to its end in a context, with its options validated as the agent does."""
    return anyio.run(partial(scanner.scan, ctx, scanner.options.model_validate(options)))


def parse(parser: Parser, report: bytes) -> list[ParseEvent]:
    """Everything that a parser yields for a report."""
    return list(parser.parse(io.BytesIO(report)))


def handle(
    handler: AnyHandler, ctx: Any, payload: Mapping[str, JsonValue], **options: Any
) -> Mapping[str, JsonValue]:
    """What a handler makes of a command, with payload and options validated as the agent does."""
    valid = handler.payload.model_validate(payload)
    chosen = handler.options.model_validate(options)
    return anyio.run(partial(handler.handle, ctx, valid, chosen))


def as_bytes(content: str | bytes) -> bytes:
    """What was recorded, as it was written."""
    return content.encode() if isinstance(content, str) else content


def _file_in(target: str, path: str) -> str:
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise TargetNotAllowed(f"{path!r} is no file in {target} that may be read")
    return f"./{PurePosixPath(path)}"
