"""What a scan came to: the report's header and the command's outcome. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote

from pydantic import BaseModel, JsonValue

from rediver_agent.contract.commands import ScanPayload
from rediver_agent.contract.findings import (
    Asset,
    Report,
    ReportMetadata,
    Severity,
    Tool,
)
from rediver_agent.contract.results import Reason, ResultStatus
from rediver_agent.errors import CommandError
from rediver_agent.executor import Job, Outcome
from rediver_agent.handlers.surroundings import Surroundings, accepted_in
from rediver_agent.interfaces import AnyScanner, Notice
from rediver_agent.policy import OpenTarget
from rediver_agent.report_writer import Summary, coverage_key

_MAX_ASSET: Final = 1000  # characters of an asset's value in the contract


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan in hand."""

    job: Job
    payload: ScanPayload
    scanner: AnyScanner
    options: BaseModel
    target: OpenTarget
    base: Path
    started: datetime
    enrichers: JsonValue = None
    around: Surroundings = field(default_factory=Surroundings)

    @property
    def report_id(self) -> str:
        """One report an attempt."""
        return f"{self.job.id}.{self.job.attempt or 0}"


def outcome_of(
    scan: Scan, summary: Summary, unreadable: CommandError | None, agent: str, now: datetime
) -> Outcome:
    """The outcome, with the report that goes with it. `unreadable` is why reading ended early."""
    about_target = _about_target(scan, summary)
    failure = _failure(scan, summary, unreadable)
    header = _header(scan, summary, agent, now)
    metadata: dict[str, JsonValue] = {
        "scanner": scan.scanner.name,
        "scanner_version": header.tool.version,
        "findings_by_severity": {s.value: summary.by_severity[s] for s in reversed(Severity)},
        "suppressed": summary.suppressed,
        "coverage": summary.coverage.value,
        **summary.hidden_by_enrichers(),
        **about_target,
    }
    if header.tool.properties:
        metadata["looked_with"] = header.tool.properties
    if summary.below_threshold:
        metadata["below_threshold"] = summary.below_threshold
    if summary.notices:
        metadata["notices"] = said_in_metadata(summary.notices)
    if failure:
        metadata["reason"] = failure[0].value
    ended = scan.job.ended
    return Outcome(
        status=ResultStatus.FAILED if failure else ResultStatus.COMPLETED,
        findings_count=summary.findings,
        exit_code=ended[-1].exit_code if ended else None,
        error=failure[1] if failure else None,
        metadata=metadata,
        reports=(header,),
    )


def _about_target(scan: Scan, summary: Summary) -> dict[str, JsonValue]:
    """Branch and commit, and what its suppressions did; those worth a word are noted, too."""
    told: dict[str, JsonValue] = {}
    repository, suppressions = scan.around.repository, scan.around.suppressions
    if repository and repository.branch:
        branch = repository.branch
        told |= {"branch": branch.name, "commit": branch.commit_sha}
    if suppressions is not None:
        accepted = accepted_in(summary, suppressions)
        told["suppressions"] = accepted.model_dump(mode="json")
        for said in (*accepted.expired, *accepted.unmatched):
            summary.note(Notice("info", said))
    if scan.around.ignored is not None:
        told["suppressions_ignored"] = scan.around.ignored
    return told


def _failure(
    scan: Scan, summary: Summary, unreadable: CommandError | None
) -> tuple[Reason, str] | None:
    if unreadable is not None:
        return unreadable.reason, str(unreadable)
    errors = [notice.message for notice in summary.notices if notice.level == "error"]
    if not errors:
        return None
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return (
        Reason.PARTIAL_SCAN,
        f"{scan.scanner.name} did not look at everything: {errors[0]}{more}",
    )


def _header(scan: Scan, summary: Summary, agent: str, now: datetime) -> Report:
    tool = summary.tool
    properties: dict[str, JsonValue] = dict(tool.properties) if tool else {}
    options = scan.options.model_dump(mode="json")
    return Report(
        version="1.0",
        metadata=ReportMetadata(
            id=scan.report_id,
            timestamp=scan.started,
            duration_ms=max(0, round((now - scan.started).total_seconds() * 1000)),
            command_id=scan.job.id if scan.job.commanded else None,
            attempt=scan.job.attempt,
            coverage_type=summary.coverage,
            coverage_key=coverage_key(
                scan.scanner.name, options, properties.get("rules_hash"), ".", scan.enrichers
            ),
            branch=scan.around.repository.branch if scan.around.repository else None,
            properties=summary.hidden_by_enrichers(),
        ),
        tool=Tool(
            name=scan.scanner.name, version=tool.version if tool else None, properties=properties
        ),
        assets=[_asset(scan.around, scan.target.path, agent)],
    )


def _asset(around: Surroundings, path: PurePosixPath, agent: str) -> Asset:
    """The directory on this agent; in CI, whose directories do not last, the repository.

    What `.git` says of its address makes no asset: who can write to it could have the findings of
    another repository resolved. A directory in a repository is one of its own, written as Terraform
    does: `https://host/repo//directory`.
    """
    repository = around.repository if around.in_ci else None
    if repository and repository.branch and (url := repository.branch.repository_url):
        below = path.relative_to(repository.root).as_posix()
        value = url if below == "." else f"{url}//{quote(below)}"
        if len(value) <= _MAX_ASSET:
            return Asset(
                id="target",
                type="repository",
                value=value,
                name=value.partition("://")[2].partition("/")[2],
            )
    return Asset(
        id="target",
        type="directory",
        # The path alone would make one asset of two machines' folders of that name.
        value=f"file://{quote(agent)}{quote(str(path))}",
        name=path.name or "/",
    )


def said_in_metadata(notices: Sequence[Notice]) -> JsonValue:
    """Notices as `metadata.notices` has them."""
    said: list[JsonValue] = []
    for notice in notices:
        entry: dict[str, JsonValue] = {"level": notice.level, "message": notice.message}
        said.append({**entry, "path": notice.path} if notice.path else entry)
    return said


def notices_of(outcome: Outcome) -> list[tuple[str, str]]:
    """Level and message of each notice in an outcome's metadata; the message names the file."""
    said = outcome.metadata.get("notices")
    entries = [entry for entry in said if isinstance(entry, dict)] if isinstance(said, list) else []
    return [(str(entry["level"]), _naming_the_file(entry)) for entry in entries]


def _naming_the_file(entry: Mapping[str, JsonValue]) -> str:
    message, path = str(entry["message"]), str(entry.get("path") or "")
    return message if path in message else f"{path}: {message}"
