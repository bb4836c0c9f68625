"""The sections of a mapping: for each part of a finding, where its fields come from."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rediver_json._value import Mapped


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ToolPart(Part):
    name: Annotated[str, Field(min_length=1, max_length=255)] = Field(description="its name")
    version: Mapped | None = Field(
        default=None, description="where the document has its version; seen from the document"
    )


class LocationPart(Part):
    path: Mapped | None = Field(default=None, description="the file")
    start_line: Mapped | None = Field(default=None, description="a number")
    end_line: Mapped | None = Field(default=None, description="a number")
    start_column: Mapped | None = Field(default=None, description="a number")
    end_column: Mapped | None = Field(default=None, description="a number")
    snippet: Mapped | None = Field(
        default=None, description="the source; of several texts each is a line"
    )
    strip: Annotated[str, Field(max_length=4096)] = Field(
        default="",
        description="what is taken off the front of the path: `/`, or the folder that the tool "
        "was told to look at",
    )
    first_line: Annotated[int, Field(ge=0, le=1)] = Field(
        default=1, description="the number that the tool gives to the first line: 0 or 1"
    )
    first_column: Annotated[int, Field(ge=0, le=1)] = Field(
        default=1, description="the number that the tool gives to the first column: 0 or 1"
    )


class VulnerabilityPart(Part):
    cve_id: Mapped | None = Field(default=None, description="the first CVE number in it")
    cwe_ids: Mapped | None = Field(default=None, description="`CWE-79`, `79` and the like")
    owasp_ids: Mapped | None = Field(default=None, description="texts")
    cvss_score: Mapped | None = Field(default=None, description="a number from 0 to 10")
    cvss_vector: Mapped | None = Field(default=None, description="a text")
    cvss_source: Mapped | None = Field(default=None, description="who gave the score")
    package: Mapped | None = Field(default=None, description="its name")
    purl: Mapped | None = Field(default=None, description="the package's URL")
    ecosystem: Mapped | None = Field(default=None, description="such as `npm` or `pypi`")
    affected_version: Mapped | None = Field(default=None, description="what is installed")
    fixed_versions: Mapped | None = Field(default=None, description="texts")


class SecretPart(Part):
    value: Mapped | None = Field(
        default=None,
        description="where the secret itself stands; it never leaves, and is masked wherever else "
        "it occurs. Leave it out only if the report has no secrets in it",
    )
    secret_type: Mapped | None = Field(default=None, description="what kind of secret it is")


class MisconfigurationPart(Part):
    policy_id: Mapped | None = Field(default=None, description="a text")
    resource_type: Mapped | None = Field(default=None, description="a text")
    resource_name: Mapped | None = Field(default=None, description="a text")


class RemediationPart(Part):
    recommendation: Mapped | None = Field(
        default=None, description="what to do; of several texts each is a line"
    )
    fix_code: Mapped | None = Field(
        default=None, description="what to write instead; of several texts each is a line"
    )
    references: Mapped | None = Field(default=None, description="addresses")
