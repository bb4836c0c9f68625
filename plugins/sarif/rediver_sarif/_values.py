"""Values of a report as the types they should be: a reader of hostile JSON never meets another.

What is of the wrong type counts as absent. Texts come without what the wire and a terminal cannot
take (NUL, control characters), and no longer than asked. Called some twenty times for each result:
the shortest way through is the usual one.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

Object = Mapping[str, Any]

MAX_TEXT: Final = 100_000  # the contract's, of a message or a snippet
MAX_WORD: Final = 1000  # of an id, a name, a tag, an address
MAX_NUMBER: Final = 2**31 - 1  # of a line or a column: what every database takes

_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NOTHING: Final[Object] = {}


def text(value: Any, limit: int = MAX_TEXT) -> str:
    """The text, or "" for what is none."""
    if not isinstance(value, str):
        return ""
    if len(value) > limit:
        value = value[:limit]
    if value.isprintable() or value.replace("\n", "").isprintable():
        return value
    return _UNPRINTABLE.sub("\ufffd", value)


def word(value: Any) -> str:
    """A short text on one line: an id, a name, a tag."""
    if not isinstance(value, str):
        return ""
    if len(value) > MAX_WORD:
        value = value[:MAX_WORD]
    return value.strip() if value.isprintable() else " ".join(text(value).split())


def table(value: Any) -> Object:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else _NOTHING  # pyright: ignore[reportUnknownVariableType] - JSON's keys are texts


def array(value: Any) -> list[Any]:
    """The array, or an empty one."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType] - of anything


def tables(value: Any, limit: int) -> list[Object]:
    """The objects of an array, up to `limit` of them."""
    return [item for item in array(value)[:limit] if isinstance(item, dict)]


def words(value: Any, limit: int) -> list[str]:
    """The texts of an array, or the one text, up to `limit` of them."""
    found = array(value)[:limit] if isinstance(value, list) else [value]
    return [said for item in found if (said := word(item))]


def index(value: Any) -> int | None:
    """A place in an array; None for what is none (-1 stands for "absent" in SARIF)."""
    return value if type(value) is int and 0 <= value <= MAX_NUMBER else None


def count(value: Any) -> int | None:
    """A line or a column, from 1."""
    if type(value) is int:
        return value if 1 <= value <= MAX_NUMBER else None
    return count(int(value)) if type(value) is float and value.is_integer() else None


def score(value: Any) -> float | None:
    """A CVSS score, which tools write as a number or as a text; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number <= 10 else None


def distinct(values: Iterable[str], limit: int) -> list[str]:
    """The values, each once, in their order."""
    return list(dict.fromkeys(values))[:limit]


def bag(value: Any, depth: int = 4) -> Any:
    """A property bag with its texts, its counts and its nesting cut to what is worth keeping."""
    if isinstance(value, str):
        return text(value, MAX_WORD)
    if isinstance(value, dict):
        pairs = list(table(value).items())[: 50 if depth else 0]
        return {word(key): bag(item, depth - 1) for key, item in pairs}
    if isinstance(value, list):
        return [bag(item, depth - 1) for item in array(value)[: 50 if depth else 0]]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)  # of less than a thousand digits, or it would not have been read
    return value
