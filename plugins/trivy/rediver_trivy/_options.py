"""What a trivy scan can be asked for, in trivy's own words where it has them.

Each option is a flag of its own with a bounded value: none lets a command reach another flag. What
trivy would pass over in silence (an option that another kind of scan has) is refused by name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from rediver_agent import Glob, SeverityWord

Kind = Literal["fs", "config", "image", "sbom"]
Look = Literal["vuln", "misconfig", "secret", "license"]
Word = Literal["UNKNOWN", "LOW", "MEDIUM", "HIGH", "CRITICAL"]
Status = Literal[
    "unknown", "not_affected", "affected", "fixed",
    "under_investigation", "will_not_fix", "fix_deferred", "end_of_life",
]  # fmt: skip

_DEFAULT: Final[Mapping[str, list[Look]]] = {
    "fs": ["secret", "misconfig"],
    "config": ["misconfig"],
    "image": ["vuln", "secret"],
    "sbom": ["vuln"],
}
_POSSIBLE: Final[Mapping[str, frozenset[Look]]] = {
    "fs": frozenset({"vuln", "misconfig", "secret", "license"}),
    "config": frozenset({"misconfig"}),
    "image": frozenset({"vuln", "misconfig", "secret", "license"}),
    "sbom": frozenset({"vuln", "license"}),
}
_FOR_KINDS: Final[Mapping[str, frozenset[Kind]]] = {
    "exclude": frozenset({"fs", "config", "image"}),
    "include_dev_deps": frozenset({"fs"}),
    "parallel": frozenset({"fs", "config", "image"}),
}
_FOR_SCANNERS: Final[Mapping[str, frozenset[Look]]] = {
    "ignore_unfixed": frozenset({"vuln"}),
    "ignore_status": frozenset({"vuln"}),
    "vex": frozenset({"vuln"}),
    "include_dev_deps": frozenset({"vuln", "license"}),
    "license_full": frozenset({"license"}),
    "config_check": frozenset({"misconfig"}),
    "secret_config": frozenset({"secret"}),
}


def _listed(value: object) -> object:
    """trivy's own way to write a list: `HIGH,CRITICAL`."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _file(name: str) -> str:
    path = Path(name).absolute()
    if not path.is_file():
        raise ValueError(f"{name!r} is no file on the agent's host")
    return str(path)


def _check(name: str) -> str:
    path = Path(name).absolute()
    if path.is_dir() or (path.is_file() and path.suffix == ".rego"):
        return str(path)
    raise ValueError(f"{name!r} is no folder and no .rego file on the agent's host")


HostFile = Annotated[str, AfterValidator(_file)]
Checks = Annotated[str, AfterValidator(_check)]
Repository = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.:/@-]*$", max_length=500)]


