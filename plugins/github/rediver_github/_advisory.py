"""What a Dependabot alert says of a package and of the advisory about it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from rediver_agent import severity_from_score
from rediver_agent.contract import Severity, Vulnerability
from rediver_github._values import Object, objects, table, text

# GitHub's word for an ecosystem, and the package URL's.
_PURL_TYPES: Final[Mapping[str, str]] = {
    "actions": "githubactions", "composer": "composer", "docker": "docker", "erlang": "hex",
    "go": "golang", "maven": "maven", "npm": "npm", "nuget": "nuget", "pip": "pypi", "pub": "pub",
    "rubygems": "gem", "rust": "cargo", "swift": "swift",
}  # fmt: skip
_LOWER: Final = frozenset({"composer", "hex", "pypi"})  # types whose names have no case
_MAX_SCORE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Package:
    """A dependency, by GitHub's words."""

    ecosystem: str
    name: str

    @property
    def purl(self) -> str | None:
        """The package URL, without a version: which one is used the alert does not say."""
        kind = _PURL_TYPES.get(self.ecosystem.lower())
        if kind is None or not self.name:
            return None
        name = self.name.lower() if kind in _LOWER else self.name
        if kind == "pypi":
            name = re.sub(r"[-_.]+", "-", name)
        if kind == "maven":
            name = name.replace(":", "/")
        return f"pkg:{kind}/{quote(name, safe='/:._-')}"


def package(about: Object, used: Object) -> Package:
    """The package of a vulnerability, else that of the dependency."""
    named = table(about.get("package")) or table(used.get("package"))
    return Package(text(named.get("ecosystem")), text(named.get("name")))


def advisory(told: Object, about: Object, named: Package) -> Vulnerability:
    """What is known of the vulnerability: its numbers, score, and the versions that have it."""
    score, vector = next(_scores(told), (None, None))
    patched = about.get("first_patched_version")
    fixed = text(table(patched).get("identifier")) or text(patched)
    cwes = [text(cwe.get("cwe_id")).upper() for cwe in objects(told.get("cwes"))]
    return Vulnerability(
        cve_id=text(told.get("cve_id")) or _identifier(told, "CVE"),
        cwe_ids=[cwe for cwe in cwes if cwe],
        cvss_score=score,
        cvss_vector=vector,
        cvss_source="ghsa" if score is not None else None,
        package=named.name or None,
        purl=named.purl,
        ecosystem=named.ecosystem or None,
        affected_version=text(about.get("vulnerable_version_range")) or None,
        fixed_versions=[fixed] if fixed else [],
    )


def recommendation(named: Package, fixed: Sequence[str]) -> str | None:
    """What to do, where a version is without it."""
    return f"Upgrade {named.name} to {' or '.join(fixed)}." if fixed and named.name else None


def score_severity(score: float | None) -> Severity | None:
    """The severity of an advisory that names none."""
    return None if score is None else severity_from_score(score)


def _scores(told: Object) -> Iterator[tuple[float, str | None]]:
    """Scores and vectors, of CVSS 3 first, as the other tools' are."""
    by_version = table(told.get("cvss_severities"))
    for of in (by_version.get("cvss_v3"), told.get("cvss"), by_version.get("cvss_v4")):
        score: object = table(of).get("score")  # 0 is that of none
        if isinstance(score, int | float) and 0 < score <= _MAX_SCORE and score is not True:
            yield float(score), text(table(of).get("vector_string")) or None


def _identifier(told: Object, kind: str) -> str | None:
    named = (name for name in objects(told.get("identifiers")) if name.get("type") == kind)
    return next((value for name in named if (value := text(name.get("value")))), None)
