"""Findings and reports: what scanners, collectors and parsers produce and the server keeps.

Field names are those of the Rediver ingest schema (RIS), so that its documents round-trip.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, JsonValue
from pydantic_core import to_json

from rediver_agent.contract.base import Count, JsonObject, Name, UtcDatetime, WireModel

MAX_FINDINGS_A_PART: Final = 1000
MAX_ASSET_BYTES: Final = 2000  # with its type and tenant one entry of a database's index
_OF_A_PART: Final[dict[str, JsonValue]] = {"maxItems": MAX_FINDINGS_A_PART}  # a whole has more

Text = Annotated[str, Field(max_length=100_000)]
LineNumber = Annotated[int, Field(ge=1)]
Column = Annotated[int, Field(ge=1)]


class Severity(StrEnum):
    """From least to most; comparable."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 (info) to 4 (critical)."""
        return list(Severity).index(self)

    def __lt__(self, other: str) -> bool:
        return self.rank < Severity(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Severity(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Severity(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Severity(other).rank


class FindingType(StrEnum):
    VULNERABILITY = "vulnerability"
    SECRET = "secret"  # noqa: S105 - the name of a kind of finding, no password
    MISCONFIGURATION = "misconfiguration"
    COMPLIANCE = "compliance"


class FindingStatus(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"
    FALSE_POSITIVE = "false_positive"
    ACCEPTED_RISK = "accepted_risk"


class SourceType(StrEnum):
    SCANNER = "scanner"
    COLLECTOR = "collector"
    MANUAL = "manual"


class CoverageType(StrEnum):
    """Only a full report may resolve what an earlier one found."""

    FULL = "full"
    PARTIAL = "partial"


class Location(WireModel):
    """Where, relative to the asset. Lines and columns count from 1, columns in code points."""

    path: Text | None = None
    start_line: LineNumber | None = None
    end_line: LineNumber | None = None
    start_column: Column | None = None
    end_column: Column | None = None
    snippet: Text | None = None


class RelatedLocation(Location):
    message: Text | None = None


class DataFlowStep(Location):
    """One step of a flow from a source to a sink, in order."""

    message: Text | None = None


class Vulnerability(WireModel):
    cve_id: str | None = None
    cwe_ids: list[str] = Field(default_factory=list)
    owasp_ids: list[str] = Field(default_factory=list)
    cvss_score: Annotated[float, Field(ge=0, le=10)] | None = None
    cvss_vector: str | None = None
    cvss_source: str | None = None
    package: str | None = None
    purl: str | None = None
    ecosystem: str | None = None
    affected_version: str | None = None
    fixed_versions: list[str] = Field(default_factory=list)


class Secret(WireModel):
    """Never the secret itself: `masked_value` carries nothing of it."""

    secret_type: str | None = None
    masked_value: str | None = None


class Misconfiguration(WireModel):
    policy_id: str | None = None
    resource_type: str | None = None
    resource_name: str | None = None


class Remediation(WireModel):
    recommendation: Text | None = None
    fix_code: Text | None = None
    references: list[str] = Field(default_factory=list)


class Suppression(WireModel):
    """A finding that its own source accepts; it is kept, and neither gates nor counts."""

    kind: str | None = None
    justification: Text | None = None


class Finding(WireModel):
    """One thing a tool found. `fingerprint` is set by the agent, versioned, stable across runs."""

    type: FindingType
    title: Annotated[str, Field(min_length=1, max_length=1000)]
    severity: Severity
    description: Text | None = None
    message: Text | None = None
    rule_id: Annotated[str, Field(max_length=1000)] | None = None
    rule_name: Annotated[str, Field(max_length=1000)] | None = None
    confidence: Annotated[int, Field(ge=0, le=100)] | None = None
    fingerprint: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    partial_fingerprints: dict[str, str] = Field(default_factory=dict)
    asset_ref: str | None = None
    location: Location | None = None
    related_locations: list[RelatedLocation] = Field(default_factory=list[RelatedLocation])
    data_flow: list[DataFlowStep] = Field(default_factory=list[DataFlowStep])
    vulnerability: Vulnerability | None = None
    secret: Secret | None = None
    misconfiguration: Misconfiguration | None = None
    remediation: Remediation | None = None
    references: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    suppression: Suppression | None = None
    status: FindingStatus | None = None
    properties: JsonObject = Field(default_factory=dict)


class Branch(WireModel):
    name: str | None = None
    is_default_branch: bool | None = None
    commit_sha: str | None = None
    repository_url: str | None = None
    pull_request_number: int | None = None


class ReportMetadata(WireModel):
    """A report is (source, id); its parts 0 … last share the timestamp."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    timestamp: UtcDatetime
    duration_ms: Count | None = None
    source_type: SourceType = SourceType.SCANNER
    command_id: str | None = None
    attempt: Count | None = None
    part: Annotated[int, Field(ge=0, le=100_000)] = 0
    last: bool = True
    coverage_type: CoverageType = CoverageType.FULL
    coverage_key: Annotated[str, Field(max_length=200)] | None = None
    branch: Branch | None = None
    properties: JsonObject = Field(default_factory=dict)


class Tool(WireModel):
    name: Name
    version: str | None = None
    properties: JsonObject = Field(default_factory=dict)


def _fits_an_index(value: str) -> str:
    if len(value.encode()) > MAX_ASSET_BYTES:
        raise ValueError(f"has more than {MAX_ASSET_BYTES} bytes in UTF-8")
    return value


class Asset(WireModel):
    """What was looked at. An asset is (tenant, type, value)."""

    id: Name
    type: Annotated[str, Field(min_length=1, max_length=50)]
    value: Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_fits_an_index)]
    name: str | None = None
    properties: JsonObject = Field(default_factory=dict)


class Report(WireModel):
    """One part of what one scan found."""

    version: Literal["1.0"]
    metadata: ReportMetadata
    tool: Tool
    assets: list[Asset] = Field(default_factory=list[Asset], json_schema_extra=_OF_A_PART)
    findings: list[Finding] = Field(default_factory=list[Finding], json_schema_extra=_OF_A_PART)


class IngestReply(WireModel):
    success: bool
    findings_created: Count = 0
    findings_updated: Count = 0
    findings_resolved: Count = 0
    duplicates_skipped: Count = 0
    errors: list[JsonObject | str] = Field(default_factory=list[JsonObject | str])


def fallback_fingerprint(finding: Finding) -> str:
    """What a foreign client's finding is told apart by. Nothing of a secret enters it."""
    identity = finding.model_dump(
        mode="json",
        include={
            "type": True,
            "rule_id": True,
            "title": True,
            "location": {"path", "start_line", "start_column"},
            "vulnerability": {"cve_id", "package", "purl", "affected_version"},
            "misconfiguration": {"policy_id", "resource_type", "resource_name"},
        },
    )
    return "server/1:" + hashlib.sha256(to_json(identity)).hexdigest()
