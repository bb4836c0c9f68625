"""GitHub's alerts as findings, from the REST API and from webhooks alike (shared with them).

An alert is one finding, called what GitHub calls it: its repository, kind and number, so that it
stays the same one whoever tells of it. Its own severity and state count. Of a secret nothing comes
through but its kind: what the alert holds of it is masked wherever else it is quoted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast
from urllib.parse import urlsplit

from typing_extensions import override

from rediver_agent import MASK, Asset, mask, severity_from_sarif, severity_from_word
from rediver_agent.contract import (
    Finding,
    FindingStatus,
    FindingType,
    Location,
    Remediation,
    Secret,
    Severity,
    Suppression,
    Vulnerability,
)
from rediver_github._advisory import advisory, package, recommendation, score_severity
from rediver_github._values import Object, number, objects, table, text, texts

FULL_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*/[A-Za-z0-9._-]+")
_MAX_TITLE: Final = 500
_MAX_NAME: Final = 1000
_MAX_TEXT: Final = 20_000
_LEAST_MASKED: Final = 6  # characters; shorter secrets are parts of words
_CWE: Final = re.compile(r"\bcwe[-_: ]?0*([1-9]\d{0,4})\b", re.IGNORECASE)
_OWASP: Final = re.compile(r"\bA(\d{1,2})[:-](\d{4})\b", re.IGNORECASE)
_STATUS: Final = {
    "open": FindingStatus.OPEN,
    "fixed": FindingStatus.RESOLVED,
    "closed": FindingStatus.RESOLVED,
    "resolved": FindingStatus.RESOLVED,
    "dismissed": FindingStatus.ACCEPTED_RISK,
    "auto_dismissed": FindingStatus.ACCEPTED_RISK,
}
# Why an alert was closed says more than that it was. Written `won't fix` and `wont_fix`.
_REASONS: Final = {
    "false_positive": FindingStatus.FALSE_POSITIVE,
    "inaccurate": FindingStatus.FALSE_POSITIVE,
    "wont_fix": FindingStatus.ACCEPTED_RISK,
    "used_in_tests": FindingStatus.ACCEPTED_RISK,
    # Nobody looks for it any more, which mends nothing.
    "pattern_deleted": FindingStatus.ACCEPTED_RISK,
    "pattern_edited": FindingStatus.ACCEPTED_RISK,
    "hidden_by_config": FindingStatus.ACCEPTED_RISK,
}
_ABOUT_THE_SECRET: Final = frozenset({"secret", "metadata"})  # the second: whose it is
_DECIDED: Final = frozenset({FindingStatus.FALSE_POSITIVE, FindingStatus.ACCEPTED_RISK})
_FACTS: Final = ("created_at", "updated_at", "fixed_at", "dismissed_at", "resolved_at")


class Kind(StrEnum):
    """Of alert, as GitHub's addresses write it. `Kind("code_scanning")` is understood, too."""

    DEPENDABOT = "dependabot"
    CODE_SCANNING = "code-scanning"
    SECRET_SCANNING = "secret-scanning"  # noqa: S105 - the name of a kind of alert, no password

    @classmethod
    @override
    def _missing_(cls, value: object) -> "Kind | None":
        written = value.replace("_", "-") if isinstance(value, str) else None
        return next((kind for kind in cls if kind.value == written), None)


class AlertUnreadable(ValueError):
    """It is no alert of that kind. A sentence that says why."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository by its full name, `acme/shop`, and where people see it: `https://github.com`."""

    full_name: str
    web: str = "https://github.com"

    @property
    def url(self) -> str:
        """Its address, by which it is the same asset as where a CI job scans it."""
        return f"{self.web}/{self.full_name}"

    def identity(self, kind: Kind, alert: int) -> str:
        """What an alert is called: `github.com/acme/shop#code-scanning/3`. Names have no case."""
        return f"{urlsplit(self.web).netloc}/{self.full_name}".lower() + f"#{kind}/{alert}"


def repository(raw: Mapping[str, Any]) -> Repository:
    """A `repository` object of the API or of a webhook. Raises `AlertUnreadable`."""
    name, address = text(raw.get("full_name")), urlsplit(text(raw.get("html_url")))
    if not FULL_NAME.fullmatch(name):
        raise AlertUnreadable("the repository has no full_name like acme/shop")
    web = f"{address.scheme}://{address.netloc}".lower()
    known = address.scheme in ("http", "https") and address.netloc and "@" not in web
    return Repository(name, web) if known else Repository(name)


