"""Fire times, against an oracle that looks at the clock minute by minute: every change of clocks
from 2020 to 2030 in ten zones, and whatever Hypothesis thinks of."""

import calendar
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rediver_server.errors import ApiError
from rediver_server.schedule_times import around, fires, known_zone

ZONES = [
    "Africa/Cairo",  # clocks skip midnight
    "Africa/Casablanca",  # out of and into summer time within weeks
    "America/Asuncion",
    "America/New_York",
    "America/Santiago",
    "Antarctica/Troll",  # two hours
    "Asia/Beirut",
    "Asia/Tehran",  # no more changes since 2022
    "Australia/Lord_Howe",  # half an hour
    "Europe/Berlin",
]
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RANGES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
NAMES = {
    "month": {name.upper(): n for n, name in enumerate(calendar.month_abbr) if name},
    "weekday": {name.upper(): (n + 1) % 7 for n, name in enumerate(calendar.day_abbr)},
}


def values(kind: str, field: str) -> set[int]:
    """What a field admits; Sunday is 0."""
    low, high = RANGES[kind]
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        names = NAMES.get(kind, {})
        start = low if first == "*" else names[first] if first in names else int(first)
        end = names[last] if last in names else int(last) if last else high
        if first != "*" and not last:  # 1/2 of the week is 1-6/2
            end = (6 if kind == "weekday" else high) if step else start
        end += 7 if end < start else 0  # FRI-SUN
        found |= set(range(start, end + 1, int(step or 1)))
    return {value % 7 for value in found} if kind == "weekday" else found


def matcher(cron: str) -> Callable[[datetime], bool]:
    """Whether a wall clock matches, as crontab(5) has it."""
    fields = dict(zip(RANGES, cron.split(), strict=True))
    may = {kind: values(kind, field) for kind, field in fields.items()}

    def matches(wall: datetime) -> bool:
        if wall.minute not in may["minute"] or wall.hour not in may["hour"]:
            return False
        day, weekday = wall.day in may["day"], wall.isoweekday() % 7 in may["weekday"]
        either = fields["day"] != "*" and fields["weekday"] != "*"
        return wall.month in may["month"] and (day or weekday if either else day and weekday)

    return matches


def oracle(cron: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """Every fire time after `start` and before `end`, found by watching the clock."""
    matches, hour = matcher(cron), cron.split()[1]
    follows = hour == "*" or (hour.startswith("*/") and "," not in hour)
    moment, found = start, list[datetime]()
    highest = start.astimezone(zone).replace(tzinfo=None)
    while (moment := moment + MINUTE) < end:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        fresh: list[
            datetime
        ] = []  # what the clock shows or has just skipped, and never showed before
        while highest < wall:
            highest += MINUTE
            fresh.append(highest)
        if matches(wall) if follows else any(matches(each) for each in fresh):
            found.append(moment)
    return found


def changes(zone: ZoneInfo) -> Iterator[datetime]:
    """Every moment from 2020 to 2030 at which clocks change."""

    def offset(moment: datetime) -> timedelta | None:
        return moment.astimezone(zone).utcoffset()

    hour = datetime(2020, 1, 1, tzinfo=UTC)
    while hour.year <= 2030:
        if offset(hour) != offset(hour + HOUR):
            minutes = (hour + n * MINUTE for n in range(1, 61))
            yield next(minute for minute in minutes if offset(minute) != offset(hour))
        hour += HOUR


def between(cron: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """The fire times under test; none, if it is refused because it never fires."""
    try:
        return list(takewhile(lambda fire: fire < end, fires(cron, zone, start)))
    except ApiError as fault:
        if "never fires" not in str(fault):
            raise
        return []


@pytest.mark.parametrize("name", ZONES)
def test_every_change_of_clocks_in_ten_years(name: str):
    zone = known_zone(name)
    table = [
        *("30 2 * * *", "0 0 * * *", "*/10 0-3 * * *", "15 1,2,3 * * SUN", "45 23 * * *"),
        *("0 * * * *", "30 */2 * * *", "*/20 * * * *", "59 */3 * * *", "5 */1 * * 0,6"),
    ]
    found = list(changes(zone))
    assert len(found) >= 6
    for change in found:
        start, end = change - 4 * HOUR, change + 4 * HOUR
        for cron in table:
            assert between(cron, zone, start, end) == oracle(cron, zone, start, end), (cron, change)


def shown(cron: str, name: str, after: str, count: int = 3) -> list[str]:
    """The next fire times as clocks on the wall show them."""
    zone = known_zone(name)
    start = datetime.fromisoformat(after).replace(tzinfo=zone)
    return [
        fire.astimezone(zone).strftime("%d %H:%M %z")
        for fire in islice(fires(cron, zone, start), count)
    ]


def test_at_a_fixed_hour_a_skipped_time_comes_after_the_gap_and_a_repeated_one_once():
    assert shown("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == [
        "29 03:00 +0200",
        "30 02:30 +0200",
    ]
    assert shown("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == [
        "25 02:30 +0200",
        "26 02:30 +0100",
    ]
    assert shown("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00", 1) == ["24 01:00 +0300"]


def test_every_hour_follows_elapsed_time():
    assert shown("30 * * * *", "Europe/Berlin", "2026-03-29T01:00") == [
        "29 01:30 +0100",
        "29 03:30 +0200",
        "29 04:30 +0200",
    ]
    assert shown("30 */2 * * *", "Europe/Berlin", "2026-10-25T01:00") == [
        "25 02:30 +0200",
        "25 02:30 +0100",
        "25 04:30 +0100",
    ]


def test_a_day_that_a_zone_skips_runs_once_when_it_is_over():
    assert shown("0 6,18 * * *", "Pacific/Apia", "2011-12-29T12:00") == [
        "29 18:00 -1000",
        "31 00:00 +1400",
        "31 06:00 +1400",
    ]


def part(kind: str) -> st.SearchStrategy[str]:
    low, high = RANGES[kind]
    numbers = st.integers(low, min(high, high - (kind == "weekday")))
    pair = st.lists(st.integers(low, high), min_size=2, max_size=2, unique=True).map(sorted)
    steps = st.integers(1, 70)
    spans = pair.map(lambda ends: f"{ends[0]}-{ends[1]}")
    shapes = [numbers.map(str), spans]
    shapes += [st.tuples(start, steps.map(str)).map("/".join) for start in shapes]
    if kind in NAMES:
        shapes.append(st.sampled_from([*NAMES[kind], "FEB-NOV" if kind == "month" else "FRI-SUN"]))
    if kind not in ("day", "weekday"):  # `*/2` and a full range there: dialects differ
        shapes.append(steps.map(lambda step: f"*/{step}"))
    return st.one_of(shapes)


def field(kind: str) -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), st.lists(part(kind), min_size=1, max_size=3).map(",".join))


