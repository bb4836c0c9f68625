"""Keeps secrets out of what leaves: one mark that stands for any secret, whatever its length."""

from typing import Final

MASK: Final = "***"


def mask(text: str, *secrets: str) -> str:
    """`text` with every occurrence of every secret replaced by the mark, longest first."""
    for secret in sorted({value for value in secrets if value}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
