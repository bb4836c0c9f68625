"""What `.rediver.yaml` did in the scans of one command, in sentences."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rediver_agent.contract.results import ResultStatus
from rediver_agent.executor import Outcome
from rediver_agent.handlers.surroundings import Accepted
from rediver_agent.suppressions import FILE

_SOON_DAYS: Final = 14


def suppressed_sentence(outcomes: Sequence[Outcome]) -> str | None:
    """How much is hidden, and how much of that for how long; None where nothing is."""
    parts = _parts(outcomes)
    total = sum(part.suppressed for part in parts)
    if not total:
        return None
    soon = [entry for part in parts for entry in part.ending if entry[0] <= _SOON_DAYS]
    said = f"{total} suppressed by {FILE}"
    if not soon:
        return said
    count, days = sum(findings for _, findings in soon), max(days for days, _ in soon)
    ends = "expires" if count == 1 else "expire"
    within = "in" if len(soon) == 1 else "within"
    when = "today" if days == 0 else f"{within} {days} day{'' if days == 1 else 's'}"
    return f"{said}, {count} of them {ends} {when}"


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Entries that are over, and those that met nothing in any of the scans, if all were whole."""
    parts = _parts(outcomes)
    expired = dict.fromkeys(said for part in parts for said in part.expired)
    if len(parts) < len(outcomes) or not all(_is_whole(outcome) for outcome in outcomes):
        return list(expired)
    of_all = parts[0].unmatched if parts else []
    for part in parts:
        of_all = [said for said in of_all if said in part.unmatched]
    return [*expired, *of_all]


def suppressed_in_source(outcome: Outcome) -> int:
    """How many findings the scanned source itself accepts, by its scanner's own comments."""
    told = outcome.metadata.get("suppressed")
    here = sum(part.suppressed for part in _parts([outcome])) + suppressed_by_enrichers(outcome)
    return (told if isinstance(told, int) else 0) - here


def suppressed_by_enrichers(outcome: Outcome) -> int:
    """How many findings the operator's enrichers accept."""
    told = outcome.metadata.get("suppressed_by_enrichers")
    return told if isinstance(told, int) else 0


def dropped_sentences(outcomes: Sequence[Outcome]) -> list[str]:
    """How many findings each enricher has dropped: nothing goes in silence."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        told = outcome.metadata.get("dropped")
        for name, count in told.items() if isinstance(told, dict) else ():
            counts[name] += count if isinstance(count, int) else 0
    return [f"{count} dropped by {name}" for name, count in sorted(counts.items())]


def _is_whole(outcome: Outcome) -> bool:
    completed = outcome.status is ResultStatus.COMPLETED
    return completed and outcome.metadata.get("coverage") == "full"


def _parts(outcomes: Sequence[Outcome]) -> list[Accepted]:
    said = (outcome.metadata.get("suppressions") for outcome in outcomes)
    return [Accepted.model_validate(each) for each in said if each is not None]