def asset(of: Repository) -> Asset:
    """The repository as the asset that its alerts belong to."""
    return Asset(id="target", type="repository", value=of.url, name=of.full_name)


def finding(kind: Kind | str, alert: Mapping[str, Any], of: Repository) -> Finding:
    """An alert as GitHub's REST API or a webhook has it. `AlertUnreadable` if it is none."""
    kind = Kind(kind)
    if (count := number(alert.get("number"))) is None:
        more = " (a GraphQL answer? export it by the REST API)" if "data" in alert else ""
        raise AlertUnreadable(f"an alert of {kind} has no number{more}")
    shown = without_secret(alert)
    try:
        return _completed(_BY_KIND[kind](shown), kind, shown, of.identity(kind, count))
    except ValueError as fault:  # pydantic's is one: a text that is none, such as half a surrogate
        raise AlertUnreadable(f"the {kind} alert {count} cannot be understood") from fault


def without_secret(alert: Mapping[str, Any]) -> Mapping[str, Any]:
    """The alert without the secret that it is about, also where its people quote that."""
    if "secret" not in alert:
        return alert
    hidden = text(alert.get("secret"))
    rest = {name: value for name, value in alert.items() if name not in _ABOUT_THE_SECRET}
    return _masked(rest, hidden) if len(hidden) >= _LEAST_MASKED else rest


def _completed(found: Finding, kind: Kind, alert: Object, identity: str) -> Finding:
    """With what alerts of all kinds have."""
    status = _status(kind, alert)
    address = text(alert.get("html_url"))
    facts = {name: text(alert.get(name)) for name in ("state", *_FACTS)}
    facts |= {"reason": _reason(alert), "alert": identity}
    kept = {name: value for name, value in facts.items() if value}
    return found.model_copy(
        update={
            "partial_fingerprints": {"rediver/alert": identity},
            "status": status,
            "suppression": _suppression(alert) if status in _DECIDED else None,
            "references": list(
                dict.fromkeys(
                    [*([address] if address.startswith("http") else ()), *found.references]
                )
            ),
            "properties": {**kept, **found.properties},
        }
    )


def _status(kind: Kind, alert: Object) -> FindingStatus | None:
    reason = _reason(alert).lower().replace("'", "").replace(" ", "_")
    state = text(alert.get("state")) or text(_instance(alert).get("state"))
    if kind is Kind.SECRET_SCANNING and not state and "resolution" in alert:  # of a webhook
        state = "resolved" if reason else "open"
    status = _STATUS.get(state.lower())
    final = state in ("open", "fixed")  # whatever was said of it before
    return status if final or status is None else _REASONS.get(reason, status)


def _reason(alert: Object) -> str:
    return text(alert.get("dismissed_reason")) or text(alert.get("resolution"))


def _suppression(alert: Object) -> Suppression:
    comment = text(alert.get("dismissed_comment")) or text(alert.get("resolution_comment"))
    said = [_reason(alert) or text(alert.get("state")), comment]
    why = ": ".join(part for part in said if part)
    return Suppression(kind="external", justification=why[:_MAX_TEXT] or None)


def _code(alert: Object) -> Finding:
    rule, tool, instance = table(alert.get("rule")), table(alert.get("tool")), _instance(alert)
    place, tags = table(instance.get("location")), texts(rule.get("tags"))
    name = text(rule.get("id")) or text(rule.get("name"))
    title = text(rule.get("description")) or name or "Code scanning alert"
    severity = severity_from_word(text(rule.get("security_severity_level")))
    link = text(rule.get("help_uri"))
    cwe_ids = list(dict.fromkeys(f"CWE-{cwe}" for tag in tags for cwe in _CWE.findall(tag)))
    owasp_ids = [f"A{int(m[1]):02}:{m[2]}" for tag in tags if (m := _OWASP.search(tag))]
    details = {name: text(instance.get(name)) for name in ("ref", "commit_sha", "category")}
    details |= {"tool": text(tool.get("name")), "tool_version": text(tool.get("version"))}
    return Finding(
        type=FindingType.VULNERABILITY,
        title=title[:_MAX_TITLE],
        severity=severity or severity_from_sarif(None, text(rule.get("severity")), None),
        message=text(table(instance.get("message")).get("text"))[:_MAX_TEXT] or None,
        description=text(rule.get("full_description"))[:_MAX_TEXT] or None,
        rule_id=name[:_MAX_NAME] or None,
        rule_name=text(rule.get("name"))[:_MAX_NAME] or None,
        location=_location(place),
        vulnerability=Vulnerability(cwe_ids=cwe_ids, owasp_ids=owasp_ids)
        if cwe_ids or owasp_ids
        else None,
        remediation=_help(text(rule.get("help"))),
        references=[link] if link else [],
        tags=[*tags, *texts(instance.get("classifications"))],
        properties={name: value for name, value in details.items() if value},
    )


