"""One entry of a trivy report as a finding: what each kind has, and where it stands.

Secrets, which trivy masks with as many stars as they have characters, get the one mark that tells
nothing. A check that passed, or that is excepted, is no finding.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_pascal

from rediver_agent import MASK, severity_from_word
from rediver_agent.contract import (
    Finding,
    FindingType,
    Location,
    Misconfiguration,
    Remediation,
    Secret,
    Severity,
    Suppression,
    Vulnerability,
)

_CVSS_SOURCES: Final = ("nvd", "ghsa", "redhat")
_MAX_TITLE: Final = 500
_MAX_TEXT: Final = 20_000
_MAX_SNIPPET: Final = 2000

_Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
_Texts = Annotated[list[str], BeforeValidator(lambda value: value or [])]


@dataclass(frozen=True, slots=True)
class Place:
    """The result that an entry stands in."""

    target: str = ""
    kind: str = ""  # os-pkgs, lang-pkgs, config, secret, license
    type: str = ""  # npm, dockerfile, …

    @property
    def path(self) -> str | None:
        """The file; None where the target is a whole system, not a file."""
        return None if self.kind == "os-pkgs" else self.target or None


class _Entry(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal)


class _Score(_Entry):
    v2_score: float | None = None
    v2_vector: str | None = None
    v3_score: float | None = None
    v3_vector: str | None = None
    v40_score: float | None = None
    v40_vector: str | None = None

    def best(self) -> tuple[float, str | None] | None:
        """Of version 3, else 4, else 2."""
        scores = (
            (self.v3_score, self.v3_vector),
            (self.v40_score, self.v40_vector),
            (self.v2_score, self.v2_vector),
        )
        return next(((score, vector) for score, vector in scores if score), None)


class _Identifier(_Entry):
    purl: str | None = Field(None, alias="PURL")


class _Vulnerability(_Entry):
    id: str = Field(alias="VulnerabilityID")
    pkg_name: str
    pkg_path: _Text = ""
    pkg_identifier: _Identifier | None = None
    installed_version: str | None = None
    fixed_version: _Text = ""
    status: _Text = ""
    severity: _Text = ""
    severity_source: _Text = ""
    cvss: Annotated[dict[str, _Score], BeforeValidator(lambda value: value or {})] = Field(
        default={}, alias="CVSS"
    )
    cwe_ids: _Texts = Field(default=[], alias="CweIDs")
    title: _Text = ""
    description: _Text = ""
    references: _Texts = []
    fingerprint: _Text = ""

    def score(self) -> tuple[str, float, str | None] | None:
        """The source, score and vector that goes with the severity, or the best known one."""
        for source in (self.severity_source, *_CVSS_SOURCES, *sorted(self.cvss)):
            found = self.cvss[source].best() if source in self.cvss else None
            if found:
                return source, *found
        return None


class _Cause(_Entry):
    resource: str | None = None
    start_line: int | None = None
    end_line: int | None = None


class _Misconfiguration(_Entry):
    id: str = Field(alias="ID")
    title: _Text = ""
    description: _Text = ""
    message: _Text = ""
    resolution: _Text = ""
    severity: _Text = ""
    references: _Texts = []
    status: str = "FAIL"
    cause_metadata: _Cause = _Cause()


class _Secret(_Entry):
    id: str = Field(alias="RuleID")
    category: str | None = None
    severity: _Text = ""
    title: _Text = ""
    start_line: int | None = None
    end_line: int | None = None
    match: _Text = ""


class _License(_Entry):
    name: str
    severity: _Text = ""
    category: _Text = ""
    pkg_name: _Text = ""
    file_path: _Text = ""
    link: _Text = ""


class _Modified(_Entry):
    type: str
    status: _Text = ""
    statement: _Text = ""
    source: _Text = ""
    finding: dict[str, Any]


def _vulnerability(raw: object, place: Place) -> Finding:
    entry = _Vulnerability.model_validate(raw)
    fixed = [version.strip() for version in entry.fixed_version.split(",") if version.strip()]
    source, score, vector = entry.score() or (None, None, None)
    path = entry.pkg_path or place.path
    return Finding(
        type=FindingType.VULNERABILITY,
        title=(entry.title or f"{entry.id} in {entry.pkg_name}")[:_MAX_TITLE],
        description=entry.description[:_MAX_TEXT] or None,
        severity=_severity(entry.severity),
        rule_id=entry.id,
        partial_fingerprints={"trivy": entry.fingerprint} if entry.fingerprint else {},
        location=Location(path=path) if path else None,
        vulnerability=Vulnerability(
            cve_id=entry.id if entry.id.startswith("CVE-") else None,
            cwe_ids=entry.cwe_ids,
            cvss_score=score,
            cvss_vector=vector,
            cvss_source=source,
            package=entry.pkg_name,
            purl=entry.pkg_identifier.purl if entry.pkg_identifier else None,
            ecosystem=place.type or None,
            affected_version=entry.installed_version,
            fixed_versions=fixed,
        ),
        remediation=Remediation(recommendation=f"Upgrade {entry.pkg_name} to {' or '.join(fixed)}.")
        if fixed
        else None,
        references=entry.references,
        properties=_properties(place, entry.severity, status=entry.status),
    )


def _misconfiguration(raw: object, place: Place) -> Finding | None:
    entry = _Misconfiguration.model_validate(raw)
    if entry.status != "FAIL":
        return None
    cause = entry.cause_metadata
    return Finding(
        type=FindingType.MISCONFIGURATION,
        title=(entry.title or entry.id)[:_MAX_TITLE],
        message=entry.message[:_MAX_TEXT] or None,
        description=entry.description[:_MAX_TEXT] or None,
        severity=_severity(entry.severity),
        rule_id=entry.id,
        location=_location(place.path, cause.start_line, cause.end_line),
        misconfiguration=Misconfiguration(
            policy_id=entry.id, resource_type=place.type or None, resource_name=cause.resource
        ),
        remediation=Remediation(recommendation=entry.resolution) if entry.resolution else None,
        references=entry.references,
        properties=_properties(place, entry.severity),
    )


def _secret(raw: object, place: Place) -> Finding:
    entry = _Secret.model_validate(raw)
    shown = re.sub(r"\*+", MASK, entry.match) if "*" in entry.match else MASK
    return Finding(
        type=FindingType.SECRET,
        title=(entry.title or entry.id)[:_MAX_TITLE],
        severity=_severity(entry.severity),
        rule_id=entry.id,
        location=_location(place.path, entry.start_line, entry.end_line, shown[:_MAX_SNIPPET]),
        vulnerability=Vulnerability(cwe_ids=["CWE-798"]),
        secret=Secret(secret_type=entry.category or entry.id, masked_value=MASK),
        properties=_properties(place, entry.severity),
    )


def _license(raw: object, place: Place) -> Finding:
    entry = _License.model_validate(raw)
    path = entry.file_path or place.path
    of = entry.pkg_name or path or place.target
    return Finding(
        type=FindingType.COMPLIANCE,
        title=f"Licence {entry.name} of {of}"[:_MAX_TITLE],
        severity=_severity(entry.severity),
        rule_id=entry.name,
        location=Location(path=path) if path else None,
        references=[entry.link] if entry.link else [],
        properties=_properties(place, entry.severity, category=entry.category),
    )


KINDS: Final[Mapping[str, Callable[[object, Place], Finding | None]]] = {
    "Vulnerabilities": _vulnerability,
    "Misconfigurations": _misconfiguration,
    "Secrets": _secret,
    "Licenses": _license,
}
_MODIFIED: Final = {
    "vulnerability": _vulnerability,
    "misconfiguration": _misconfiguration,
    "secret": _secret,
    "license": _license,
}


def suppressed(raw: object, place: Place) -> Finding | None:
    """An entry that an ignore file or a VEX document accepts. `KeyError` for an unknown type."""
    entry = _Modified.model_validate(raw)
    failed = {"Status": "FAIL"} if entry.type == "misconfiguration" else {}
    finding = _MODIFIED[entry.type]({**entry.finding, **failed}, place)
    why = entry.statement or f"{entry.status} by {entry.source}"
    return finding and finding.model_copy(
        update={"suppression": Suppression(kind="external", justification=why)}
    )


def _severity(word: str) -> Severity:
    return severity_from_word(word) or Severity.INFO


def _location(
    path: str | None, start: int | None, end: int | None, snippet: str | None = None
) -> Location:
    return Location(path=path, start_line=start or None, end_line=end or None, snippet=snippet)


def _properties(place: Place, severity: str, **more: str) -> dict[str, JsonValue]:
    unknown = severity.upper() in ("", "UNKNOWN")
    facts: dict[str, JsonValue] = {"target": place.target, "class": place.kind, **more}
    if unknown:
        facts["severity_source"] = "unknown"
    return {name: value for name, value in facts.items() if value}
