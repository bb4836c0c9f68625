"""The recorded run of a scan and its hostile cases, as the agent has to see them."""

from collections.abc import Collection

from rediver_agent.testing._contexts import Recorded
from rediver_agent.testing._trials import (
    TIME_OUT_SECONDS,
    UNUSED_EXIT_CODE,
    Trial,
    changed,
    cut,
    without_report,
)

_LET_GO = "let the cancellation go, and shield nothing from it"


def scan_trials(
    program: str, recorded: Recorded, names: frozenset[str], secrets: Collection[str]
) -> list[Trial]:
    """Trials of a scanner of `program`. `names` of `recorded` leave the report; the tool says the
    `secrets` that it was given when it fails.
    """
    whole = Trial(
        "the recorded run",
        recorded,
        "record a run that ends well, and whose report its parser can read",
        status="completed",
    )
    return [
        whole,
        *_failures(program, recorded, names, secrets),
        *_bad_reports(program, recorded, names),
        *_hanging(program, recorded, names),
    ]


def _failures(
    program: str, recorded: Recorded, names: frozenset[str], secrets: Collection[str]
) -> list[Trial]:
    said = f"{program}: out of luck {' '.join(secrets)}\n"
    return [
        Trial(
            f"{program} is missing",
            recorded,
            "let ToolMissing go",
            reason="tool_missing",
            without_tool=True,
        ),
        Trial(
            f"{program} fails after its report (exit code {UNUSED_EXIT_CODE})",
            changed(recorded, names, exit_code=UNUSED_EXIT_CODE, stderr=said),
            "name the exit codes that mean a whole run in `ok`, and let ToolError go",
        ),
        Trial(
            f"{program} is killed after its report",
            recorded,
            "let ToolError go: its exit_code is None",
            hostile=names,
            ending="is killed",
        ),
    ]


def _bad_reports(program: str, recorded: Recorded, names: frozenset[str]) -> list[Trial]:
    return [
        Trial(
            f"{program} leaves no report",
            without_report(recorded, names),
            "no report is no clean scan: use ctx.parse()",
        ),
        Trial(
            f"{program} leaves half a report",
            cut(recorded, names),
            "its parser must raise ReportUnreadable, or yield a Notice of the level error",
        ),
    ]


def _hanging(program: str, recorded: Recorded, names: frozenset[str]) -> list[Trial]:
    return [
        Trial(
            f"{program} hangs after its report, with a child that ignores signals",
            recorded,
            _LET_GO,
            reason="timeout",
            hostile=names,
            ending="hangs",
            seconds=TIME_OUT_SECONDS,
        ),
        Trial(
            f"{program} hangs after its report and is cancelled",
            recorded,
            _LET_GO,
            status="cancelled",
            hostile=names,
            ending="hangs",
            cancelled=True,
        ),
    ]
