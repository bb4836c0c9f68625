"""`--baseline FILE`: what an earlier report knew, and what of a new one is new against it.

A finding is known if the earlier report has its fingerprint, of the same tool and as many times.
One that was suppressed there is not: it was accepted for a time, and that may be over. A file that
is not there or not understood is an error, for it would make everything new, or nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from rediver_agent.contract.findings import Finding, Severity
from rediver_agent.contract.sarif import FINGERPRINT
from rediver_agent.errors import ConfigurationError, ReportUnreadable, SpoolError
from rediver_agent.executor import Outcome
from rediver_agent.fingerprint import VERSION
from rediver_agent.jsonstream import outline

STATE: Final = "baseline_state"
NEW, UNCHANGED = "new", "unchanged"  # SARIF's words
_STATES: Final = (NEW, UNCHANGED)
_OURS: Final = "rediver-"  # what writes our SARIF names itself so among the extensions
_REPORT, _FINDING = "reports.item", "reports.item.findings.item"
_RUN, _RESULT = "runs.item", "runs.item.results.item"
_SEEN: Final = ("", "reports", "runs", _REPORT, _FINDING, _RUN, _RESULT)
_BUILT: Final = (
    f"{_REPORT}.tool.name",
    f"{_FINDING}.fingerprint",
    f"{_FINDING}.suppression",
    f"{_RUN}.tool.driver.name",
    f"{_RUN}.tool.extensions.item.name",
    f"{_RESULT}.fingerprints",
    f"{_RESULT}.suppressions",
    f"{_RESULT}.baselineState",
)

Findings = Callable[[str], Iterable[Finding]]
"""The findings of a report by its id, in order."""


@dataclass(slots=True)
class Baseline:
    """What an earlier report knew, by tool and fingerprint."""

    tools: set[str] = field(default_factory=set[str])
    known: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    suppressed: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])


class Comparison:
    """Reports beside a baseline."""

    def __init__(self, baseline: Baseline, outcomes: Sequence[Outcome], findings: Findings) -> None:
        """Read every finding once. `SpoolError` if there are not as many as were found."""
        self.new: Counter[Severity] = Counter()
        self.known = 0
        self.unknown_tools: list[str] = []
        self.absent_tools = set(baseline.tools)
        self._findings = findings
        self._baseline = baseline
        self._left = baseline.known.copy()
        self._states: dict[str, bytearray] = {}
        for outcome in outcomes:
            before = self.new.total() + self.known
            for report in outcome.reports:
                self.absent_tools.discard(report.tool.name)
                if report.tool.name not in baseline.tools:
                    self.unknown_tools.append(report.tool.name)
                self._states[report.metadata.id] = bytearray(
                    self._state(report.tool.name, finding)
                    for finding in findings(report.metadata.id)
                )
            if self.new.total() + self.known - before != (outcome.findings_count or 0):
                raise SpoolError(
                    "findings were sent before they could be compared with the baseline: a running "
                    "agent uses the same state_dir; scan without --push, or give it another"
                )

    @property
    def sentence(self) -> str:
        """How much is new."""
        return f"{self.new.total() or 'nothing'} new, {self.known} known from the baseline"

    def findings(self, report_id: str) -> Iterator[Finding]:
        """The findings of a report, each with its state among its properties."""
        for finding, state in zip(
            self._findings(report_id), self._states[report_id], strict=True
        ):  # fmt: skip
            told = {**finding.properties, STATE: _STATES[state]}
            yield finding.model_copy(update={"properties": told})

    def _state(self, tool: str, finding: Finding) -> int:
        """The index of its state. What counts is counted, too."""
        key = tool, finding.fingerprint or ""
        if finding.suppression is not None:
            return int(key in self._baseline.known or key in self._baseline.suppressed)
        if self._left[key] > 0:
            self._left[key] -= 1
            self.known += 1
            return 1
        self.new[finding.severity] += 1
        return 0


def state_of(finding: Finding) -> str:
    """`new` or `unchanged`, of a finding that `Comparison.findings` gave."""
    return str(finding.properties[STATE])


def read_baseline(path: Path) -> Baseline:
    """What a report of `--format json` or `sarif` knew. `ConfigurationError` if it is none."""
    reading = _Reading()
    try:
        with path.open("rb") as stream:
            for place, value in outline(stream, _BUILT, _SEEN):
                reading.take(place, value)
        return reading.done()
    except OSError as fault:
        why = (fault.strerror or str(fault)).lower()
    except ReportUnreadable as fault:
        why = str(fault)
    raise ConfigurationError(
        f"the baseline {path} cannot be used: {why}; write one with `rediver-agent scan "
        "--format json --output FILE`"
    )


class _Reading:
    """A document in hand, a report or a run at a time: which tool wrote it may come last."""

    def __init__(self) -> None:
        self._baseline = Baseline()
        self._place = ""
        self._tool: str | None = None
        self._ours = False
        self._entries: list[tuple[str | None, bool]] = []
        self._any = False

    def take(self, place: str, value: Any) -> None:
        if place in {_REPORT, _RUN}:
            self._end()
            self._place, self._tool, self._ours, self._any = place, None, place == _REPORT, True
        elif place in {_FINDING, _RESULT}:
            self._entries.append((None, False))
        elif place.endswith(".extensions.item.name"):
            self._ours |= str(value).startswith(_OURS)
        elif place.endswith(".name"):
            self._tool = str(value)
        elif place not in _SEEN:
            self._take_of_finding(place.rpartition(".")[2], value)

    def _take_of_finding(self, key: str, value: Any) -> None:
        fingerprint, suppressed = self._entries[-1]
        if key == "fingerprint" and isinstance(value, str):
            fingerprint = value
        elif key == "fingerprints" and isinstance(value, dict):
            known = cast("dict[str, Any]", value).get(FINGERPRINT)
            fingerprint = known if isinstance(known, str) else None
        elif (key == "baselineState" and value == "absent") or (key != "baselineState" and value):
            suppressed = True  # or no longer there: not known either way
        self._entries[-1] = fingerprint, suppressed

    def done(self) -> Baseline:
        self._end()
        if not self._any:
            _refuse("no report is in it: it is of another format, or every scan of it failed")
        return self._baseline

    def _end(self) -> None:
        entries, self._entries = self._entries, []
        if not self._place:
            return
        if not self._tool:
            _refuse("a report in it names no tool")
        if not self._ours or any(not fingerprint for fingerprint, _ in entries):
            _refuse(f"{self._tool} or another tool wrote it, and its findings have no fingerprints")
        if not all(str(fingerprint).startswith(f"{VERSION}:") for fingerprint, _ in entries):
            _refuse("its fingerprints are of another version, so that everything would be new")
        self._baseline.tools.add(self._tool)
        for fingerprint, suppressed in entries:
            key = self._tool, fingerprint or ""
            if suppressed:
                self._baseline.suppressed.add(key)
            else:
                self._baseline.known[key] += 1


def _refuse(why: str) -> NoReturn:
    raise ReportUnreadable(why)
