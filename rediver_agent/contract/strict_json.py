"""JSON as the contract has it: what the standard forbids, and what another reader could not take.

NaN, bad UTF-8, lone surrogates, NUL in a string, numbers that overflow a double and nesting past
100 are refused by whoever reads a request.
"""

import sys
from collections.abc import Iterator
from typing import Any, Final

from pydantic_core import from_json

MAX_NESTING: Final = 100
_LARGEST: Final = sys.float_info.max


def decode(text: bytes) -> Any:
    """The document of a body. Raises ValueError with a sentence that says what is wrong."""
    try:
        document = from_json(text, allow_inf_nan=False)
    except ValueError as fault:
        raise ValueError(f"the body is not JSON: {fault}") from fault
    level, depth = [document], 0
    while level:
        depth += any(isinstance(value, dict | list) for value in level)
        if depth > MAX_NESTING:
            raise ValueError(f"the body is nested more than {MAX_NESTING} deep")
        level = [child for value in level for child in _children(value)]
    return document


def _children(value: Any) -> Iterator[Any]:
    """What a value holds, keys included, once the value itself is found sound."""
    if isinstance(value, dict):
        yield from value.keys()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - JSON
        yield from value.values()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - JSON
    elif isinstance(value, list):
        yield from value  # pyright: ignore[reportUnknownVariableType] - JSON
    elif isinstance(value, str):
        if "\0" in value:
            raise ValueError("a string has a NUL character")
    elif isinstance(value, int | float) and not -_LARGEST <= value <= _LARGEST:
        raise ValueError("a number overflows a double")