CRON = st.tuples(*(field(kind) for kind in RANGES)).map(" ".join)
NEAR = [change for name in ZONES for change in changes(ZoneInfo(name))]


@settings(max_examples=150, deadline=None)
@given(
    CRON,
    st.sampled_from(ZONES).map(ZoneInfo),
    st.sampled_from(NEAR),
    st.integers(-2000, 1000),
)
def test_any_expression_fires_when_the_clock_says_so(
    cron: str, zone: ZoneInfo, change: datetime, minutes: int
):
    start = change + minutes * MINUTE
    while start.astimezone(zone).fold:  # the oracle must not begin in the middle of a repetition
        start -= MINUTE
    end = start + 30 * HOUR
    assert between(cron, zone, start, end) == oracle(cron, zone, start, end)


@settings(max_examples=60, deadline=None)
@given(
    CRON.filter(lambda cron: cron.split()[2] in ("*", "13")),  # whatever fires at all
    st.sampled_from(ZONES).map(ZoneInfo),
    st.sampled_from(NEAR),
    st.integers(-6000, 6000),
)
def test_now_lies_between_the_newest_fire_time_and_the_next(
    cron: str, zone: ZoneInfo, change: datetime, seconds: int
):
    now = change + timedelta(seconds=seconds)
    fire, following = around(cron, zone, now)
    assert fire <= now < following
    assert next(fires(cron, zone, fire)) == following
    assert next(fires(cron, zone, fire - timedelta(seconds=1))) == fire


@pytest.mark.parametrize(
    "cron",
    [
        *("@daily", "* * * *", "0 0 * * * *", "0 0 0 * * *", "0 0 0 1 1 * 2030"),
        *("0 0 L * *", "0 0 ? * *", "0 0 * * ?", "0 0 * * 1#2", "0 0 * * L5", "0 0 15W * *"),
        *("R 0 * * *", "H 0 * * *", "H(0-9) 0 * * *", "R/5 * * * *", "r r r r r"),
        *("60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *", "* * * 13 *"),
        *("* * * * 8", "-1 * * * *", "*/0 * * * *", "1.5 * * * *", "٣ * * * *", ", * * * *"),
        *("* * * FOO *", "* * * * FOO", "* JAN * * *", "* * * MON *", "* * * * MON-3"),
        *("5-5 * * * *", "0 0 * * 7-7", "0 0 * * 7-0", "0 0 * * MON-mon", "0 22-6 * * *"),
        *("0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 FEB *", "0 * 31 2 *"),
    ],
)
def test_what_is_no_expression_or_never_fires_is_refused(cron: str):
    with pytest.raises(ApiError) as refused:
        next(fires(cron, known_zone("UTC"), datetime(2026, 1, 1, tzinfo=UTC)))
    assert (refused.value.status, refused.value.details["field"]) == (400, "cron_expression")


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Nowhere",
        "America",
        "CEST",
        "europe/berlin",
        "../UTC",
        "/etc/passwd",
        "",
        "localtime",
    ],
)
def test_what_is_no_zone_is_refused(name: str):
    with pytest.raises(ApiError) as refused:
        known_zone(name)
    assert (refused.value.status, refused.value.details["field"]) == (400, "timezone")


def test_leap_days_and_either_of_two_days():
    assert shown("0 0 29 2 *", "UTC", "2026-01-01T00:00", 2) == ["29 00:00 +0000"] * 2
    assert shown("0 0 13 * FRI", "UTC", "2026-02-01T00:00", 3) == [
        "06 00:00 +0000",
        "13 00:00 +0000",
        "20 00:00 +0000",
    ]
