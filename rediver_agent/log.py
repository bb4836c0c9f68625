"""Logging: one format, to stderr, and a filter for secrets and escape sequences."""

import logging
import sys
from collections.abc import Iterable

from typing_extensions import override

from rediver_agent.masking import mask, printable

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class _MaskingFormatter(logging.Formatter):
    """Masks after formatting, so that arguments and tracebacks are covered too."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(_FORMAT)
        self._secrets = tuple(secrets)

    @override
    def format(self, record: logging.LogRecord) -> str:
        text = mask(super().format(record), *self._secrets)
        return "\n".join(map(printable, text.split("\n")))


def set_up_logging(*, secrets: Iterable[str] = (), verbose: bool = False) -> None:
    """Log to stderr, from INFO on, or from DEBUG on when `verbose`. Called once, by the CLI."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MaskingFormatter(secrets))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    # Each request would be a line; the loops say what matters themselves.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
