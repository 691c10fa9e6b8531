"""Durations, percentages, windows and periods of the day, parsed from text."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Literal, cast

MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
MAX_DURATION_DAYS = 400
MAX_DURATION_MS = MAX_DURATION_DAYS * MS["d"]
"""The longest wait the engine promises to keep."""

DURATION = r"(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?"
PERCENT = r"(\d{1,3}(?:\.\d{1,3})?)%"
DATE = r"\d{4}-\d{2}-\d{2}"
CLOCK = r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)"
_DURATION, _PERCENT, _DATE, _CLOCK = map(re.compile, (DURATION, PERCENT, DATE, CLOCK))
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_UNIT_WORDS = (
    (("s", "sec", "secs", "second", "seconds"), "s"),
    (("m", "min", "mins", "minute", "minutes"), "m"),
    (("h", "hr", "hrs", "hour", "hours"), "h"),
    (("d", "day", "days"), "d"),
    (("w", "wk", "wks", "week", "weeks"), "w"),
)
_UNITS = {word: unit for words, unit in _UNIT_WORDS for word in words}
_AMOUNT = re.compile(r"(\d{1,9}|\d{1,6}[.,]\d|an?|one)?\s*([a-zA-Z]+)(?:\s*,|\s+and\b)?\s*")
_ISO_DURATION = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_MONTHS = ("mo", "month", "months", "y", "yr", "year", "years")
_HOW_OFTEN = re.compile(r"(\d{1,4}|once|one|an?|twice)?\s*(?:x|times?)?\s*(?:/|per|every|each|in|within|an?)?\s*(.+)")
_LONGEST_GUESS = 40
"""Longest text, in characters, for which a hint guesses the meaning."""
_TIMES = {"twice": "2"}
_DURATION_FORM = "as in 90s, 15m, 1h30m, 3d, 2w"

DATE_YEARS = range(1900, 2201)
"""The years of dates in rules. In every zone the days before and after them exist too."""

CalendarUnit = Literal["day", "week", "month"]


class ShapeError(ValueError):
    """A text of the wrong shape; `hint` says what is right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Rolling:
    """(t - D, t]: open at the old end."""

    ms: int

    def __str__(self) -> str:
        return duration_text(self.ms)


@dataclass(frozen=True, slots=True)
class Calendar:
    """The user's local day, ISO week (from Monday) or month."""

    unit: CalendarUnit

    def __str__(self) -> str:
        return f"calendar {self.unit}"


Window = Rolling | Calendar


@dataclass(frozen=True, slots=True)
class DailyPeriod:
    """From one local time to another, half-open, over midnight if `to` is not later. `days` are those it begins on."""

    start: time
    end: time
    days: frozenset[int] | None
    zone: str | None

    def __str__(self) -> str:
        on = f" on {', '.join(WEEKDAYS[day][:3] for day in sorted(self.days))}" if self.days else ""
        return f"{self.start:%H:%M} to {self.end:%H:%M}{on}{_in(self.zone)}"


@dataclass(frozen=True, slots=True)
class DatePeriod:
    """Whole local days, both ends included."""

    first: date
    last: date
    zone: str | None

    def __str__(self) -> str:
        return f"{self.first} through {self.last}{_in(self.zone)}"


def _in(zone: str | None) -> str:
    return "" if zone is None else f" in {zone}"


Period = DailyPeriod | DatePeriod


@dataclass(frozen=True, slots=True)
class Schedule:
    """A local time of day on `weekdays` (0 is Monday) or, if these are None, once a month."""

    at: time
    weekdays: frozenset[int] | None
    month_day: int | None = None
    """Of the month: 1 to 28; None is its last day."""
    zone: str | None = None

    def falls_on(self, day: date) -> bool:
        """Whether there is a slot on a day."""
        if self.weekdays is not None:
            return day.weekday() in self.weekdays
        if self.month_day is not None:
            return day.day == self.month_day
        return (day + timedelta(days=1)).day == 1


