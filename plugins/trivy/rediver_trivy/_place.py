"""Where an entry of a report stands: in a file, in an image, or in a whole system."""

from dataclasses import dataclass, field
from typing import Final

from rediver_agent.contract.findings import Location

# What trivy calls packages that it found by their own files, wherever those lie.
_NO_FILES: Final = frozenset(
    {"Java", "Node.js", "Python", "Ruby", "Conda", "Kubernetes", "OS Packages"}
)
_NO_FILE: Final = "Loose File License(s)"


@dataclass(frozen=True, slots=True)
class Place:
    """The result that an entry stands in. `archive` is the file that holds the scanned image."""

    target: str = ""
    kind: str = ""  # os-pkgs, lang-pkgs, config, secret, license
    type: str = ""  # npm, dockerfile, …
    archive: str = ""
    path: str | None = field(init=False)
    """The file; None where the target is a whole system, not a file."""
    location: Location | None = field(init=False)
    """The same: as many entries have no other, it is made once."""

    def __post_init__(self) -> None:
        path = self._path()
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "location", Location(path=path) if path else None)

    def _path(self) -> str | None:
        whole = self.kind == "os-pkgs" or self.target in _NO_FILES or self.target == _NO_FILE
        if whole or self._is_archive:
            return self.archive or None
        return self.inside(self.target) or None

    def inside(self, path: str) -> str:
        """A file's path; of one in an image's archive `images/app.tar!/etc/passwd`."""
        return f"{self.archive}!/{path.lstrip('/')}" if self.archive and path else path

    @property
    def _is_archive(self) -> bool:
        return bool(self.archive) and self.target.removeprefix("./") == self.archive
