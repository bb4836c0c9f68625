"""The parts of a finding that need nothing but the result, its rule and the redactor of secrets."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from rediver_sarif._message import linked, without_links, written
from rediver_sarif._rule import Rule
from rediver_sarif._values import (
    MAX_TEXT,
    array,
    count,
    distinct,
    index,
    table,
    tables,
    text,
    word,
    words,
)

MAX_ENTRIES: Final = 50
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NO_FINGERPRINT: Final = "requires login"  # semgrep's, logged out

_SHORT: Final = 100
_name: Final = lru_cache(256)(word)  # of a kind of fingerprint: a report has few

Object = Mapping[str, Any]
Redact = Callable[[str], str]


def title(rule: Rule, message: str) -> str:
    """The rule's own headline, if it is more than its id; else the message's first line."""
    said = rule.headline or word(without_links(message.strip().partition("\n")[0]))
    return said or rule.name or rule.title


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
    return identities(table(result.get("partialFingerprints")), table(result.get("fingerprints")))


def identities(*given: Object) -> dict[str, str]:
    """What these give: the last one where they give the same."""
    found: dict[str, str] = {}
    for names in given:
        for name, value in islice(names.items(), MAX_ENTRIES):
            said = word(value) or word(table(value).get("value"))
            if said and (len(said) != len(_NO_FINGERPRINT) or said.lower() != _NO_FINGERPRINT):
                found[_name(name) if len(name) < _SHORT else word(name)] = said
    return found


def is_of_a_secret(names: Iterable[str]) -> bool:
    """Whether the tool's partial fingerprint is by its name that of a secret."""
    return any("secret" in name.lower() for name in names)


def commit(result: Object) -> dict[str, str]:
    """Of a secret's fingerprints only the commit: others are hashes of the secret, or names."""
    said = word(table(result.get("partialFingerprints")).get("commitSha"))
    return {"commitSha": said} if _COMMIT.fullmatch(said) else {}


def references(result: Object, rule: Rule, message: str) -> Sequence[str]:
    """Where to read on: the rule's page first."""
    found = linked(message, MAX_ENTRIES) if "](http" in message else []
    if "hostedViewerUri" in result or "workItemUris" in result:
        uris = [
            word(result.get("hostedViewerUri")),
            *words(result.get("workItemUris"), MAX_ENTRIES),
        ]
        found += filter(None, uris)
    return distinct([*rule.links, *found], MAX_ENTRIES) if found else rule.links


def remediation(value: object) -> dict[str, str] | None:
    """The first fix: what it says, and what it would put in; if nothing, what it would take out."""
    for fix in tables(value, 1):
        changes = [
            (change, replacement)
            for change in tables(fix.get("artifactChanges"), MAX_ENTRIES)
            for replacement in tables(change.get("replacements"), MAX_ENTRIES)
        ]
        pieces = (text(table(new.get("insertedContent")).get("text")) for _, new in changes)
        code = "\n".join(filter(None, pieces))[:MAX_TEXT]
        said = written(fix.get("description")) or ("" if code else _deletion(changes))
        if said or code:
            return {key: own for key, own in (("recommendation", said), ("fix_code", code)) if own}
    return None


def _deletion(changes: list[tuple[Object, Object]]) -> str:
    for change, replacement in changes[:1]:
        region = table(replacement.get("deletedRegion"))
        uri = word(table(change.get("artifactLocation")).get("uri"))
        line, offset = count(region.get("startLine")), index(region.get("charOffset"))
        if line is not None or offset is not None:
            place = f"line {line}" if line is not None else f"offset {offset}"
            return f"Delete the text at {place} of {uri or 'the file'}."
    return ""
