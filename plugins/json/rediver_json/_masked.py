"""Secret findings without their secrets: source that does not show the mark is not shown."""

from typing import Any

from rediver_agent import MASK
from rediver_agent.contract import Finding


def masked_finding(finding: Finding) -> Finding:
    """Whatever of a secret finding is source and does not show the mark, with only the mark."""
    changed: dict[str, Any] = {}
    if finding.location and MASK not in (finding.location.snippet or MASK):
        changed["location"] = finding.location.model_copy(update={"snippet": MASK})
    if finding.secret and MASK not in (finding.secret.masked_value or MASK):
        changed["secret"] = finding.secret.model_copy(update={"masked_value": MASK})
    for key, places in (
        ("related_locations", finding.related_locations),
        ("data_flow", finding.data_flow),
    ):
        if any(MASK not in (place.snippet or MASK) for place in places):
            changed[key] = [place.model_copy(update={"snippet": MASK}) for place in places]
    return finding.model_copy(update=changed)
