"""Dates of profiles, and the moments that lie so long before or after them, once or every year."""

import re
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from triggers.cel_runtime import EvaluationError, as_time
from triggers.cel_time import parse_timestamp
from triggers.localtime import first_reading_from, reading
from triggers.rule import Anniversary
from triggers.shapes import MS

YEARS = (1900, 2200)
"""What a date may lie between: beyond, it is a mistake, and clocks have no calendar."""
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_A_LEAP_YEAR = 2000
_NS_A_MS = 1_000_000
_REACH_YEARS = 2
"""Over how many new years an offset of at most 400 days can reach."""


class LocalDate(NamedTuple):
    """A local date: written as one, or what a clock shows at a timestamp, which is then kept with it."""

    year: int
    month: int
    day: int
    clock: time = time()
    ms: int | None = None

    def in_year(self, year: int) -> date:
        """The same date of a year: 29 February is the 28th where the year has none."""
        if (self.month, self.day) == (2, 29):
            return date(year, 3, 1) - timedelta(days=1)
        return date(year, self.month, self.day)

    def instant(self, zone: ZoneInfo, year: int) -> int:
        """The timestamp in its own year, and in others the same reading; a date is its first instant."""
        if self.ms is not None and year == self.year:
            return self.ms
        return first_reading_from(zone, datetime.combine(self.in_year(year), self.clock))


def local_date(value: object, zone: ZoneInfo) -> LocalDate | None:
    """A value as JSON has it as a local date: `2026-06-12`, or an RFC 3339 text with an offset; None for null and "".

    29 February may be written of any year, for that is how birthdays are stored. Raises EvaluationError.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise EvaluationError("a date is a text: YYYY-MM-DD, or RFC 3339 with an offset")
    match = _DATE.fullmatch(value)
    if match is None:
        ms = _timestamp_ms(value)
        wall = reading(zone, ms)
        return LocalDate(wall.year, wall.month, wall.day, wall.time(), ms)
    year, month, day = map(int, match.groups())
    _require_year(year)
    try:
        _ = date(_A_LEAP_YEAR if (month, day) == (2, 29) else year, month, day)
    except ValueError:
        raise EvaluationError("no date of the calendar") from None
    return LocalDate(year, month, day)


def _timestamp_ms(text: str) -> int:
    ms = parse_timestamp(text) // _NS_A_MS
    _require_year(as_time(ms).year)
    return ms


def _require_year(year: int) -> None:
    if not YEARS[0] <= year <= YEARS[1]:
        raise EvaluationError(f"a date outside of the years {YEARS[0]} to {YEARS[1]}")


def moment_after(source: Anniversary, target: LocalDate, zone: ZoneInfo, ms: int) -> tuple[int, date] | None:
    """The source's first moment strictly later than an instant, with its local date; None where there is none.

    A yearly one begins with the date itself: no anniversary comes before it.
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
