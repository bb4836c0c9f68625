"""Whether scanners keep their promises: in a context that plays, and the whole way."""

import tempfile
from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import anyio

from rediver_agent.errors import CommandError, ReportUnreadable, ToolError, ToolMissing
from rediver_agent.interfaces import AnyScanner, Parser, Scanner, ScanReport
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry
from rediver_agent.testing._checks import (
    SECRET_WORDS,
    check_async,
    check_defaults,
    check_from_command,
    check_name_and_options,
    check_nothing_of_the_operator,
    check_secret_option,
    fail,
    secrets_of,
    valid_options,
)
from rediver_agent.testing._contexts import FakeScanContext, Recorded, scan
from rediver_agent.testing._scan_trials import scan_trials
from rediver_agent.testing._trials import (
    UNUSED_EXIT_CODE,
    changed,
    emptied,
    judge,
    reporting,
    without_report,
)

_OURS: Final = frozenset({"sarif", "json", "semgrep", "trivy", "gitleaks"})


def check_scanner(
    scanner: AnyScanner,
    recorded: Recorded,
    directory: Path,
    *,
    parser: Parser | None = None,
    target: Path | None = None,
    secrets: Collection[str] = (),
    **options: Any,
) -> None:
    """What every scanner must do. `recorded` is a run that ends well and finds something.

    It is played in a context that starts nothing; then by real programs, through the agent's own
    executor: whole, missing, crashed, with half a report or none, hanging with a child that ignores
    signals until time is up, and until it is cancelled. `directory` is for files. The report is
    read by `parser`, else by the installed one of its format. `target` is a directory to scan, for
    a scanner that asks for a file in it. None of `secrets` may show in what goes to the server.
    """
    _check_declaration(scanner)
    given = [*secrets_of(valid_options(scanner, options))]
    report, by = _check_played(scanner, recorded, directory, options, given)
    reader = parser or _installed(report.format)
    way = import_module("rediver_agent.testing._whole_way")  # the whole agent: half a second
    workplace = way.scans(scanner, {report.format: reader}, options, target)
    trials = scan_trials(scanner.program, recorded, reporting(recorded, by), given)
    for some in (trials[:1], trials[1:]):  # what does not even end well is told at once
        for trial, ran in zip(some, way.run_trials(directory, some, workplace), strict=True):
            judge(trial, ran, [*secrets, *given])
            if trial.status == "completed" and not ran.result.get("findings_count"):
                fail(
                    f"{trial.what}: the parser {report.format!r} finds nothing in it: record a run "
                    "that found something, or a report that is lost would look the same"
                )


def _check_declaration(scanner: AnyScanner) -> None:
    check_name_and_options(scanner, Scanner)
    check_async(scanner, "scan")
    if not getattr(scanner, "program", ""):
        fail("program is empty: name what must be on PATH")
    check_defaults(scanner.options)
    for name, declared in scanner.options.model_fields.items():
        if name.split("_")[-1] in SECRET_WORDS:
            check_secret_option(name, declared.annotation)
    own = scanner.from_command - cast("type[AnyScanner]", Scanner).from_command
    check_from_command(own, scanner.options)
    check_nothing_of_the_operator(own)


def _check_played(
    scanner: AnyScanner,
    recorded: Recorded,
    directory: Path,
    options: Mapping[str, Any],
    secrets: Collection[str],
) -> tuple[ScanReport, str | None]:
    """The report of the recorded run, and which program has printed it, if one has."""
    directory.mkdir(parents=True, exist_ok=True)
    number, base = count(), Path(tempfile.mkdtemp(prefix="played-", dir=directory))

    def context(programs: Recorded) -> FakeScanContext:
        return FakeScanContext(base / f"run-{next(number)}", programs)

    def play(programs: Recorded) -> object:
        return scan(scanner, context(programs), **options)

    ctx = context(recorded)
    report = _played_well(scanner, ctx, recorded, options)
    _check_argv(scanner, ctx, secrets)
    by = ctx.printed.get(report.path)
    names = reporting(recorded, by)
    _must_raise(lambda: play({}), ToolMissing, f"{scanner.program} is missing: let ToolMissing go")
    _check_probe(scanner, context({}), context(recorded))
    ended = changed(recorded, names, exit_code=UNUSED_EXIT_CODE)
    _must_raise(lambda: play(ended), ToolError, "name the exit codes that mean a whole run in `ok`")
    for worse, what in (
        (without_report(recorded, names), "no report"),
        (emptied(recorded, names), "an empty report"),
    ):
        _must_raise(partial(play, worse), CommandError, f"{what} is no clean scan: use ctx.parse()")
    return report, by