def _instance(alert: Object) -> Object:
    """Where it was seen last. A webhook has a list of them."""
    seen = [table(alert.get("most_recent_instance")), *objects(alert.get("instances")), table(None)]
    return next((instance for instance in seen if instance), seen[-1])


def _help(words: str) -> Remediation | None:
    return Remediation(recommendation=words[:_MAX_TEXT]) if words else None


def _dependency(alert: Object) -> Finding:
    told = table(alert.get("security_advisory"))
    about = table(alert.get("security_vulnerability"))
    used = table(alert.get("dependency"))
    named = package(about, used)
    known = advisory(told, about, named)
    rule = text(told.get("ghsa_id")) or known.cve_id or ""
    words = (text(source.get("severity")) for source in (about, told))
    severity = next((found for word in words if (found := severity_from_word(word))), None)
    title = text(told.get("summary")) or " in ".join(filter(None, (rule, named.name)))
    path = text(used.get("manifest_path")).lstrip("/")
    advice = recommendation(named, known.fixed_versions)
    links = [text(link.get("url")) for link in objects(told.get("references"))]
    details = {name: text(used.get(name)) for name in ("scope", "relationship")}
    details["vulnerable_version_range"] = text(about.get("vulnerable_version_range"))
    return Finding(
        type=FindingType.VULNERABILITY,
        title=(title or "Dependabot alert")[:_MAX_TITLE],
        severity=severity or score_severity(known.cvss_score) or Severity.MEDIUM,
        description=text(told.get("description"))[:_MAX_TEXT] or None,
        rule_id=rule[:_MAX_NAME] or None,
        location=Location(path=path) if path else None,
        vulnerability=known,
        remediation=Remediation(recommendation=advice) if advice else None,
        references=[link for link in links if link],
        tags=[text(name.get("value")) for name in objects(told.get("identifiers"))],
        properties={name: value for name, value in details.items() if value},
    )


def _secret(alert: Object) -> Finding:
    kind = text(alert.get("secret_type")) or "secret"
    shown = text(alert.get("secret_type_display_name")) or kind
    validity = text(alert.get("validity"))
    place = _location(table(alert.get("first_location_detected")))
    flags = ("publicly_leaked", "multi_repo", "push_protection_bypassed", "has_more_locations")
    details: Object = {name: True for name in flags if alert.get(name) is True}
    if validity:
        details["validity"] = validity
    return Finding(
        type=FindingType.SECRET,
        title=f"{shown} in the repository"[:_MAX_TITLE],
        # One that still opens a door is worse than one that may.
        severity=Severity.CRITICAL if validity == "active" else Severity.HIGH,
        rule_id=kind[:_MAX_NAME],
        rule_name=shown[:_MAX_NAME],
        location=place,
        vulnerability=Vulnerability(cwe_ids=["CWE-798"]),
        secret=Secret(secret_type=kind, masked_value=MASK),
        remediation=Remediation(
            recommendation="Revoke it where it was issued: what was pushed once is known."
        ),
        properties=details,
    )


def _location(place: Object) -> Location | None:
    path = text(place.get("path"))
    if not path:
        return None
    return Location(
        path=path.lstrip("/") or path,
        start_line=number(place.get("start_line")),
        end_line=number(place.get("end_line")),
        start_column=number(place.get("start_column")),
        end_column=number(place.get("end_column")),
    )


def _masked(value: Any, secret: str) -> Any:
    """`value` without the secret in any of its texts: people quote it in comments."""
    if isinstance(value, str):
        return mask(value, secret)
    if isinstance(value, dict):
        known = cast("dict[str, Any]", value)
        return {name: _masked(inner, secret) for name, inner in known.items()}
    if isinstance(value, list):
        return [_masked(inner, secret) for inner in cast("list[Any]", value)]
    return value


_BY_KIND: Final = {
    Kind.CODE_SCANNING: _code,
    Kind.DEPENDABOT: _dependency,
    Kind.SECRET_SCANNING: _secret,
}
