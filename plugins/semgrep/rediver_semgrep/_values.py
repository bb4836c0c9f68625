"""Reading values of a report that may be anything: what is not of the type that is meant is absent.

A rule's metadata come with each of its results, so what was made of them is remembered.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

MAX_ENTRIES: Final = 100
MAX_WORD: Final = 1000
MAX_LINE: Final = 2**31 - 1  # what databases hold
MAX_REMEMBERED: Final = 4_000_000  # characters of rules' ids and metadata

_DIGITS: Final = 12
_CWE: Final = re.compile(r"(?:CWE-)?0*([1-9]\d{0,6})\b", re.IGNORECASE)
_CVE: Final = re.compile(r"CVE-\d{4}-\d{4,}", re.IGNORECASE)
_PAGE: Final = re.compile(r"https?://[^\s@]+")
_OWN_PAGE: Final = re.compile(r"https://(?:sg\.run|semgrep\.dev)/[\w./-]*")
_SECRETS: Final = frozenset({"CWE-259", "CWE-321", "CWE-798"})  # hard-coded passwords, keys, …
_SECRET_RULE: Final = re.compile(r"(?<![a-z])secrets?(?![a-z])", re.IGNORECASE)
_CONFIDENCE: Final = {"HIGH": 90, "MEDIUM": 60, "LOW": 30}

Object = Mapping[str, Any]


def table(value: object) -> Object:
    """An object; an empty one for anything else."""
    return cast("Object", value) if isinstance(value, dict) else {}


def array(value: object) -> list[Any]:
    """A list; an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def text(value: object) -> str:
    """A text; "" for anything else."""
    return value if isinstance(value, str) else ""


def place(value: object) -> int | None:
    """A line or a column: a number from 1 on, also in quotes."""
    if isinstance(value, str) and value.isdecimal() and len(value) < _DIGITS:
        value = int(value)
    return value if type(value) is int and 0 < value <= MAX_LINE else None


def words(value: object) -> list[str]:
    """A word, a number, or a list of such, without repetition and of bounded length."""
    values = array(value) or [value]
    said = (
        str(word).strip()[:MAX_WORD]
        for word in values[:MAX_ENTRIES]
        if isinstance(word, str | int) and not isinstance(word, bool)
    )
    return [word for word in dict.fromkeys(said) if word]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a rule says of itself."""

    cwe_ids: list[str]
    owasp_ids: list[str]
    confidence: int | None
    references: list[str]
    own_pages: list[str]
    tags: list[str]
    properties: dict[str, str]
    is_secret: bool
    cve_id: str | None
    fixed_versions: dict[str, list[str]]


class Memory:
    """The metadata of the rules of one report, each read once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Object, Metadata]] = {}
        self._size = 0

    def of(self, rule_id: str, raw: Object) -> Metadata:
        """What `raw` says. It may differ between two results of a rule, so it is compared."""
        known = self._known.get(rule_id)
        if known is not None and known[0] == raw:
            return known[1]
        read = _metadata(rule_id, raw)
        size = len(rule_id) + len(repr(raw))
        if self._size + size > MAX_REMEMBERED:
            self._known.clear()
            self._size = 0
        if size <= MAX_REMEMBERED:
            self._known[rule_id] = raw, read
            self._size += size
        return read


def _metadata(rule_id: str, raw: Object) -> Metadata:
    cwes = [_CWE.match(word) for word in words(raw.get("cwe"))]
    cwe_ids = list(dict.fromkeys(f"CWE-{found[1]}" for found in cwes if found))
    kinds = [*words(raw.get("category")), *words(raw.get("subcategory"))]
    technology = words(raw.get("technology"))
    own = [*words(raw.get("shortlink")), *words(raw.get("source"))]
    pages = [*words(raw.get("references")), *own, *words(raw.get("source-rule-url"))]
    said = [*words(raw.get("sca-vuln-database-identifier")), *words(raw.get("cve"))]
    cves = [_CVE.fullmatch(word) for word in said]
    return Metadata(
        cwe_ids=cwe_ids,
        owasp_ids=words(raw.get("owasp")),
        confidence=_CONFIDENCE.get(text(raw.get("confidence")).upper()),
        references=[page for page in dict.fromkeys(pages) if _PAGE.fullmatch(page)],
        own_pages=[page for page in dict.fromkeys(own) if _OWN_PAGE.fullmatch(page)],
        tags=list(dict.fromkeys([*kinds, *technology])),
        properties={
            key: text(raw[key])[:MAX_WORD] for key in ("likelihood", "impact") if text(raw.get(key))
        },
        # What may show a secret is one: better masked for nothing than shown.
        is_secret=bool(_SECRETS & set(cwe_ids))
        or not {"secret", "secrets"}.isdisjoint(map(str.lower, (*kinds, *technology)))
        or _SECRET_RULE.search(rule_id) is not None,
        cve_id=next((found[0].upper() for found in cves if found), None),
        fixed_versions=_fixed_versions(raw.get("sca-fix-versions")),
    )


def _fixed_versions(value: object) -> dict[str, list[str]]:
    """By package: `[{"minimist": "1.2.6"}, {"minimist": "0.2.4"}]`."""
    found: dict[str, list[str]] = {}
    for entry in array(value)[:MAX_ENTRIES]:
        for package, version in list(table(entry).items())[:MAX_ENTRIES]:
            found.setdefault(package, []).extend(words(version))
    return found
