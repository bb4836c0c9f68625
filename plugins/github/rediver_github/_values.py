"""Values of GitHub's documents, whatever is in their place: null, another kind, or the text None
that some exports write for null. What is not understood counts as not there.
"""

from collections.abc import Mapping
from typing import Any, cast

Object = Mapping[str, Any]


def text(value: object) -> str:
    """A text, without blank space around it; with `?` for what no file could hold."""
    known = value.strip() if isinstance(value, str) and value != "None" else ""
    return known.encode(errors="replace").decode()


def texts(value: object) -> list[str]:
    """The texts of a list, each once."""
    found = cast("list[object]", value) if isinstance(value, list) else []
    return list(dict.fromkeys(word for item in found if (word := text(item))))


def table(value: object) -> Object:
    """An object."""
    return cast("Object", value) if isinstance(value, Mapping) else {}


def objects(value: object) -> list[Object]:
    """The objects of a list."""
    found = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Object", item) for item in found if isinstance(item, Mapping)]


def number(value: object) -> int | None:
    """The number of an alert, or a line or column: from 1."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
