"""What a text loses before it leaves: every secret, for one mark whatever its length, and whatever
would steer a terminal.
"""

from typing import Final

MASK: Final = "***"


def mask(text: str, *secrets: str) -> str:
    """`text` with every occurrence of every secret replaced by the mark, longest first."""
    for secret in sorted({value for value in secrets if value}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def printable(text: str) -> str:
    """`text` in one line, without control and format characters: a scanned file's name may hold
    escape sequences, or turn the direction of reading.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