def duration(text: str) -> int:
    """`90s 15m 1h30m 3d 2w` as milliseconds; raises ShapeError."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ShapeError(f"`{text[:40]}` is not a duration", _duration_hint(text))
    parts = zip(match.groups(), ("w", "d", "h", "m", "s"), strict=True)
    return sum(int(count) * MS[unit] for count, unit in parts if count)


def _duration_hint(text: str) -> str:
    """What to write instead: the intended duration, if it is clear."""
    plain = text.strip().lower()[: _LONGEST_GUESS + 1]
    if plain.isdecimal():
        return f"write its unit, as in {plain}s or {plain}m" if len(plain) < 10 else _DURATION_FORM
    if plain.split()[-1:] and plain.split()[-1].lstrip("0123456789") in _MONTHS:
        return "a duration has no months or years, which differ in length: write days, as in 30d"
    if plain.lstrip("0123456789 ") in ("ms", "milliseconds"):
        return "the shortest is a second, as in 1s"
    if plain.startswith("-"):
        return f"a duration is not negative; {_DURATION_FORM}"
    meant = duration_meant(text)
    return f"write {meant}" if meant else _DURATION_FORM


def duration_meant(text: str) -> str:
    """The duration meant by `3 days`, `1.5h`, `1 day and 2 hours` or `P3D`; empty for other texts."""
    if len(text) > _LONGEST_GUESS:
        return ""
    if (iso := _ISO_DURATION.fullmatch(text.strip())) and any(iso.groups()):
        return "".join(f"{n}{unit}" for n, unit in zip(iso.groups(), "wdhms", strict=True) if n)
    rest, ms = text.strip(), 0.0
    while rest:
        part = _AMOUNT.match(rest)
        if part is None or part[2].lower() not in _UNITS:
            return ""
        amount = (part[1] or "1").replace(",", ".")
        ms += (1 if amount in ("a", "an", "one") else float(amount)) * MS[_UNITS[part[2].lower()]]
        rest = rest[part.end() :]
    return duration_text(round(ms)) if 0 < ms <= MAX_DURATION_MS and not ms % 1000 else ""


def cap_meant(text: str) -> str:
    """The cap meant by `1/day`, `2 per 3d` or `once a week`; empty for other texts."""
    often = _HOW_OFTEN.fullmatch(text.strip().lower()) if len(text) <= _LONGEST_GUESS else None
    meant = duration_meant(often[2]) if often else ""
    if often is None or not meant:
        return ""
    times = often[1] or "1"
    return f"{{max: {times if times.isdecimal() else _TIMES.get(times, '1')}, per: {meant}}}"


def duration_text(ms: int) -> str:
    """Milliseconds as a duration is written, the largest units first."""
    parts = []
    for unit in ("w", "d", "h", "m", "s"):
        count, ms = divmod(ms, MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def percent(text: str) -> float:
    """`10%` as a number from 0 to 100; raises ShapeError."""
    match = _PERCENT.fullmatch(text)
    value = float(match[1]) if match else -1.0
    if not 0 <= value <= 100:
        raise ShapeError(f"`{text[:40]}` is not a percentage", "as in 10% or 2.5%")
    return value


def window(text: str) -> Window:
    """A rolling or a calendar window; raises ShapeError."""
    unit = text.removeprefix("calendar ")
    if unit != text:
        if unit in ("day", "week", "month"):
            return Calendar(cast(CalendarUnit, unit))
        raise ShapeError(f"`{text[:40]}` is not a window", "calendar day, calendar week or calendar month")
    try:
        ms = duration(text)
    except ShapeError as error:
        hint = f"{error.hint}, or calendar day, calendar week, calendar month"
        if text in ("day", "week", "month"):
            short = "" if text == "month" else f", or 1{text[0]} for any {MS[text[0]] // MS['h']} hours"
            hint = f"write calendar {text}{short}"
        raise ShapeError(f"`{text[:40]}` is not a window", hint) from None
    if ms == 0:
        raise ShapeError("a window of no length holds nothing", "as in 1h or 3d")
    return Rolling(ms)


def clock_time(text: str) -> time:
    """`"21:00"`; raises ShapeError."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ShapeError(f"`{text[:40]}` is not a time of day", 'as in "21:00"')
    return time(int(match[1]), int(match[2]))


def _date_problem(text: str) -> tuple[str, str]:
    """What is wrong with an invalid date, and what to write."""
    parts = [int(part) for part in text.split("-")] if _DATE.fullmatch(text) else []
    if parts and parts[0] not in DATE_YEARS:
        return f"`{text}` is not a date of a calendar", f"write a year from {DATE_YEARS[0]} to {DATE_YEARS[-1]}"
    if parts and 1 <= parts[1] <= 12 and parts[0]:
        last = monthrange(parts[0], parts[1])[1]
        return f"there is no day `{text}`", f'the last day of that month is "{text[:8]}{last}"'
    return f"`{text[:40]}` is not a date", 'as in "2026-12-24": year, month, day'


def calendar_date(text: str) -> date:
    """`"2026-12-24"`; raises ShapeError."""
    try:
        if len(text) == 10 and (found := date.fromisoformat(text)).year in DATE_YEARS:
            return found
    except ValueError:
        pass
    raise ShapeError(*_date_problem(text))


def weekday(text: str) -> int:
    """A weekday's name, whole or by three letters, as 0 for Monday to 6; raises ShapeError."""
    for number, name in enumerate(WEEKDAYS):
        if text in (name, name[:3]):
            return number
    raise ShapeError(f"`{text[:40]}` is not a weekday", "monday to sunday, or mon to sun")
