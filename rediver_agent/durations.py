"""Durations as people write them in YAML: `30s`, `5m`, `1h30m`, `7d`, or a number of seconds."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST: Final = timedelta(days=36_525)  # a time that far away is still a date
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> timedelta:
    """`1h30m` as a timedelta. Raises `ValueError` for what is no duration, or a negative one."""
    if isinstance(value, timedelta):
        return value
    text = str(value).strip()
    try:
        parsed = _parsed(value, text)
    except OverflowError as fault:
        raise ValueError(f"{text!r} is longer than can be counted") from fault
    if parsed > LONGEST:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return parsed


def _parsed(value: object, text: str) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return timedelta(seconds=value)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration; write it like 30s, 5m or 1h30m")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def format_duration(value: timedelta) -> str:
    """The shortest spelling that `parse_duration` reads back."""
    seconds = value.total_seconds()
    text = ""
    for unit in ("d", "h", "m"):
        count, seconds = divmod(seconds, _UNITS[unit])
        text += f"{int(count)}{unit}" if count else ""
    return text + (f"{seconds:g}s" if seconds or not text else "")


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("it must be more than 0")
    return value


Duration = Annotated[
    timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)
]
Interval = Annotated[Duration, AfterValidator(_positive)]  # of a loop, or to wait for a reply