def _played_well(
    scanner: AnyScanner, ctx: FakeScanContext, recorded: Recorded, options: Mapping[str, Any]
) -> ScanReport:
    try:
        report = cast("object", scan(scanner, ctx, **options))
    except ToolMissing as fault:
        fail(
            f"scan() runs {' '.join(ctx.ran[-1][:2])}, which is not recorded (there is: "
            f"{', '.join(sorted(recorded)) or 'nothing'}): add it to `recorded` ({fault})"
        )
    except ToolError as fault:
        fail(
            f"scan() raises ToolError for the recorded run ({fault}): record one that ends well, "
            "or name its exit code among those that mean a whole run"
        )
    except ReportUnreadable as fault:
        left = sorted(file for played in recorded.values() for file in played.files)
        fail(
            f"scan() raises ReportUnreadable for the recorded run ({fault}): it leaves "
            f"{', '.join(left) or 'no file'} in ctx.work_dir; record the report by the name that "
            "scan() gives to ctx.parse()"
        )
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything is its fault
        fail(
            f"scan() raises {fault!r} for the recorded run: start programs by ctx.run alone, and "
            "let nothing but CommandErrors out"
        )
    if not isinstance(report, ScanReport) or not report.path.is_file() or not report.format:
        fail("scan() returns ctx.parse(report, format): the report's file, and its parser's name")
    return report


def _check_probe(scanner: AnyScanner, missing: FakeScanContext, there: FakeScanContext) -> None:
    _must_raise(
        lambda: anyio.run(scanner.probe, missing),
        ToolMissing,
        f"{scanner.program} is missing: let ToolMissing go",
        "probe()",
    )
    try:
        version = cast("object", anyio.run(scanner.probe, there))
    except CommandError:  # as of a program that has no such exit code recorded
        return
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything else is its fault
        fail(f"probe() raises {fault!r}: let nothing but CommandErrors out")
    if not isinstance(version, str) or not version:
        fail(f"probe() returns {version!r}: return the tool's version as a text")


def _check_argv(scanner: AnyScanner, ctx: FakeScanContext, secrets: Collection[str]) -> None:
    if not any(argv[0] == scanner.program for argv in ctx.ran):
        fail(
            f"scan() never runs its program {scanner.program!r}: `program` is what the operator "
            "may name another binary for, so run it by that name"
        )
    for argv in ctx.ran:
        if any(secret and secret in word for word in argv for secret in secrets):
            fail(
                f"a secret is in the arguments of {argv[0]}, where everybody on the host can read "
                "it: pass it by ctx.run(…, environment=…), or in a file in ctx.work_dir"
            )


def _installed(format_name: str) -> Parser:
    registry = build_registry(load_plugins(environment={}))
    if format_name in registry.parsers:
        return registry.parsers[format_name]
    advice = (
        f"depend on rediver-agent[{format_name}]"
        if format_name in _OURS
        else "register its parser by rediver_parsers and install the plugin (pip install -e .), or "
        "give it to check_scanner as `parser`"
    )
    return fail(f"no installed plugin reads {format_name!r}: {advice}")


def _must_raise(
    act: Callable[[], object], kind: type[CommandError], advice: str, who: str = "scan()"
) -> None:
    try:
        act()
    except kind:
        return
    except Exception as fault:  # noqa: BLE001 - foreign code runs here; anything else is its fault
        fail(f"{who} raises {fault!r}, not {kind.__name__}: {advice}")
    fail(f"{who} goes on where it should raise {kind.__name__}: {advice}")