class Options(BaseModel, extra="forbid"):
    """What a trivy scan can be asked for."""

    kind: Kind = Field(
        default="fs",
        description="What is scanned: `fs` the target's files, `config` its infrastructure as code "
        "alone, `image` a container image in a tar archive, `sbom` a CycloneDX or SPDX file",
    )
    input: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="For `image` and `sbom`: the archive or file, as a path below the target",
    )
    scanners: Annotated[list[Look], BeforeValidator(_listed)] = Field(
        default_factory=lambda said: _DEFAULT[said.get("kind", "fs")],
        min_length=1,
        max_length=4,
        description="What is looked for: `vuln` (needs a database), `misconfig`, `secret`, "
        "`license`. Without it `fs`: secret, misconfig; `config`: misconfig; `image`: vuln, "
        "secret; `sbom`: vuln",
    )
    severity: (
        Annotated[list[Annotated[Word, BeforeValidator(_upper)]], BeforeValidator(_listed)] | None
    ) = Field(
        default=None,
        min_length=1,
        max_length=5,
        description="Report these of trivy's severities alone: UNKNOWN, LOW, MEDIUM, HIGH, "
        "CRITICAL, as a list or as `HIGH,CRITICAL`",
    )
    severity_threshold: SeverityWord | None = Field(
        default=None,
        description="Drop what is below: critical … info, or error, warning, note. Unlike with "
        "`severity`, what was dropped is counted",
    )
    ignore_unfixed: bool = Field(
        default=False, description="Leave out vulnerabilities that no version mends yet"
    )
    ignore_status: Annotated[list[Status], BeforeValidator(_listed)] = Field(
        default=[],
        max_length=8,
        description="Leave out vulnerabilities of these statuses: `will_not_fix`, `end_of_life` …",
    )
    exclude: list[Glob] = Field(
        default=[],
        max_length=1000,
        description="Globs to leave out, at any depth: `vendor`, `**/vendor/**`, `*.min.js`",
    )
    include_dev_deps: bool = Field(
        default=False, description="Count development dependencies (npm, yarn, gradle)"
    )
    license_full: bool = Field(
        default=False, description="Look for licences in headers and licence files, too: slow"
    )
    parallel: int | None = Field(
        default=None, ge=0, le=256, description="Files that are read at a time; 0 goes by the CPUs"
    )
    config_check: list[Checks] = Field(
        default=[],
        max_length=100,
        description="Own checks in Rego, added to trivy's: folders or `.rego` files of the host",
    )
    secret_config: HostFile | None = Field(
        default=None, description="A file of the host with own rules for secrets"
    )
    ignorefile: HostFile | None = Field(
        default=None,
        description="A `.trivyignore` of the host. What it accepts is kept, marked as suppressed",
    )
    vex: list[HostFile] = Field(
        default=[],
        max_length=100,
        description="VEX documents of the host. What they say is not affected is kept, marked as "
        "suppressed",
    )
    offline: bool = Field(
        default=True,
        description="Use no network: the checks that trivy has, the database that is there",
    )
    db_repository: list[Repository] = Field(
        default=[], max_length=10, description="Where the vulnerability database is fetched from"
    )
    java_db_repository: list[Repository] = Field(
        default=[], max_length=10, description="Where the Java database is fetched from"
    )
    database_timeout: int = Field(
        default=300, ge=1, le=3600, description="Seconds that fetching the database may take"
    )
    max_database_age: int = Field(
        default=14,
        ge=1,
        le=3650,
        description="Days. With an older database the coverage is partial: it does not know what "
        "was found out since",
    )
    honour_repository_config: bool = Field(
        default=False,
        description="Obey `trivy.yaml`, `.trivyignore` and `trivy-secret.yaml` of the repository. "
        "What they accept is kept, marked as suppressed",
    )

    @property
    def looks_for_silencers(self) -> bool:
        """Whether comments in the target that silence misconfigurations are to be told."""
        told = "misconfig" in self.scanners and not self.honour_repository_config
        return told and self.input is None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Options":
        possible = _POSSIBLE[self.kind]
        if odd := [look for look in self.scanners if look not in possible]:
            known = ", ".join(sorted(possible))
            raise ValueError(f"kind {self.kind!r} has no scanner {odd[0]!r} (it has: {known})")
        if (self.input is None) == (self.kind in ("image", "sbom")):
            if self.input is None:
                raise ValueError(f"kind {self.kind!r} needs `input`: a file below the target")
            raise ValueError(f"`input` is for image and sbom; kind {self.kind!r} scans the target")
        for name, kinds in _FOR_KINDS.items():
            if self._says(name) and self.kind not in kinds:
                raise ValueError(f"kind {self.kind!r} has no option {name!r}")
        for name, looks in _FOR_SCANNERS.items():
            if self._says(name) and not looks & {*self.scanners}:
                raise ValueError(f"{name!r} does nothing without {' or '.join(sorted(looks))}")
        return self

    def _says(self, name: str) -> bool:
        value: Any = getattr(self, name)
        return value is not None and value is not False and value != []
