"""The parts of a finding that need nothing but the result, its rule and the redactor of secrets."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from rediver_sarif._message import written
from rediver_sarif._rule import Rule
from rediver_sarif._values import MAX_TEXT, array, distinct, table, tables, text, word, words

MAX_ENTRIES: Final = 50
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NO_FINGERPRINTS: Final = frozenset({"", "requires login"})  # the second is semgrep's, logged out

Object = Mapping[str, Any]
Redact = Callable[[str], str]


def title(rule: Rule, message: str) -> str:
    """The rule's own headline, if it is more than its id; else the message's first line."""
    if rule.title and not (rule.id and rule.title.endswith(rule.id)):
        return rule.title
    return word(message.strip().partition("\n")[0]) or rule.name or rule.title


def suppression(value: object, redact: Redact | None) -> dict[str, str] | None:
    """Set only if every suppression is accepted, as those without a status are."""
    entries = array(value)[:MAX_ENTRIES]
    if not entries or not all(_is_accepted(entry) for entry in entries):
        return None
    first = table(entries[0])
    reasons = (text(table(entry).get("justification")) for entry in entries)
    reason = next(filter(None, reasons), "")
    found = {"kind": word(first.get("kind")), "justification": redact(reason) if redact else reason}
    return {key: said for key, said in found.items() if said} or {"kind": "external"}


def _is_accepted(entry: object) -> bool:
    status = table(entry).get("status")
    return isinstance(entry, dict) and (status is None or status == "accepted")


def fingerprints(result: Object) -> dict[str, str]:
    """The identities that the tool gave, by their names: those that are some."""
    found: dict[str, str] = {}
    for kind in ("partialFingerprints", "fingerprints"):
        for name, value in list(table(result.get(kind)).items())[:MAX_ENTRIES]:
            said = word(value) or word(table(value).get("value"))
            if said.lower() not in _NO_FINGERPRINTS:
                found[word(name)] = said
    return found


def fingerprint_labels(result: Object) -> tuple[str, ...]:
    """`secret`, where the tool's fingerprint is by its name that of a secret."""
    names = table(result.get("partialFingerprints"))
    return ("secret",) if any("secret" in name.lower() for name in names) else ()


def commit(result: Object) -> dict[str, str]:
    """Of a secret's fingerprints only the commit: others are hashes of the secret, or names."""
    said = word(table(result.get("partialFingerprints")).get("commitSha"))
    return {"commitSha": said} if _COMMIT.fullmatch(said) else {}


def references(result: Object, rule: Rule) -> list[str]:
    """Where to read on: the rule's page first."""
    if "hostedViewerUri" not in result and "workItemUris" not in result:
        return [rule.help_uri] if rule.help_uri else []
    uris = [word(result.get("hostedViewerUri")), *words(result.get("workItemUris"), MAX_ENTRIES)]
    return distinct(filter(None, [rule.help_uri, *uris]), MAX_ENTRIES)


def remediation(value: object) -> dict[str, str] | None:
    """The first fix: what it says, and what it would put in."""
    for fix in tables(value, 1):
        pieces = [
            text(table(replacement.get("insertedContent")).get("text"))
            for change in tables(fix.get("artifactChanges"), MAX_ENTRIES)
            for replacement in tables(change.get("replacements"), MAX_ENTRIES)
        ]
        said = written(fix.get("description"))
        code = "\n".join(filter(None, pieces))[:MAX_TEXT]
        if said or code:
            return {key: own for key, own in (("recommendation", said), ("fix_code", code)) if own}
    return None
