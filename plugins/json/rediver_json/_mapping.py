"""What a mapping may say: which of a tool's values become which field of a finding.

What it says wrong is refused before any report is read.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Final, cast

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from rediver_agent import SeverityWord
from rediver_agent.contract import FindingType, Severity
from rediver_json._entries import Plan, tree_of
from rediver_json._parts import (
    LocationPart,
    MisconfigurationPart,
    Part,
    RemediationPart,
    SecretPart,
    ToolPart,
    VulnerabilityPart,
)
from rediver_json._path import Each, Path, path_of
from rediver_json._value import (
    KeyedByWord,
    Mapped,
    MappedSeverity,
    Value,
    Words,
)

_OF_DOCUMENT: Final = {"tool.version", "errors"}


def _tool(given: object) -> object:
    return {"name": given} if isinstance(given, str) else given


def _secret(given: object) -> object:
    is_value = isinstance(given, str | list)
    return cast("object", {"value": given} if is_value else given)


def _type(given: object) -> FindingType:
    word: object = given
    if isinstance(given, dict) and given.keys() == {"constant"}:
        word = cast("dict[str, object]", given)["constant"]
    if not isinstance(word, str) or word not in list(FindingType):
        raise ValueError(f"it is one of {', '.join(FindingType)}")
    return FindingType(word)


def _findings(given: object) -> Path:
    """A path that ends at each of a list or an object, also where it does not say so."""
    path = path_of(given)
    if path.up or path.names_key:
        raise ValueError("it is seen from the document: no ^ and no @key in it")
    if any(isinstance(step, int) for step in path.steps):
        raise ValueError("write [] for each of a list, not a number")
    if path.steps and isinstance(path.steps[-1], Each):
        return path
    return Path(path.text, steps=(*path.steps, Each.LIST))


class Mapping(Part):
    """How a tool's JSON becomes findings."""

    tool: Annotated[ToolPart, BeforeValidator(_tool)] = Field(
        description="the tool's name, or a section of its `name` and `version`"
    )
    lines: bool = Field(
        default=False, description="the report is JSON Lines: a document on every line"
    )
    findings: Annotated[Path, PlainValidator(_findings)] | None = Field(
        default=None,
        description="the list (`results`, `files[].messages`) or the object (`vulnerabilities.*`) "
        "of which every value is an entry; without it the document is the list, or with `lines` "
        "every line is an entry",
    )
    where: dict[str, Words] = Field(
        default_factory=dict[str, Words],
        description="which entries are findings: by path, the value or values that they have there",
    )
    errors: Mapped | None = Field(
        default=None,
        description="where the document lists what its tool could not look at: each is a warning, "
        "and the coverage is partial; seen from the document",
    )
    type: Annotated[FindingType, PlainValidator(_type)] = Field(
        default=FindingType.VULNERABILITY,
        description="`vulnerability`, `secret`, `misconfiguration` or `compliance`",
    )
    title: Mapped = Field(description="one line")
    severity: MappedSeverity | None = Field(
        default=None,
        description="a word or a number, or `{cvss: <path>}` for a score from 0 to 10; of several "
        "the worst counts",
    )
    severities: Annotated[dict[str, SeverityWord], KeyedByWord] = Field(
        default_factory=dict[str, Severity],
        description="the tool's own words and numbers, each with the severity that it means; "
        "critical, high, error, medium, moderate, warning, low, note, info, none and unknown are "
        "known without it",
    )
    default_severity: SeverityWord | None = Field(
        default=None, description="of entries that have none"
    )
    rule_id: Mapped | None = Field(default=None, description="one line")
    rule_name: Mapped | None = Field(default=None, description="one line")
    message: Mapped | None = Field(
        default=None, description="what is wrong here; of several texts each is a line"
    )
    description: Mapped | None = Field(
        default=None, description="what the rule is about; of several texts each is a line"
    )
    confidence: Mapped | None = Field(
        default=None, description="from 0 to 100, or `high` (90), `medium` (60), `low` (30)"
    )
    location: LocationPart | None = Field(default=None, description="where it is")
    vulnerability: VulnerabilityPart | None = Field(
        default=None, description="what is known of it, and the package that has it"
    )
    secret: Annotated[SecretPart, BeforeValidator(_secret)] | None = Field(
        default=None,
        description="with `type: secret`: the path of the secret itself, or a section",
    )
    misconfiguration: MisconfigurationPart | None = Field(
        default=None, description="which policy, and of what"
    )
    remediation: RemediationPart | None = Field(default=None, description="how to mend it")
    references: Mapped | None = Field(default=None, description="addresses")
    tags: Mapped | None = Field(default=None, description="texts")
    properties: dict[str, Mapped] = Field(
        default_factory=dict[str, Value], description="anything else, each under a name of yours"
    )

    @model_validator(mode="after")
    def _complete(self) -> "Mapping":
        if self.severity is None and self.default_severity is None:
            raise ValueError("severity is missing; name its path, or set default_severity")
        if (self.type is FindingType.SECRET) != (self.secret is not None):
            raise ValueError(
                "type: secret and `secret` belong together: name the path of the secret itself, so "
                "that it can be masked"
            )
        levels = sum(isinstance(step, Each) for step in self.path.steps)
        for name, path in self._paths():
            most = 0 if name in _OF_DOCUMENT else levels
            if path.up > most:
                raise ValueError(f"{name}: {path.text!r} leads out of the document")
            if (
                path.up == most
                and (path.names_key or not _begins_with_key(path))
                and (levels or name in _OF_DOCUMENT)
            ):
                raise ValueError(
                    f"{name}: {path.text!r} is seen from the document, and begins with a key of it"
                )
        return self

    @cached_property
    def path(self) -> Path:
        """Where the entries are."""
        if self.findings is not None:
            return self.findings
        return Path(".") if self.lines else _findings(".")

    @cached_property
    def fields(self) -> dict[str, Value]:
        """Where each field of a finding comes from, by its dotted name: all but the severity."""
        found: dict[str, Value] = {}
        for name in type(self).model_fields:
            given: object = getattr(self, name)
            if isinstance(given, Part) and name != "tool":
                for inner in type(given).model_fields:
                    if isinstance(value := getattr(given, inner), Value):
                        found[f"{name}.{inner}"] = value
            elif isinstance(given, Value) and name not in {"severity", "errors"}:
                found[name] = given
        found |= {f"properties.{name}": value for name, value in self.properties.items()}
        return found

    @cached_property
    def conditions(self) -> list[tuple[Path, frozenset[str]]]:
        """`where`, read."""
        return [(path_of(text), words) for text, words in self.where.items()]

    @cached_property
    def plan(self) -> Plan:
        """What must be read of a report."""
        levels = sum(isinstance(step, Each) for step in self.path.steps)
        of_document: list[Path] = []
        seen_from: list[list[Path]] = [[] for _ in range(levels + 1)]
        for name, path in self._paths():
            if name in _OF_DOCUMENT:
                of_document.append(path)
            else:
                seen_from[levels - path.up].append(path)
        if levels:
            of_document += seen_from[0]
        trees = tuple(tree_of(paths) for paths in seen_from)
        return Plan(self.path, tree_of(of_document), trees)

    def _paths(self) -> Iterator[tuple[str, Path]]:
        """Every path, with the name of the key that it is written at."""
        named = {**self.fields, "severity": self.severity, "errors": self.errors}
        named["tool.version"] = self.tool.version
        for name, value in named.items():
            yield from ((name, path) for path in (value.paths if value else ()))
        for text in self.where:
            yield f"where.{text}", path_of(text)


def _begins_with_key(path: Path) -> bool:
    return bool(path.steps) and isinstance(path.steps[0], str)
