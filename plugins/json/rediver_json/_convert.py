"""What becomes of the values that a mapping's path leads to, field by field.

Each converter takes everything that was found there, never empty, and gives what the contract takes
in that field, or None for what is of no use in it. Texts are cut to the contract's limits.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, cast
from urllib.parse import quote

from rediver_agent import MASK, mask

MAX_LINE: Final = 1000  # characters of a text of one line
MAX_TEXT: Final = 100_000
MAX_LIST: Final = 1000

Converter = Callable[[Sequence[Any]], Any]

_CVE: Final = re.compile(r"\bCVE-\d{4}-\d{4,19}\b", re.IGNORECASE)
_CWE: Final = re.compile(r"^\s*(?:CWE[-_: ]?)?0*([1-9]\d{0,4})\b(?!\.)", re.IGNORECASE)
_NO_TEXT: Final = re.compile("[\x00\ud800-\udfff]")  # the contract takes neither
_CONFIDENCE: Final = {"high": 90, "medium": 60, "low": 30}


def flat(found: Sequence[Any]) -> list[Any]:
    """What is there: without null, without empty texts, with lists opened once."""
    opened: list[Any] = []
    for value in found:
        opened.extend(cast("list[Any]", value) if isinstance(value, list) else [value])
    return [value for value in opened if value is not None and value != ""]


def texts(found: Sequence[Any]) -> list[str] | None:
    """The texts and numbers, as texts; None where there is none that shows."""
    said = [_text(value) for value in found]
    return [text[:MAX_TEXT] for text in said if text.strip()][:MAX_LIST] or None


def line(found: Sequence[Any]) -> str | None:
    """The first text, in one line."""
    said = texts(found)
    return " ".join(said[0].split())[:MAX_LINE] if said else None


def lines(found: Sequence[Any]) -> str | None:
    """All texts, each a line or more."""
    said = texts(found)
    return "\n".join(text.rstrip("\r\n") for text in said)[:MAX_TEXT] if said else None


def path(found: Sequence[Any]) -> str | None:
    """The first text, as it is."""
    said = texts(found)
    return said[0] if said else None


def number(found: Sequence[Any]) -> float | None:
    """The first value, if it is a number or a text that is one."""
    value = found[0]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        plain = float(value)
    except (ValueError, OverflowError):
        return None
    return plain if isfinite(plain) else None


def whole(found: Sequence[Any]) -> int | None:
    """A number of a line or a column. It is not moved to begin with 1 here."""
    plain = number(found)
    return int(plain) if plain is not None and 0 <= plain < 2**31 else None


def score(found: Sequence[Any]) -> float | None:
    """A CVSS score."""
    plain = number(found)
    return plain if plain is not None and 0 <= plain <= 10 else None


def confidence(found: Sequence[Any]) -> int | None:
    """From 0 to 100."""
    word = found[0].strip().lower() if isinstance(found[0], str) else ""
    if word in _CONFIDENCE:
        return _CONFIDENCE[word]
    plain = number(found)
    return round(plain) if plain is not None and 0 <= plain <= 100 else None


def cve(found: Sequence[Any]) -> str | None:
    """The first CVE number."""
    numbers = (_CVE.search(text) for text in texts(found) or ())
    return next((match[0].upper() for match in numbers if match), None)


def cwes(found: Sequence[Any]) -> list[str] | None:
    """`CWE-79` for each text or number that begins with one, each once."""
    numbers = (_CWE.match(text) for text in texts(found) or ())
    return list(dict.fromkeys(f"CWE-{match[1]}" for match in numbers if match)) or None


def anything(found: Sequence[Any]) -> Any:
    """The value as it is, or the list of them."""
    plain = [_clean(value) for value in found]
    return plain[0] if len(plain) == 1 else plain


CONVERTERS: Final[Mapping[str, Converter]] = {
    "title": line,
    "rule_id": line,
    "rule_name": line,
    "message": lines,
    "description": lines,
    "confidence": confidence,
    "location.path": path,
    "location.start_line": whole,
    "location.end_line": whole,
    "location.start_column": whole,
    "location.end_column": whole,
    "location.snippet": lines,
    "vulnerability.cve_id": cve,
    "vulnerability.cwe_ids": cwes,
    "vulnerability.owasp_ids": texts,
    "vulnerability.cvss_score": score,
    "vulnerability.fixed_versions": texts,
    "remediation.recommendation": lines,
    "remediation.fix_code": lines,
    "remediation.references": texts,
    "references": texts,
    "tags": texts,
}
"""By field; what is not named is a line."""


def converter(field: str) -> Converter:
    """Of a field by its dotted name."""
    return anything if field.startswith("properties.") else CONVERTERS.get(field, line)


def spellings(secrets: Sequence[Any]) -> tuple[str, ...]:
    """Every way in which a secret may be written elsewhere in its entry."""
    found: set[str] = set()
    for secret in filter(str.strip, map(_text, secrets)):
        bare = secret.strip()
        found |= {secret, bare, " ".join(secret.split()), quote(bare, safe="")}
        found |= {json.dumps(bare)[1:-1], json.dumps(bare, ensure_ascii=False)[1:-1]}
        found |= {line.strip() for line in bare.splitlines() if line.strip()}
    return tuple(found)


def masked(value: Any, secrets: tuple[str, ...]) -> Any:
    """A value of JSON without the secrets, at any depth."""
    if isinstance(value, str):
        return mask(value, *secrets)
    if isinstance(value, list):
        return [masked(each, secrets) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        said = cast("dict[str, Any]", value).items()
        return {mask(key, *secrets): masked(each, secrets) for key, each in said}
    return MASK if _text(value) in secrets else value


def _text(value: Any) -> str:
    """A text for a text, a number or a boolean; "" for what is none of them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if abs(value) < 10**300 else ""  # Python refuses to write longer ones
    if isinstance(value, float):
        return repr(value)
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else ""


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)[:MAX_TEXT]
    if isinstance(value, list):
        return [_clean(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        said = cast("dict[str, Any]", value).items()
        return {_text(key)[:MAX_LINE]: _clean(each) for key, each in said}
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
