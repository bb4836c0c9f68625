"""What a result is about: its kind, its tags, its CWE, OWASP and CVE numbers, its package.

Most results add nothing to what their rule says of this, so it is found out once for each rule and
for each `Own` that is beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from rediver_agent import MASK
from rediver_agent.contract import FindingType
from rediver_agent.contract.findings import Misconfiguration, Secret, Vulnerability
from rediver_sarif._package import NO_FACTS, Facts, cve_in
from rediver_sarif._rule import MAX_TAGS, Rule
from rediver_sarif._types import finding_type
from rediver_sarif._values import distinct
from rediver_sarif._weaknesses import cwe_ids, owasp_ids


class Own(NamedTuple):
    """What a result adds to what its rule says."""

    tags: tuple[str, ...] = ()
    weaknesses: tuple[str, ...] = ()
    owasps: tuple[str, ...] = ()
    words: str = ""  # in which CWE numbers are looked for where nothing else names one
    of_a_secret: bool = False
    score: float | None = None  # its `security-severity`
    facts: Facts = NO_FACTS


NOTHING: Final = Own()


@dataclass(frozen=True, slots=True, eq=False)
class About:
    """What is the same for all results of a rule that add the same to it."""

    type: FindingType
    fields: Mapping[str, Any]  # of a finding


def about(tool: str, rule_id: str, rule: Rule, own: Own) -> About:
    """What a result of that rule is about."""
    tags = distinct([*rule.tags, *own.tags], MAX_TAGS)
    cwes = distinct([*rule.cwe_ids, *cwe_ids([*own.weaknesses, *own.tags])], MAX_TAGS)
    cwes = cwes or distinct(cwe_ids([rule_id, rule.title, own.words]), MAX_TAGS)
    owasps = distinct([*rule.owasp_ids, *owasp_ids(own.owasps)], MAX_TAGS)
    labels = (*tags, rule.name, *(("secret",) if own.of_a_secret else ()))
    kind = finding_type(tool, rule_id, labels, tuple(cwes))
    facts = own.facts.over(rule.facts)
    score = own.score if own.score is not None else rule.score
    numbers: dict[str, Any] = {"cwe_ids": cwes, "owasp_ids": owasps}
    numbers["cve_id"] = cve_in(rule_id) or facts.cve
    if kind in {FindingType.VULNERABILITY, FindingType.COMPLIANCE}:
        numbers |= _of_package(facts)
        numbers |= _of_score(facts, score)
    numbers = {name: value for name, value in numbers.items() if value not in ("", [], None)}
    fields: dict[str, Any] = {
        "type": kind,
        "rule_id": rule_id,
        "rule_name": rule.name,
        "description": rule.description,
        "confidence": rule.confidence,
        "tags": tuple(tags),
        "references": rule.links,
        "vulnerability": Vulnerability.model_validate(numbers) if numbers else None,
        "misconfiguration": None,
        "secret": None,
    }
    if kind is FindingType.MISCONFIGURATION:
        fields["misconfiguration"] = Misconfiguration(policy_id=rule_id or None)
    if kind is FindingType.SECRET:
        fields["secret"] = Secret(secret_type=rule_id or None, masked_value=MASK)
    return About(kind, {name: value for name, value in fields.items() if value not in ("", None)})


def _of_package(facts: Facts) -> dict[str, Any]:
    package = facts.package
    return {
        "package": package.name,
        "affected_version": package.version,
        "purl": package.purl,
        "ecosystem": package.ecosystem,
        "fixed_versions": list(package.fixed),
    }


def _of_score(facts: Facts, security_severity: float | None) -> dict[str, Any]:
    """The CVSS: by the tool's own property for it, else by the number that severity goes by."""
    if facts.source:
        return {"cvss_score": facts.score, "cvss_source": facts.source, "cvss_vector": facts.vector}
    if security_severity is None:
        return {"cvss_vector": facts.vector}
    return {
        "cvss_score": security_severity,
        "cvss_source": "security-severity",
        "cvss_vector": facts.vector,
    }
