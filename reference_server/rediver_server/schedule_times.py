"""When a cron expression fires in a time zone. Pure: the moment asked about is a parameter.

croniter does the calendar, on wall clocks; what those mean where they change is said here. At fixed
hours a time that clocks skip comes at the first moment after the gap, and one that they repeat
comes once, the first time. Where the hour is `*` or `*/n`, every moment counts whose clock matches.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from croniter import CroniterBadDateError, CroniterError, croniter

from rediver_server.errors import invalid

_PART: Final = r"(\*|[0-9]+(-[0-9]+)?|[A-Za-z]{3}(-[A-Za-z]{3})?)(/[0-9]+)?"
_FIELD: Final = re.compile(f"{_PART}(,{_PART})*")  # croniter knows more: L W # ? H R
_RANGE: Final = re.compile(r"(\w+)-(\w+)")
_EVERY_HOUR: Final = re.compile(r"\*(/[0-9]+)?")
_MINUTE: Final = timedelta(minutes=1)


def known_zone(name: str) -> ZoneInfo:
    """The zone of that IANA name. Raises 400."""
    if name == "localtime" or name not in available_timezones():  # `localtime` is each host's own
        raise invalid("timezone", f"{name} is no IANA time zone, write it like Europe/Berlin")
    return ZoneInfo(name)


def fires(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The fire times after a moment, in UTC, without end. Raises 400 if there are none."""
    fields, here = _checked(cron), after.astimezone(zone)
    elapsing = _EVERY_HOUR.fullmatch(fields[1]) is not None
    # How far clocks are set back around here: what they will show once more lies behind them.
    repeated = here.replace(fold=1).astimezone(UTC) - here.replace(fold=0).astimezone(UTC)
    waiting: list[datetime] = []  # second passes, until the first ones before them are over
    try:
        walls = croniter(" ".join(fields), here.replace(tzinfo=None) - repeated, datetime)
        while True:
            wall: datetime = walls.get_next()
            moments = _moments(wall, zone)
            while not (moments or elapsing):
                moments = _moments(wall := wall + _MINUTE, zone)
            for moment in moments if elapsing else moments[:1]:
                heappush(waiting, moment)
            while moments and waiting and waiting[0] <= moments[0]:
                if (fire := heappop(waiting)) > after:
                    yield (after := fire)
    except CroniterBadDateError as fault:
        raise invalid("cron_expression", "it never fires: no such month has such a day") from fault
    except CroniterError as fault:
        raise invalid("cron_expression", str(fault)) from fault


def around(cron: str, zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    """The newest fire time that has come by `now`, and the one after it."""
    back = _MINUTE
    while next(fires(cron, zone, now - back)) > now:
        back *= 2
    pairs = pairwise(fires(cron, zone, now - back))
    return next((fire, following) for fire, following in pairs if following > now)


def _checked(cron: str) -> list[str]:
    fields = cron.split()
    if len(fields) != 5:
        reason = "give exactly five fields: minute hour day-of-month month day-of-week"
        raise invalid("cron_expression", reason)
    for field in fields:
        if not _FIELD.fullmatch(field):
            reason = f"{field} is not a list of *, a, a-b, each with a step /n if you like"
            raise invalid("cron_expression", reason)
        for low, high in _RANGE.findall(field.upper()):  # to croniter 5-5 and 7-0 are everything
            if low == high or (low.isdigit() and int(low) >= int(high)):
                reason = f"{low}-{high} does not go up: write a list, like 22-23,0-6"
                raise invalid("cron_expression", reason)
    return fields


def _moments(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """When clocks show `wall`: never, once or twice."""
    passes = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(each for each in passes if each.astimezone(zone).replace(tzinfo=None) == wall)
