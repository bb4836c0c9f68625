"""Reports of findings as an agent sends them, each finding like one of semgrep's."""

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any, Final

_NEXT: Final = itertools.count(10**9)  # fingerprints that nobody has sent


def report(count: int, *, first: int | None = None) -> dict[str, Any]:
    """A whole full report with findings that are new, or always the same from number `first`."""
    numbers = range(first, first + count) if first is not None else itertools.islice(_NEXT, count)
    asset = {"id": "app", "type": "repository", "value": "git.example/app"}
    metadata = {"id": uuid.uuid4().hex, "timestamp": datetime.now(UTC).isoformat()}
    return {
        "version": "1.0",
        "metadata": {**metadata, "source_type": "scanner", "coverage_type": "partial"},
        "tool": {"name": "semgrep", "version": "1.182.0"},
        "assets": [asset],
        "findings": [finding(number) for number in numbers],
    }


def finding(number: int) -> dict[str, Any]:
    """About 800 bytes."""
    line = 1 + number % 4000
    return {
        "type": "vulnerability",
        "title": "User data flows into a query",
        "severity": ("low", "medium", "high")[number % 3],
        "message": "user data flows into a call without validation; " * 4,
        "rule_id": f"rule-{number % 300}",
        "confidence": 90,
        "fingerprint": f"{number:064x}",
        "location": {
            "path": f"src/module_{number % 400}.py",
            "start_line": line,
            "end_line": line + 1,
            "snippet": f"value = {number}\n" * 4,
        },
        "vulnerability": {"cwe_ids": ["CWE-89"], "owasp_ids": ["A03:2021"]},
        "references": ["https://rules.example/injection"],
    }
