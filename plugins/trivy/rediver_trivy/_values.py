"""Reading values of a report that may be anything: what is not of the type that is meant is absent.

A finding is worth more than each of its details, so an odd detail costs no finding.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

MAX_TEXT: Final = 20_000
MAX_WORD: Final = 1000
MAX_ENTRIES: Final = 200
_MAX_LINE: Final = 2**31 - 1  # what databases hold
_MAX_SCORE: Final = 10.0


class Unreadable(Exception):
    """An entry that lacks what makes it a finding."""


Object = Mapping[str, Any]
_NOTHING: Final[Object] = {}
_STR: Final = {str}


def table(value: object) -> Object:
    """An object; an empty one for anything else."""
    return cast("Object", value) if isinstance(value, dict) else _NOTHING


def required(entry: Object, key: str) -> str:
    """A text that an entry is nothing without. Raises `Unreadable`."""
    if not (value := text(entry.get(key))):
        raise Unreadable(f"it has no {key}")
    return value


def array(value: object) -> list[Any]:
    """A list, of bounded length; an empty one for anything else."""
    return cast("list[Any]", value[:MAX_ENTRIES]) if isinstance(value, list) else []


def text(value: object, most: int = MAX_WORD) -> str:
    """A text of bounded length; "" for anything else."""
    return value[:most] if isinstance(value, str) else ""


def texts(value: object) -> list[str]:
    """The texts of a list, as they are where they are all texts."""
    found = array(value)
    if found and set(map(type, found)) != _STR:
        found = [each for each in found if isinstance(each, str)]
    return found


def references(first: str, known: list[str]) -> list[str]:
    """Addresses, the first one once."""
    return [first, *known] if first and first not in known else known


def line(value: object) -> int | None:
    """The number of a line, from 1 on."""
    return value if type(value) is int and 0 < value <= _MAX_LINE else None


def score(value: object) -> float | None:
    """A CVSS score above 0: sources write 0 for one that they do not have."""
    if type(value) not in (int, float):  # not a bool
        return None
    number = cast("float", value)
    return float(number) if 0 < number <= _MAX_SCORE else None
