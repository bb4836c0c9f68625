"""The shape of an ordinary result, as msgspec decodes it: whatever has another key or type is none.

Nearly all results of nearly all reports have it. Lines and columns are in the contract's limits,
and there is one place. What is long, or rarer, is left as it is written.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from rediver_sarif._values import MAX_NUMBER

Number = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]
Index = Annotated[int, Meta(ge=-1, le=MAX_NUMBER)]


class Part(Struct, forbid_unknown_fields=True, gc=False, rename="camel"):
    """Of a result. None stands for what is absent, and for null."""


class Text(Part):
    text: str


class Region(Part):
    start_line: Number
    end_line: Number | None = None
    start_column: Number | None = None
    end_column: Number | None = None
    snippet: Text | None = None


class Artifact(Part):
    uri: Annotated[str, Meta(min_length=1)]
    uri_base_id: str | None = None
    index: Index | None = None


class Physical(Part):
    artifact_location: Artifact
    region: Region


class Place(Part):
    physical_location: Physical
    message: Text | None = None


class Nothing(Part):
    """An empty object."""


class Result(Part):
    message: Text
    locations: Annotated[list[Place], Meta(min_length=1, max_length=1)]
    rule_id: str | None = None
    rule_index: Index | None = None
    level: str | None = None
    fingerprints: dict[str, str] | None = None
    partial_fingerprints: dict[str, str] | None = None
    properties: Nothing | None = None
    rule: Raw | UnsetType = UNSET
    code_flows: Raw | UnsetType = UNSET
    suppressions: Raw | UnsetType = UNSET
