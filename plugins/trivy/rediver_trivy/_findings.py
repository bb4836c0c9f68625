"""One entry of a trivy report as a finding: what each kind has, and where it stands.

Secrets, which trivy masks with as many stars as they have characters, get the one mark that tells
nothing. A check that passed, or that is excepted, is no finding.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from rediver_agent import MASK, severity_from_word
from rediver_agent.contract import Finding, Severity
from rediver_trivy._place import Place
from rediver_trivy._values import (
    MAX_TEXT,
    Object,
    Unreadable,
    array,
    line,
    references,
    required,
    table,
    text,
    texts,
)
from rediver_trivy._vulnerability import Advisory, advisory, vulnerability

_MAX_TITLE: Final = 500
_MAX_SNIPPET: Final = 2000
_SHOWS_SECRETS: Final = re.compile(r"(AVD-)?DS-?0*31")  # "Secrets passed via build-args or envs"
_NO_PROBLEM: Final = {"PASS", "EXCEPTION"}  # any other word may be of a check that failed
_PERCENT: Final = 100

_validated: Final = Finding.__pydantic_validator__.validate_python  # without a frame for each

Fields = dict[str, Any]
"""A finding before it is checked: pydantic builds it and all in it in one step."""


def _misconfiguration(entry: Object, place: Place) -> Fields | None:
    if text(entry.get("Status")).upper() in _NO_PROBLEM:
        return None
    rule = required(entry, "ID")
    cause = table(entry.get("CauseMetadata"))
    advice = text(entry.get("Resolution"), MAX_TEXT)
    kind = text(entry.get("Type")) or place.type
    return {
        "type": "misconfiguration",
        "title": text(entry.get("Title"), _MAX_TITLE) or rule,
        "message": text(entry.get("Message"), MAX_TEXT) or None,
        "description": text(entry.get("Description"), MAX_TEXT) or None,
        "rule_id": rule,
        "rule_name": text(entry.get("Title")) or None,
        "location": {
            **_lines(cause),
            "path": place.path,
            "snippet": _masked(rule, _cause(cause)),
        },
        "related_locations": _callers(cause, place),
        "misconfiguration": {
            "policy_id": rule,
            "resource_type": place.type or None,
            "resource_name": text(cause.get("Resource")) or None,
        },
        "remediation": {"recommendation": advice} if advice else None,
        "references": references(text(entry.get("PrimaryURL")), texts(entry.get("References"))),
        "tags": [avd] if (avd := text(entry.get("AVDID"))) and avd != rule else [],
        "properties": {
            "check_type": kind,
            "namespace": text(entry.get("Namespace")),
            "query": text(entry.get("Query")),
            "provider": text(cause.get("Provider")),
            "service": text(cause.get("Service")),
        },
    }


def _cause(cause: Object) -> str | None:
    """The lines at fault, without those that trivy shows around them."""
    shown = [table(each) for each in array(table(cause.get("Code")).get("Lines"))]
    lines = [text(each.get("Content")) for each in shown if each.get("IsCause") is True]
    return "\n".join(lines)[:_MAX_SNIPPET] or None


def _masked(rule: str, snippet: str | None) -> str | None:
    """The names stay: `ENV TOKEN=***`."""
    if snippet is None or not _SHOWS_SECRETS.fullmatch(rule):
        return snippet
    return "\n".join(_without_values(words) for words in snippet.split("\n"))


def _without_values(words: str) -> str:
    named = re.match(r"\s*(?:(?:ENV|ARG|RUN)\s+)?\w{1,100}", words, re.IGNORECASE)
    return f"{named[0]}={MASK}" if named else MASK


def _callers(cause: Object, place: Place) -> list[Fields]:
    """From where the resource is made: the calls of a module, innermost first."""
    found = [table(each) for each in array(cause.get("Occurrences"))]
    return [
        {
            **_lines(table(each.get("Location"))),
            "path": place.inside(text(each.get("Filename"))) or None,
            "message": text(each.get("Resource")) or None,
        }
        for each in found
    ]


def _secret(entry: Object, place: Place) -> Fields:
    rule = required(entry, "RuleID")
    # What follows on the line may be a secret that trivy does not know.
    before, masked, _ = text(entry.get("Match"), MAX_TEXT).partition("*")
    shown = f"{before[-_MAX_SNIPPET:]}{MASK}" if masked else MASK
    return {
        "type": "secret",
        "title": text(entry.get("Title"), _MAX_TITLE) or rule,
        "rule_id": rule,
        "rule_name": text(entry.get("Title")) or None,
        "location": {
            **_lines(entry),
            "path": place.path,
            "snippet": shown,
        },
        "vulnerability": {"cwe_ids": ["CWE-798"]},
        "secret": {"secret_type": text(entry.get("Category")) or rule, "masked_value": MASK},
    }


def _license(entry: Object, place: Place) -> Fields:
    name = required(entry, "Name")
    inside = text(entry.get("FilePath"))
    path = place.inside(inside) if inside else place.path
    link = text(entry.get("Link"))
    certain: Any = entry.get("Confidence")
    package = text(entry.get("PkgName"))
    sure = type(certain) in (int, float) and 0 <= certain <= 1
    return {
        "type": "compliance",
        "title": f"Licence {name} of {package or path or place.target}"[:_MAX_TITLE],
        "rule_id": name,
        "confidence": round(certain * _PERCENT) if sure else None,
        "location": {"path": path} if path else None,
        "references": [link] if link else [],
        "properties": {"category": text(entry.get("Category")), "package": package},
    }


def _lines(said: Object) -> Fields:
    first, last = line(said.get("StartLine")), line(said.get("EndLine"))
    return {"start_line": first, "end_line": last}


_Read = Callable[[Object, Place], Fields | None]


def _vulnerability(entry: Object, place: Place) -> Fields:
    return vulnerability(advisory(entry), place)


_KINDS: Final[Mapping[str, _Read]] = {
    "Vulnerabilities": _vulnerability,
    "Misconfigurations": _misconfiguration,
    "Secrets": _secret,
    "Licenses": _license,
}
_MODIFIED: Final = {
    "vulnerability": "Vulnerabilities",
    "misconfiguration": "Misconfigurations",
    "secret": "Secrets",
    "license": "Licenses",
}
KINDS: Final = tuple(_KINDS)


def finding(kind: str, raw: object, place: Place) -> Finding | None:
    """The finding of an entry; None for a check that did not fail.

    Raises `Unreadable`, or pydantic's `ValidationError`.
    """
    if isinstance(raw, Advisory):
        return _built(vulnerability(raw, place), raw.severity, place)
    return _of_entry(kind, _entry(raw), place)


def suppressed(raw: object, place: Place) -> Finding | None:
    """An entry that an ignore file or a VEX document accepts. Raises as `finding` does."""
    modified = _entry(raw)
    kind = text(modified.get("Type"))
    if kind not in _MODIFIED:
        raise Unreadable("it is of an unknown type")
    entry = _entry(modified.get("Finding"))
    if kind == "misconfiguration":
        entry = {**entry, "Status": "FAIL"}
    source = f"{text(modified.get('Status'))} by {text(modified.get('Source'))}"
    why = text(modified.get("Statement"), MAX_TEXT) or source
    accepted = {"kind": "external", "justification": why}
    return _of_entry(_MODIFIED[kind], entry, place, accepted)


def _entry(raw: object) -> Object:
    if not isinstance(raw, dict):
        raise Unreadable("it is no object")
    return table(raw)  # pyright: ignore[reportUnknownArgumentType] - whatever is in it


def _of_entry(
    kind: str, entry: Object, place: Place, accepted: Mapping[str, str] | None = None
) -> Finding | None:
    fields = _KINDS[kind](entry, place)
    if fields is None:
        return None
    if accepted:
        fields["suppression"] = accepted
    if "Layer" in entry:
        fields.setdefault("properties", {})["layer"] = text(table(entry["Layer"]).get("DiffID"))
    return _built(fields, text(entry.get("Severity")), place)


def _built(fields: Fields, word: str, place: Place) -> Finding:
    fields["severity"] = severity_from_word(word) or Severity.INFO
    known: dict[str, Any] = {"target": place.target, "class": place.kind}
    known |= fields.get("properties", {})
    if word.upper() in ("", "UNKNOWN"):
        known["severity_source"] = "unknown"
    fields["properties"] = {name: value for name, value in known.items() if value}
    return _validated(fields)
