"""The identity of a finding across scans: what makes the server say "seen again".

`rv1:` and 32 hex digits over what the finding is about, never where it stands: it survives lines
moving, another checkout folder and a second run, and no secret enters it. The number among equals
in one report tells two equal lines of one file apart. What tools call a fingerprint is not used:
some count lines, some are empty, and one is the text `requires login` for every finding. Only an
alert that a collector fetches is what its source calls it (`rediver/alert` in the partial ones).
A change of what enters it needs a new version (vectors: tests/unit/vectors/fingerprint.json).
"""

import hashlib
import json
import re
from typing import Final

from rediver_agent.contract.findings import Finding, FindingType, Vulnerability
from rediver_agent.masking import MASK

VERSION: Final = "rv1"
ALERT: Final = "rediver/alert"
_NO_SNIPPETS: Final = frozenset({"", "requires login"})  # the second is semgrep's, logged out
_NUMBERS: Final = re.compile(r"\d+")


class Fingerprinter:
    """Gives the fingerprints of one report, its findings taken in order.

    Remembers 8 bytes of each identity, to count equals.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def fingerprint(self, finding: Finding) -> str:
        """`rv1:<32 hex digits>`. Equal findings of one report are told apart by their order."""
        identity = _digest(*_identity(finding))
        # Counted for each asset: another asset's equals do not move this one's numbers.
        place = hashlib.blake2b(identity + (finding.asset_ref or "").encode(), digest_size=8)
        key = int.from_bytes(place.digest())
        ordinal = self._seen.get(key, 0)
        self._seen[key] = ordinal + 1
        return f"{VERSION}:{_digest(identity.hex(), str(ordinal)).hex()[:32]}"


def _identity(finding: Finding) -> tuple[str, ...]:
    path = finding.location.path or "" if finding.location else ""
    rule = finding.rule_id or ""
    if alert := finding.partial_fingerprints.get(ALERT):
        return "alert", alert
    if finding.vulnerability and (package := _package(finding.vulnerability)):
        number = finding.rule_id or finding.vulnerability.cve_id or ""
        return "dependency", *package, number, path
    if finding.type is FindingType.SECRET:
        line = _snippet(finding)
        return "secret", rule, path, line if MASK in line else ""  # never a line left in the clear
    if finding.misconfiguration:
        about = finding.misconfiguration
        resource = about.resource_type or "", about.resource_name or ""
        return "misconfiguration", rule, path, *resource, _snippet(finding) or _message(finding)
    return "code", rule, path, _snippet(finding) or _message(finding)


def _package(about: Vulnerability) -> tuple[str, str] | None:
    name = about.package or about.purl
    return (name, about.affected_version or "") if name else None


def _snippet(finding: Finding) -> str:
    snippet = finding.location.snippet or "" if finding.location else ""
    words = " ".join(snippet.split())
    return "" if words in _NO_SNIPPETS else words


def _message(finding: Finding) -> str:
    """What stands for the line where there is none, without numbers: they may be of lines."""
    return _NUMBERS.sub("#", " ".join((finding.message or finding.title).split()))


def _digest(*parts: str) -> bytes:
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).digest()
