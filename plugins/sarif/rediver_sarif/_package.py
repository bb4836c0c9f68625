"""Which package a result is about, and its CVSS: SARIF has no place for either.

Tools write them into property bags under names of their own (dependency-check, grype, Black Duck,
snyk), into lines of a text (trivy: `Package: lodash`), or as a package address among the logical
locations. What a result says wins over what its rule says.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from rediver_sarif._values import MAX_WORD, Object, score, table, tables, word, words

_MAX: Final = 20
_MAX_SAID: Final = 4000
_TRIVY: Final = re.compile(
    r"Package: (.*)\nInstalled Version: (.*)\n(?:.*\n){0,3}?Fixed Version: (.*)"
)
_LINE: Final = re.compile(r"^([A-Z][A-Za-z ]{2,20}): *(.*)$", re.MULTILINE)
_SENTENCE: Final = re.compile(r"in ([\w.-]+) package: (\S{1,200}), version (\S{1,200}) was found")
_PURL: Final = re.compile(r"pkg:([a-z][a-z0-9.+-]*)/+([^@?#]+)(?:@([^?#]+))?", re.IGNORECASE)
_CVE: Final = re.compile(r"\bCVE-\d{4}-\d{4,}\b", re.IGNORECASE)

# By the letters of a property's name; the earlier of two names of one kind wins.
_PURLS: Final = ("purl", "purls", "packageurl")
_NAMES: Final = ("package", "packagename", "pkgname", "component", "componentname", "dependency",
                 "dependencyname", "library")  # fmt: skip
_VERSIONS: Final = ("installedversion", "packageversion", "componentversion", "dependencyversion",
                    "currentversion", "pkgversion", "libraryversion", "version")  # fmt: skip
_FIXES: Final = ("fixedversion", "fixedversions", "fixversion", "fixversions", "fixedin",
                 "patchedversion", "patchedversions", "firstpatchedversion")  # fmt: skip
_KINDS: Final = ("ecosystem", "packageecosystem", "packagetype", "packagemanager",
                 "componentorigin")  # fmt: skip
_CVES: Final = ("cve", "cveid", "cves", "cveids")
_SCORES: Final = ("cvssv4basescore", "cvssv31basescore", "cvssv3basescore", "cvssv3score",
                  "cvssscore", "basescore", "cvssv2score")  # fmt: skip
_VECTORS: Final = ("cvssv4vector", "cvssv31vector", "cvssv3vector", "cvssvector", "cvssv2vector")
_KNOWN: Final = frozenset({*_PURLS, *_NAMES, *_VERSIONS, *_FIXES, *_KINDS, *_CVES, *_SCORES,
                           *_VECTORS})  # fmt: skip


class Package(NamedTuple):
    """A dependency, as far as it is told."""

    name: str = ""
    version: str = ""
    purl: str = ""
    ecosystem: str = ""
    fixed: tuple[str, ...] = ()

    def over(self, other: "Package") -> "Package":
        """This one, with what `other` adds where it is of the same package or this is of none."""
        if not (self.name or self.purl):
            return other._replace(fixed=self.fixed or other.fixed)
        of_one = "" in {self.version, other.version} or self.version == other.version
        if self.name == other.name and of_one:
            return Package(
                self.name,
                self.version or other.version,
                self.purl or other.purl,
                self.ecosystem or other.ecosystem,
                self.fixed or other.fixed,
            )
        return self


class Facts(NamedTuple):
    """What is told of a vulnerability beside its number."""

    package: Package = Package()
    cve: str = ""
    score: float | None = None
    source: str = ""  # which property the score is of
    vector: str = ""

    def over(self, other: "Facts") -> "Facts":
        """These, and what `other` adds."""
        rated = self if self.score is not None else other
        return Facts(
            self.package.over(other.package),
            self.cve or other.cve,
            rated.score,
            rated.source,
            self.vector or other.vector,
        )


NO_FACTS: Final = Facts()


def facts(properties: Object, said: str, addresses: list[str]) -> Facts:
    """The facts in a property bag, in a text, and in package addresses."""
    if not properties and not addresses:
        if "ackage: " not in said:
            return NO_FACTS
        if len(said) < _MAX_SAID and (match := _TRIVY.match(said)):
            return _of_trivy(*match.groups())
    bag = dict(_flat(properties, 2))
    for name, value in _lines(said):
        bag.setdefault(name, value)
    rated = ((bag[name][0], score(bag[name][1])) for name in _SCORES if name in bag)
    source, number = next((one for one in rated if one[1] is not None), ("", None))
    return Facts(
        package=_package(bag, addresses),
        cve=cve_in(*_first(bag, _CVES)),
        score=number,
        source=source,
        vector=next(iter(_first(bag, _VECTORS)), "")[:200],
    )


@lru_cache(512)
def _of_trivy(name: str, version: str, fixed: str) -> Facts:
    return Facts(Package(word(name), word(version), fixed=_versions([fixed])))


def packages_among(locations: list[Object]) -> list[str]:
    """The package addresses among the logical locations of a result."""
    found: list[str] = []
    for location in locations:
        if "logicalLocations" in location:
            for about in tables(location["logicalLocations"], _MAX):
                name = about.get("fullyQualifiedName")
                if isinstance(name, str) and name[:4].lower() == "pkg:":
                    found.append(word(name))
    return found[:_MAX]


def _flat(properties: Object, depth: int) -> Iterator[tuple[str, tuple[str, Any]]]:
    """(name by its letters, (name as written, value)) of what is known, one object deep."""
    for name, value in properties.items():
        letters = "".join(filter(str.isalnum, name)).lower() if len(name) < 50 else ""
        if isinstance(value, dict) and depth > 1 and letters in _NAMES:
            inner = table(value)
            yield from _flat(inner, depth - 1)
            yield letters, (name, inner.get("name"))
        elif letters in _KNOWN:
            yield letters, (name, value)


def _lines(said: str) -> Iterator[tuple[str, tuple[str, Any]]]:
    """The same of lines like `Fixed Version: 1.2`, and of grype's sentence."""
    if "Package: " in said:
        for name, value in _LINE.findall(said):
            yield name.replace(" ", "").lower(), (name, value)
    elif match := _SENTENCE.search(said):
        for letters, value in zip(("ecosystem", "package", "version"), match.groups(), strict=True):
            yield letters, (letters, value)


