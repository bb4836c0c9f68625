"""The first pass over a document: its reports without their findings, which it only counts.

A document is one report or `{"reports": [report, …]}`. Faults that make it unreadable are all found
here, before any finding leaves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, TypeVar

from pydantic import BaseModel, ValidationError

from rediver_agent import ReportUnreadable, outline
from rediver_agent.contract import Asset, ReportMetadata, Tool, parse

VERSION: Final = "1.0"
MAX_HELD: Final = 10_000  # reports of a document, and assets of one
MAX_SAID: Final = 16_000_000  # characters of all that is held of a document
_MANY: Final = "reports.item."
_KEYS: Final = ("version", "metadata", "tool", "assets.item")
_BUILT: Final = frozenset(f"{start}{key}" for start in ("", _MANY) for key in _KEYS)
_SEEN: Final = frozenset(
    {
        "",
        "reports",
        "reports.item",
        *(f"{start}{key}" for start in ("", _MANY) for key in ("findings", "findings.item")),
    }
)
_TOO_LONG: Final = (
    f"what the reports say beside their findings is longer than {MAX_SAID // 1_000_000} million "
    "characters: more than is held at once; import them in several files"
)

Model = TypeVar("Model", bound=BaseModel)


@dataclass(slots=True)
class Header:
    """One report, as it stands in the document."""

    number: int
    parts: dict[str, Any] = field(default_factory=dict[str, Any])
    asset_entries: list[Any] = field(default_factory=list[Any])
    findings: int = 0

    @property
    def tool(self) -> Tool:
        return self._valid(Tool, "tool", self.parts.get("tool"))

    @property
    def metadata(self) -> ReportMetadata:
        return self._valid(ReportMetadata, "metadata", self.parts.get("metadata"))

    @property
    def assets(self) -> Mapping[str, Asset]:
        """By the ids that findings refer to."""
        assets = (self._valid(Asset, "assets", entry) for entry in self.asset_entries)
        return {asset.id: asset for asset in assets}

    def check(self) -> None:
        """Raises `ReportUnreadable` for what the contract does not know."""
        version = self.parts.get("version")
        _demand(version is not None, f"report {self.number} names no version: it is not Rediver's")
        _demand(
            version == VERSION,
            f"report {self.number} is of version {str(version)[:20]}; this reads {VERSION}",
        )
        _ = self.tool, self.metadata, self.assets

    def _valid(self, model: type[Model], key: str, value: object) -> Model:
        try:
            return parse(model, value)
        except ValidationError as fault:
            first = fault.errors(include_input=False)[0]
            place = ".".join([key, *map(str, first["loc"])])
            raise ReportUnreadable(
                f"report {self.number} cannot be read: {place}: {first['msg']}"
            ) from None


def read_outline(stream: BinaryIO) -> tuple[list[Header], str]:
    """The reports of a document, checked, and the path of all their findings."""
    single, many = Header(1), list[Header]()
    has_reports, said = False, 0
    for path, value in outline(stream, _BUILT, _SEEN):
        key = path.removeprefix(_MANY)
        if path == "":
            _demand(value is dict, "the report is no JSON object: it is not Rediver's")
        elif path == "reports":
            has_reports = True
            _demand(value is list, "`reports` is no list: the report is not Rediver's")
        elif path == "reports.item":
            _demand(value is dict, f"report {len(many) + 1} is no object")
            _demand(len(many) < MAX_HELD, f"the document has more than {MAX_HELD:,} reports")
            many.append(Header(len(many) + 1))
        else:
            said += len(repr(value)) if path in _BUILT else 0
            _demand(said <= MAX_SAID, _TOO_LONG)
            _take(many[-1] if path.startswith(_MANY) else single, key, value)
    headers = many if has_reports else [single]
    for header in headers:
        header.check()
    return headers, f"{_MANY if has_reports else ''}findings.item"


def _take(header: Header, key: str, value: Any) -> None:
    if key == "findings.item":
        header.findings += 1
    elif key == "findings":
        _demand(value is list, f"the findings of report {header.number} are no list")
    elif key == "assets.item":
        _demand(len(header.asset_entries) < MAX_HELD, f"more than {MAX_HELD:,} assets in a report")
        header.asset_entries.append(value)
    else:
        header.parts[key] = value


def _demand(condition: bool, sentence: str) -> None:
    if not condition:
        raise ReportUnreadable(sentence)
