"""Reports and their parts: which one a part belongs to, when it is whole, and what its word counts.

The parts of a report share its timestamp, tool and coverage. A timestamp in the future counts as
now, or it would make every later report an old one.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydantic import JsonValue
from sqlalchemy import func, select

from rediver_agent import contract
from rediver_server.db import Transaction
from rediver_server.errors import invalid
from rediver_server.models import Command, Report, ReportPart, Source

_CLOCK_SKEW: Final = timedelta(minutes=5)  # up to here it is not worth a word
_LARGEST: Final = 2**31 - 1  # of an integer column

Doubts = list[JsonValue]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a report may do to findings, besides adding and updating them."""

    reopens: bool
    resolves: bool


def take_part(
    tx: Transaction, source: Source, part: contract.Report, doubts: Doubts
) -> Report | None:
    """The report that a part belongs to, with the part in it; None if it was in it before.

    Raises 400 where the part contradicts the parts that are there.
    """
    meta = part.metadata
    known = select(Report).where(Report.source_id == source.id, Report.report_id == meta.id)
    report = tx.scalar(known.with_for_update())
    if report is None:
        report = _new_report(tx, source, part, doubts)
        tx.add(report)
        tx.flush()
    elif contradiction := _contradiction(report, part):
        raise invalid(contradiction, "differs from the other parts of this report: use a new id")
    if tx.get(ReportPart, (report.id, meta.part)) is not None:
        return None
    parts = select(func.max(ReportPart.part)).where(ReportPart.report_id == report.id)
    highest = tx.scalar(parts) or 0
    if meta.last:
        if report.last_part is not None or highest > meta.part:
            raise invalid("metadata.last", "another part of this report is its last")
        report.last_part = meta.part
    elif report.last_part is not None and meta.part > report.last_part:
        raise invalid("metadata.part", "comes after the last part of this report")
    tx.add(ReportPart(report_id=report.id, part=meta.part))
    tx.flush()
    return report


def is_whole(tx: Transaction, report: Report) -> bool:
    """Whether parts 0 to last are all there."""
    if report.last_part is None:
        return False
    parts = select(func.count()).where(ReportPart.report_id == report.id)
    return tx.scalar(parts) == report.last_part + 1


def standing(tx: Transaction, report: Report) -> Standing:
    """Partial, or of a lost attempt: neither. Of a side branch: it resolves nothing."""
    full = report.coverage_type is contract.CoverageType.FULL
    counts = full and not _is_of_lost_attempt(tx, report)
    branch = contract.Branch.model_validate(report.branch or {})
    named = branch.name or branch.pull_request_number or branch.is_default_branch is False
    return Standing(counts, counts and (branch.is_default_branch is True or not named))


def _new_report(tx: Transaction, source: Source, part: contract.Report, doubts: Doubts) -> Report:
    meta = part.metadata
    if meta.timestamp > tx.now + _CLOCK_SKEW:
        doubts.append("metadata.timestamp is in the future: the time of arrival counts instead")
    ours = (Command.id == meta.command_id, Command.tenant_id == source.tenant_id)
    known = meta.command_id and tx.scalar(select(Command.id).where(*ours))
    if meta.command_id and not known:
        doubts.append("metadata.command_id is no command of this tenant")
    return Report(
        source_id=source.id,
        report_id=meta.id,
        timestamp=meta.timestamp,
        scanned_at=min(meta.timestamp, tx.now),
        tool=part.tool.name,
        coverage_type=meta.coverage_type,
        coverage_key=meta.coverage_key or "",
        branch=contract.dump(meta.branch) if meta.branch else None,
        command_id=known or None,
        attempt=min(meta.attempt, _LARGEST) if meta.attempt is not None else None,
    )


def _contradiction(report: Report, part: contract.Report) -> str | None:
    meta = part.metadata
    if report.timestamp != meta.timestamp:
        return "metadata.timestamp"
    if report.tool != part.tool.name:
        return "tool.name"
    if report.coverage_type is not meta.coverage_type:
        return "metadata.coverage_type"
    return "metadata.coverage_key" if report.coverage_key != (meta.coverage_key or "") else None


def _is_of_lost_attempt(tx: Transaction, report: Report) -> bool:
    """The command went to somebody else, or the server settled it without its holder's word."""
    if report.command_id is None:
        return False
    command = tx.get_one(Command, report.command_id)
    if command.holder_source_id != report.source_id:
        return True
    if report.attempt not in (None, command.attempt):
        return True
    return command.status in contract.TERMINAL and command.result is None
