"""Dates in profiles, and moments relative to them, once or every year."""

import re
from datetime import date, datetime, time, timedelta
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

from schemas.vocabulary import ProblemCause
from triggers.cel.runtime import EvaluationError, as_time
from triggers.cel.time import parse_timestamp, timestamp_text
from triggers.cel.values import Timestamp
from triggers.measures.local_time import first_reading_from, reading
from triggers.measures.shapes import MS
from triggers.rules.rule import Anniversary

YEARS = (1900, 2200)
"""The range of years. A date outside it is a mistake, and local times are not defined there."""
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_MIDNIGHT = re.compile(r"(\d{4})-(\d{2})-(\d{2})[Tt]00:00:00(?:\.0+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_A_LEAP_YEAR = 2000
_NS_A_MS = 1_000_000
_DAY_S = 86_400
_NEAREST_S = 1_000_000
"""Up to 12 January 1970: a year, an age or a number of days."""
_FARTHEST_S = 10_000_000_000
"""The year 2286; 1990 in milliseconds is sixty times that."""
_REACH_YEARS = 2
"""How many ends of years an offset of at most 400 days can cross."""


class LocalDate(NamedTuple):
    """A local date: either written as a date, or the local date and time of a timestamp, which is kept in `ms`."""

    year: int
    month: int
    day: int
    clock: time = time()
    ms: int | None = None

    def in_year(self, year: int) -> date:
        """The same date in a year. 29 February becomes the 28th in a year without one."""
        if (self.month, self.day) == (2, 29):
            return date(year, 3, 1) - timedelta(days=1)
        return date(year, self.month, self.day)

    def instant(self, zone: ZoneInfo, year: int) -> int:
        """The timestamp in its own year, and the same local time in other years. A date is the day's first instant."""
        if self.ms is not None and year == self.year:
            return self.ms
        return first_reading_from(zone, datetime.combine(self.in_year(year), self.clock))


class UnreadableDate(EvaluationError):
    """A value that is not a date. `cause` is counted; the message says what to write."""

    def __init__(self, cause: ProblemCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def local_date(value: object, zone: ZoneInfo, *, whole_days: bool = False) -> LocalDate | None:
    """A JSON value as a local date; None for null and "". Raises UnreadableDate.

    `2026-06-12` is that day in the user's zone, whatever that is. 29 February is accepted in any year, because
    birthdays are stored so. An RFC 3339 text with an offset is an instant, and so is a number: seconds since 1970-01-01
    in UTC. With `whole_days`, an instant written as midnight is the day as written: programs without a date type write
    dates so, and as an instant it would be the day before in zones to the west.
    """
    if value is None or value == "":
        return None
    if value.__class__ in (int, float):
        text = timestamp_text(_seconds(cast(float, value)))
    elif isinstance(value, str):
        text = value
    else:
        raise _not_a_date()
    if (match := _DATE.fullmatch(text)) is not None:
        return _day(*map(int, match.groups()))
    if whole_days and (match := _MIDNIGHT.fullmatch(text)) is not None:
        _ = _timestamp_ms(text)
        return _day(*map(int, match.groups()))
    ms = _timestamp_ms(text)
    wall = reading(zone, ms)
    return LocalDate(wall.year, wall.month, wall.day, wall.time(), ms)


def _day(year: int, month: int, day: int) -> LocalDate:
    _require_year(year)
    try:
        _ = date(_A_LEAP_YEAR if (month, day) == (2, 29) else year, month, day)
    except ValueError:
        raise UnreadableDate(ProblemCause.NO_SUCH_DAY, "a date that does not exist") from None
    return LocalDate(year, month, day)


def _timestamp_ms(text: str) -> int:
    try:
        ms = parse_timestamp(text) // _NS_A_MS
    except EvaluationError:
        raise _not_a_date() from None
    _require_year(as_time(ms).year)
    return ms


def _not_a_date() -> UnreadableDate:
    return UnreadableDate(
        ProblemCause.NOT_A_DATE,
        "not a date: write 1990-05-03, or a time with its offset as in 1990-05-03T08:00:00Z, or seconds since 1970",
    )


def _seconds(number: float) -> Timestamp:
    """Seconds since the epoch.

    Rejects a number that is more likely milliseconds, a year, a count of days or a date in digits: as seconds it would
    be a date that nobody means.
    """
    far = not abs(number) < _FARTHEST_S  # nor not-a-number
    if far or number == 0 or (number % _DAY_S and (abs(number) < _NEAREST_S or _spells_a_day(number))):
        raise UnreadableDate(
            ProblemCause.NUMBER_OUT_OF_RANGE,
            "a number that is hardly seconds since 1970: divide milliseconds by 1000, write others as 1990-05-03",
        )
    return Timestamp(round(number * 1000) * _NS_A_MS)


def _spells_a_day(number: float) -> bool:
    """Whether the digits are those of a date, as in 19900503."""
    year, month_day = divmod(int(number), 10_000)
    if not YEARS[0] <= year <= YEARS[1]:
        return False
    try:
        return bool(date(year, *divmod(month_day, 100)))
    except ValueError:
        return False


def _require_year(year: int) -> None:
    if not YEARS[0] <= year <= YEARS[1]:
        raise UnreadableDate(ProblemCause.YEAR_OUT_OF_RANGE, f"a date outside of the years {YEARS[0]} to {YEARS[1]}")


def moment_after(source: Anniversary, target: LocalDate, zone: ZoneInfo, ms: int) -> tuple[int, date] | None:
    """The source's first moment strictly after an instant, with its local date; None if there is none.

    A yearly source begins with the date itself: there is no anniversary before it.
    """
    years = range(target.year, target.year + 1)
    if source.yearly:
        now = reading(zone, ms).year
        years = range(max(target.year, now - _REACH_YEARS), max(target.year, now) + _REACH_YEARS + 2)
    moments = (_moment(source, target, zone, year) for year in years)
    return next((found for found in moments if found[0] > ms), None)


def _moment(source: Anniversary, target: LocalDate, zone: ZoneInfo, year: int) -> tuple[int, date]:
    if source.at is not None:
        day = target.in_year(year) + timedelta(days=source.offset_ms // MS["d"])
        return first_reading_from(zone, datetime.combine(day, source.at)), day
    at = target.instant(zone, year) + source.offset_ms
    return at, reading(zone, at).date()
