"""Logging to stderr: lines for people or one JSON document a line, without secrets, and with the id
of the command on whose behalf something was logged.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

from pythonjsonlogger.json import JsonFormatter
from typing_extensions import override

from rediver_agent.masking import mask, printable

Secrets = Callable[[], Iterable[str]]
"""Asked for each line: keys are renewed while an agent runs."""

current_command: ContextVar[str | None] = ContextVar("current_command", default=None)
"""The id of the command that is worked on here; worker threads inherit it."""

_NAMED: Final = re.compile(r"((?:cmd|local|scan|col)_[A-Za-z0-9_-]+): ")
_TEXT: Final = "%(asctime)s %(levelname)-7s %(message)s"
_JSON: Final = {"levelname": "level", "name": "logger", "message": "message"}


class _TextFormatter(logging.Formatter):
    """Lines for people. Masks after formatting, so that arguments and tracebacks are covered."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__(_TEXT)
        self._secrets = secrets

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, with the command's id where the message does not say it itself."""
        command = _command_of(record)
        if command is not None and command not in record.message:
            record.message = f"{command}: {record.message}"
        return super().formatMessage(record)

    @override
    def format(self, record: logging.LogRecord) -> str:
        text = mask(super().format(record), *self._secrets())
        return "\n".join(map(printable, text.split("\n")))


class _JsonFormatter(JsonFormatter):
    """One document a line. Masks each text before it is escaped, which would hide it."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__([*_JSON], rename_fields=_JSON)  # pyright: ignore[reportUnknownMemberType] - the library types its callbacks by halves
        self._secrets = secrets

    @override
    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Time, level, logger, message; the command's id and `exc_info` where there are any."""
        moment = datetime.fromtimestamp(record.created, UTC)
        log_data["time"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        super().add_fields(log_data, record, message_dict)
        if (command := _command_of(record)) is not None:
            log_data["command_id"] = command

    @override
    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        secrets = tuple(self._secrets())
        return {key: _cleaned(value, secrets) for key, value in log_data.items()}


def set_up_logging(
    *,
    secrets: Secrets = tuple,
    verbose: bool = False,
    log_format: Literal["text", "json"] = "text",
) -> None:
    """Log to stderr, from INFO on, or from DEBUG on when `verbose`. Called once, by the CLI."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = _JsonFormatter(secrets) if log_format == "json" else _TextFormatter(secrets)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler])
    set_level(verbose=verbose)
    logging.captureWarnings(capture=True)  # else they are lines of another shape
    # Each request would be a line; the loops say what matters themselves.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)


def set_level(*, verbose: bool) -> None:
    """Log from DEBUG on when `verbose`, else from INFO on. May be changed at any time."""
    logging.getLogger().setLevel(logging.DEBUG if verbose else logging.INFO)


def _command_of(record: logging.LogRecord) -> str | None:
    """Whom a line is about: a plugin's log carries the id, most else is logged below the command.

    The loops, which have many in hand, begin a line with the id.
    """
    known = getattr(record, "command_id", None) or current_command.get()
    if known is None and (named := _NAMED.match(record.getMessage())):
        return named[1]
    return known


def _cleaned(value: Any, secrets: tuple[str, ...]) -> Any:
    """`value` without secrets, at any depth. What JSON does not know becomes its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        items = cast("Mapping[object, Any]", value).items()
        return {mask(str(key), *secrets): _cleaned(item, secrets) for key, item in items}
    if isinstance(value, list | tuple):
        return [_cleaned(item, secrets) for item in cast("list[Any]", value)]
    return mask(str(value), *secrets)
