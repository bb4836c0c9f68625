"""When a cron expression fires, in UTC: five fields, checked where they are written.

croniter does the calendar. What it knows beyond the five fields (seconds, `@daily`, `L`, `W`, `#`,
`?`) is refused, as is what never fires: an agent that scans at no time must not look like one that
does.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from croniter import CroniterBadDateError, CroniterError, croniter
from pydantic import AfterValidator

_PART: Final = r"(\*|[0-9]+(-[0-9]+)?|[A-Za-z]{3}(-[A-Za-z]{3})?)(/[0-9]+)?"
_FIELD: Final = re.compile(f"{_PART}(,{_PART})*")
_RANGE: Final = re.compile(r"(\w+)-(\w+)")
_SOME_DAY: Final = datetime(2000, 1, 1, tzinfo=UTC)


def next_after(expression: str, moment: datetime) -> datetime:
    """The first time after `moment` at which a checked expression fires."""
    return croniter(expression, moment.astimezone(UTC), datetime).get_next()


def _checked(expression: str) -> str:
    fields = expression.split()
    if len(fields) != 5:
        raise ValueError(
            f"{expression!r} has not exactly five fields (minute hour day-of-month month "
            "day-of-week); write it like 30 3 * * *"
        )
    for field in fields:
        if not _FIELD.fullmatch(field):
            raise ValueError(f"{field!r} is not a list of *, a, a-b, each with a step /n")
        for low, high in _RANGE.findall(field.upper()):  # to croniter 5-5 and 7-0 are everything
            if low == high or (low.isdigit() and int(low) >= int(high)):
                raise ValueError(f"{low}-{high} does not go up; write a list, like 22-23,0-6")
    try:
        next_after(expression, _SOME_DAY)
    except CroniterBadDateError as fault:
        raise ValueError(f"{expression!r} never fires: no such month has such a day") from fault
    except CroniterError as fault:
        raise ValueError(str(fault)) from fault
    return " ".join(fields)


Cron = Annotated[str, AfterValidator(_checked)]
"""A cron expression that has been checked."""
