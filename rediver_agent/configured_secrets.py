"""Finds the secrets in what an operator wrote, for the masks of logs, results and errors."""

import re
from collections.abc import Iterator
from typing import Final

from pydantic import JsonValue

LEAST_SECRET: Final = 6  # characters; masking shorter words would blacken what is none
_SECRET_NAME: Final = re.compile(
    r"token|secret|passw|passphrase|api_?key|private_?key|credential|authorization|(^|_)pat$",
    re.IGNORECASE,
)
_IN_AN_ADDRESS: Final = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")


def secrets_in(value: JsonValue) -> Iterator[str]:
    """The texts below keys that sound like secrets, and passwords in addresses, at any depth."""
    if isinstance(value, str):
        yield from (word for word in _IN_AN_ADDRESS.findall(value) if len(word) >= LEAST_SECRET)
    elif isinstance(value, list):
        for item in value:
            yield from secrets_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from (_texts if _SECRET_NAME.search(name) else secrets_in)(item)


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        # `Bearer abc…` is one, and so is its last word alone.
        words = (value, *value.split()[-1:])
        yield from (word for word in words if len(word) >= LEAST_SECRET)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
