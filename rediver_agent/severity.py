"""Severity: one table for every tool (vectors: tests/unit/vectors/severity.json).

SARIF: `security-severity` wins, by CVSS v3's bands, else the result's level, else the rule's
default, else `warning`. A tool's own word wins over a score.
"""

from collections.abc import Mapping
from typing import Final

from rediver_agent.contract.findings import Severity

_WORDS: Final[Mapping[str, Severity]] = {
    "critical": Severity.CRITICAL,
    "high": Severity.HIGH,
    "error": Severity.HIGH,
    "medium": Severity.MEDIUM,
    "moderate": Severity.MEDIUM,
    "warning": Severity.MEDIUM,
    "low": Severity.LOW,
    "note": Severity.LOW,
    "info": Severity.INFO,
    "none": Severity.INFO,
    "unknown": Severity.INFO,
}


def known_words() -> Mapping[str, Severity]:
    """Every word that is a severity, in small letters."""
    return _WORDS


def severity_from_word(word: str) -> Severity | None:
    """A tool's or SARIF's word in any case; None for one that nobody uses."""
    return _WORDS.get(word.strip().lower())


def severity_from_score(score: float) -> Severity:
    """A CVSS score, 0 to 10: 9 critical, 7 high, 4 medium, above 0 low, 0 info (CVSS v3.1 §5)."""
    if score >= 9:
        return Severity.CRITICAL
    if score >= 7:
        return Severity.HIGH
    if score >= 4:
        return Severity.MEDIUM
    return Severity.LOW if score > 0 else Severity.INFO


def severity_from_sarif(
    security_severity: object, result_level: object, rule_level: object
) -> Severity:
    """The severity of a SARIF result. No score from 0 to 10, or no known level, is passed over."""
    score = _score(security_severity)
    if score is not None:
        return severity_from_score(score)
    for level in (result_level, rule_level):
        if isinstance(level, str) and level in ("error", "warning", "note", "none"):
            return _WORDS[level]
    return Severity.MEDIUM


def _score(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        score = float(value)
    except ValueError:
        return None
    return score if 0 <= score <= 10 else None
