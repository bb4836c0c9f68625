"""The kit for plugin authors: a scan context that plays recorded outputs, and standard checks.

    def test_standard_checks(tmp_path):
        check_scanner(Bandit(), {"bandit": Played(files={"report.json": SAMPLE})}, tmp_path)
        check_parser(BanditParser(), SAMPLE)

    def test_the_collector(tmp_path, hub):  # a server of the test's own, with some findings
        check_collector(Hub(), tmp_path, secrets=["t0ken"], url=hub.url, token="t0ken")

Every built-in plugin runs the same checks. A check that fails raises `AssertionError` with a
sentence that says what to change. Nothing here starts a program.
"""

import io
import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, NoReturn

import anyio
from pydantic import BaseModel, SecretStr, ValidationError

from rediver_agent.contract.findings import Asset, Finding
from rediver_agent.errors import CommandError, ReportUnreadable, ToolError, ToolMissing
from rediver_agent.interfaces import (
    AnyCollector,
    AnyScanner,
    CollectEvent,
    Completed,
    Log,
    Notice,
    ParseEvent,
    Parser,
    ScanReport,
    ToolInfo,
)
from rediver_agent.plugin_manager import load_plugins

HOSTILE: Final[Mapping[str, bytes]] = {
    "an empty report": b"",
    "blank space": b" \n\t\n",
    "bytes that mean nothing": bytes(range(256)) * 4,
    "an HTML page": b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
    "a sentence": b"FATAL: out of memory\n",
}
_UNUSED_EXIT_CODE: Final = 113
_SECRET_WORDS: Final = frozenset({"token", "secret", "password", "passphrase", "key", "apikey"})
_ADDRESS_WORDS: Final = frozenset(
    {"url", "uri", "address", "endpoint", "host", "hostname", "server", "port", "proxy"}
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


class FakeScanContext:
    """A `ScanContext` that starts nothing: it plays what was recorded, and keeps what was asked.

    `ran` holds every argv. A program that was not recorded is `ToolMissing`, an exit code that was
    not asked for is `ToolError`, as from the agent's own context.
    """

    def __init__(self, directory: Path, recorded: Recorded, target: str = "app") -> None:
        self.target = target
        self.work_dir = directory / "work"
        self.cache_dir = directory / "cache"
        self.log: Log = logging.LoggerAdapter(logging.getLogger(__name__))
        self.ran: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
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
        played = self._recorded.get(" ".join((program, *arguments[:1])))
        played = played or self._recorded.get(program)
        if played is None:
            raise ToolMissing(f"{program} is not on PATH or not executable; install it")
        stdout = self.work_dir.parent / f"{len(self.ran)}.stdout"
        stdout.write_bytes(_bytes(played.stdout))
        stderr = stdout.with_suffix(".stderr")
        stderr.write_bytes(_bytes(played.stderr))
        for name, content in played.files.items():
            (self.work_dir / name).write_bytes(_bytes(content))
        if played.exit_code not in ok:
            raise ToolError(
                f"{program} ended with exit code {played.exit_code}: {played.stderr}",
                exit_code=played.exit_code,
                stderr_tail=played.stderr,
            )
        return Completed(played.exit_code, stdout, stderr, played.stderr)

    def parse(self, report: Path, format: str, /) -> ScanReport:  # noqa: A002 - the field's word
        """See `ScanContext.parse`."""
        if not report.is_file() or report.stat().st_size == 0:
            raise ReportUnreadable(f"{self.target}: the tool left no report, or an empty one")
        return ScanReport(report, format)

    def progress(self, percent: float | None, message: str) -> None:
        """See `ScanContext.progress`."""


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


def discovered(plugin: str) -> tuple[list[AnyScanner], list[Parser]]:
    """The scanners and parsers that an installed plugin registers, found as the agent finds it."""
    return _registered(plugin, "rediver_scanners"), _registered(plugin, "rediver_parsers")


def discovered_collectors(plugin: str) -> list[AnyCollector]:
    """The collectors that an installed plugin registers, found as the agent finds it."""
    return _registered(plugin, "rediver_collectors")


def _registered(plugin: str, hook: str) -> list[Any]:
    plugins = load_plugins()
    for broken in plugins.broken:
        if broken.origin.name == plugin:
            _fail(f"the plugin {plugin} could not be loaded: {broken.problem}")
    module = plugins.manager.get_plugin(plugin)
    if module is None:
        _fail(f"no entry point {plugin!r} in the group rediver_agent; add it and install again")
    others = [other for other in plugins.manager.get_plugins() if other is not module]
    hooks = plugins.manager.subset_hook_caller
    return [registered for found in hooks(hook, others)() for registered in found]


def check_scanner(scanner: AnyScanner, recorded: Recorded, directory: Path, **options: Any) -> None:
    """What every scanner must do. `recorded` is a run that ends well; `directory` is for files."""
    _check_declaration(scanner)
    number = count()

    def play(changed: Recorded) -> ScanReport:
        return scan(scanner, FakeScanContext(directory / f"run-{next(number)}", changed), **options)

    report = play(recorded)
    if not report.path.is_file() or not report.format:
        _fail("scan() returns ctx.parse(report, format): the report's file, and its parser's name")
    _must_raise(lambda: play({}), ToolMissing, f"{scanner.program} is missing: let ToolMissing go")

    def worse(**change: Any) -> Recorded:
        return {
            name: replace(played, **change) if played.files else played
            for name, played in recorded.items()
        }

    ended = worse(exit_code=_UNUSED_EXIT_CODE)
    _must_raise(lambda: play(ended), ToolError, "name the exit codes that mean a whole run in `ok`")
    for files, what in (({}, "no report"), (_emptied(recorded), "an empty report")):
        changed = worse(files=files)
        _must_raise(
            partial(play, changed), CommandError, f"{what} is no clean scan: use ctx.parse()"
        )


def check_parser(parser: Parser, sample: bytes, *, secrets: Collection[str] = ()) -> None:
    """What every parser must do. `sample` has findings; none of `secrets` may show in an event."""
    if not parser.sniff(sample[:65536]):
        _fail("sniff() says no to the sample: look for keys that only this format has")
    first = parse(parser, sample)
    for event in first:
        if isinstance(event, Asset):
            _fail("parse() yields an Asset: a report's asset is what was scanned")
        _check_event(event, secrets)
    if not any(isinstance(event, Finding) for event in first):
        _fail("the sample has no findings: give check_parser a report that has some")
    if parse(parser, sample) != first:
        _fail("parse() says something else the second time: keep no state between two calls")
    for what, report in HOSTILE.items():
        if parser.sniff(report):
            _fail(f"sniff() says yes to {what}")
        if _parsed(parser, report, what) is not None:
            _fail(f"parse() takes {what} for a report: raise ReportUnreadable")
    _check_incomplete(parser, b"null", "the document `null`", {"error", "warning"})
    body = sample.rstrip()
    for end in (len(body) // 4, len(body) // 2, len(body) * 3 // 4, len(body) - 1):
        _check_incomplete(parser, body[:end], f"a report cut off after {end} bytes", {"error"})


def check_collector(
    collector: AnyCollector, directory: Path, *, secrets: Collection[str] = (), **options: Any
) -> None:
    """What every collector must do. `options` lead it to a source that has findings in it.

    None of `secrets` may show in an event; `directory` is for its cache. The source is asked four
    times: twice for everything, then left after the first event, then cancelled there.
    """
    _check_collector_declaration(collector)
    ctx = FakeCollectContext(directory)
    first = collect(collector, ctx, **options)
    if not first or not isinstance(first[0], Asset):
        _fail("collect() begins with an Asset: what it looked in, even where nothing is found")
    assets = [(event.type, event.value) for event in first if isinstance(event, Asset)]
    if len(set(assets)) < len(assets):
        _fail("collect() yields an asset twice: yield everything of an asset in one go")
    for event in first:
        _check_event(event, secrets)
    if not any(isinstance(event, Finding) for event in first):
        _fail("the source has no findings: lead check_collector to one that has some")
    if sorted(map(repr, collect(collector, ctx, **options))) != sorted(map(repr, first)):
        _fail(
            "collect() says something else the second time: say everything that is there each "
            "time; what is left out counts as mended"
        )
    valid = collector.options.model_validate(options)
    anyio.run(_check_left_early, collector, ctx, valid)
    anyio.run(_check_cancelled, collector, ctx, valid, len(first))


def _check_collector_declaration(collector: AnyCollector) -> None:
    _check_name_and_options(collector)
    fields = collector.options.model_fields
    for name, declared in fields.items():
        if _SECRET_WORDS & set(name.split("_")) and declared.annotation not in (
            SecretStr,
            SecretStr | None,
        ):
            _fail(f"the option {name}: make it a SecretStr, so that it is never shown")
    for name in sorted(collector.from_command | collector.choose_assets):
        if name not in fields:
            _fail(f"from_command or choose_assets name {name!r}, which is none of the options")
    for name in sorted(collector.from_command):
        if (_SECRET_WORDS | _ADDRESS_WORDS) & set(name.split("_")):
            _fail(f"from_command names {name!r}: addresses and secrets are the operator's alone")


async def _check_left_early(collector: AnyCollector, ctx: Any, options: BaseModel) -> None:
    events: Any = collector.collect(ctx, options)
    if not hasattr(events, "aclose"):
        _fail("collect() is no async generator: write it as `async def` with `yield` in it")
    await anext(events)
    try:
        await events.aclose()
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything is its fault
        _fail(f"collect() raises {fault!r} when it is left early: let GeneratorExit go")


async def _check_cancelled(
    collector: AnyCollector, ctx: Any, options: BaseModel, whole: int
) -> None:
    """One that never pauses may come to its end; whoever takes its events pauses for it."""
    events: Any = collector.collect(ctx, options)
    with anyio.CancelScope() as scope:
        await anext(events)
        scope.cancel()
        try:
            seen = 1 + len([event async for event in events])
        except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything is its fault
            _fail(f"collect() raises {fault!r} when it is cancelled: let the cancellation go")
        if seen < whole:
            _fail(
                "collect() ends as if it were whole when it is cancelled: let the cancellation go"
            )
    await events.aclose()


def _check_declaration(scanner: AnyScanner) -> None:
    _check_name_and_options(scanner)
    if not scanner.program:
        _fail("program is empty: name what must be on PATH")
    try:
        scanner.options()
    except ValidationError as fault:
        _fail(f"options() must be valid: give every option a default ({fault})")


def _check_name_and_options(plugin: AnyScanner | AnyCollector) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", plugin.name):
        _fail(f"name {plugin.name!r}: use small letters, digits and -, like a command line")
    options = plugin.options
    if not issubclass(options, BaseModel) or options.model_config.get("extra") != "forbid":
        _fail('options is a pydantic model with extra="forbid", so that no key is ignored')


def _check_event(event: object, secrets: Collection[str]) -> None:
    if isinstance(event, Finding | Asset):
        try:
            type(event).model_validate(event.model_dump())
        except ValidationError as fault:
            what = "a finding" if isinstance(event, Finding) else "an asset"
            _fail(f"{what} is not valid, build it with {type(event).__name__}(...): {fault}")
        if isinstance(event, Finding) and event.fingerprint is not None:
            _fail("a finding has a fingerprint: leave it out, the agent sets it")
        shown = event.model_dump_json()
    elif isinstance(event, Notice | ToolInfo):
        shown = json.dumps(repr(event))
    else:
        _fail(f"a {type(event).__name__} is yielded: yield Finding, Notice or ToolInfo")
    if any(secret in shown for secret in secrets):
        _fail(f"a secret shows in a {type(event).__name__}: mask it before it is yielded")


def _check_incomplete(parser: Parser, report: bytes, what: str, levels: Collection[str]) -> None:
    events = _parsed(parser, report, what)
    if events is not None and not any(
        isinstance(event, Notice) and event.level in levels for event in events
    ):
        _fail(f"parse() takes {what} for a whole one: raise ReportUnreadable, or yield a Notice")


def _parsed(parser: Parser, report: bytes, what: str) -> list[ParseEvent] | None:
    try:
        return parse(parser, report)
    except ReportUnreadable:
        return None
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything else is its fault
        _fail(f"parse() raises {fault!r} for {what}: raise ReportUnreadable")


def _must_raise(act: Callable[[], object], kind: type[CommandError], advice: str) -> None:
    try:
        act()
    except kind:
        return
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything else is its fault
        _fail(f"scan() raises {fault!r}, not {kind.__name__}: {advice}")
    _fail(f"scan() goes on where it should raise {kind.__name__}: {advice}")


def _emptied(recorded: Recorded) -> dict[str, bytes]:
    return {name: b"" for played in recorded.values() for name in played.files}


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _fail(sentence: str) -> NoReturn:
    raise AssertionError(sentence)