def _first(bag: Mapping[str, tuple[str, Any]], names: tuple[str, ...]) -> list[str]:
    """The words of the first of these properties that has some."""
    for name in names:
        if name in bag and (said := words(bag[name][1], _MAX)):
            return said
    return []


def _package(bag: Mapping[str, tuple[str, Any]], addresses: list[str]) -> Package:
    fixed = _versions(_first(bag, _FIXES))
    purl = next(iter(_first(bag, _PURLS) or addresses), "")
    name, version = (next(iter(_first(bag, names)), "") for names in (_NAMES, _VERSIONS))
    if not purl and not (name and (version or fixed)):
        return Package(fixed=fixed)  # `package` and `component` alone may be of anything
    parts = _PURL.fullmatch(purl.partition("?")[0].partition("#")[0])
    kind, own, of = parts.groups() if parts else ("", "", "")
    return Package(
        name=name or unquote(own),
        version=version or unquote(of or ""),
        purl=purl,
        ecosystem=next(iter(_first(bag, _KINDS)), "") or kind.lower(),
        fixed=fixed,
    )


def _versions(said: list[str]) -> tuple[str, ...]:
    """The versions of a list, or of a text with commas."""
    found = [word(version) for one in said for version in one[:MAX_WORD].split(",")]
    return tuple(version for version in found[:_MAX] if version[:1].isalnum())


def cve_in(*texts: str) -> str:
    """The first CVE number in these texts."""
    return next((match[0].upper() for said in texts if (match := _CVE.search(said))), "")
