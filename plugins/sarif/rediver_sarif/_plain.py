"""The shape of an ordinary result, as msgspec decodes it: whatever has another key or type is none.

Nearly all results of nearly all reports have it. Lines and columns are in the contract's limits,
and there is one place. What is rarer is left as it is written, and has a shape of its own.
"""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, MsgspecError, Raw, Struct, UnsetType
from msgspec.json import Decoder

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
    context_region: Region | None = None


class Place(Part):
    physical_location: Physical
    message: Text | None = None
    id: Index | None = None  # nothing is made of it


class Nothing(Part):
    """An empty object."""


class Result(Part):
    message: Text
    locations: Annotated[list[Place], Meta(min_length=1, max_length=1)]
    rule_id: str | None = None
    rule_index: Index | None = None
    kind: Literal["fail"] | None = None
    level: str | None = None
    fingerprints: dict[str, str] | None = None
    partial_fingerprints: dict[str, str] | None = None
    properties: Nothing | None = None
    rule: Raw | UnsetType = UNSET
    code_flows: Raw | UnsetType = UNSET
    related_locations: Raw | UnsetType = UNSET
    suppressions: Raw | UnsetType = UNSET


class Step(Struct, gc=False):
    """Of a flow. What else it says of itself is not read."""

    location: Place


class Thread(Struct, gc=False):
    locations: list[Step]


class Flow(Struct, gc=False, rename="camel"):
    thread_flows: list[Thread]


_places: Final = Decoder(list[Place]).decode
_flows: Final = Decoder(list[Flow]).decode
anything: Final = Decoder().decode


def places(written: Raw) -> list[Place] | None:
    """Ordinary places; None where one of them is none."""
    try:
        return _places(written)
    except MsgspecError:
        return None


def flows(written: Raw) -> list[Flow] | None:
    """Code flows of ordinary places; None where one of them is none."""
    try:
        return _flows(written)
    except MsgspecError:
        return None
