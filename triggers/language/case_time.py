"""Times of cases: `"10:00"`, `"+3d 10:00"`, `"2026-03-29 01:30"`, each local to the user."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from triggers.measures.local_time import instant, reading
from triggers.measures.shapes import CLOCK, DATE

FIRST_YEAR, LAST_YEAR = 1970, 2200
"""The years of events in cases and logs: with the longest waits on either side, calendars still have them."""

_EXACT = rf"{CLOCK}(?::(?P<second>[0-5]\d)(?:\.(?P<milli>\d{{3}}))?)?"
AT = rf"(?:(?P<date>{DATE}) |\+(?P<days>\d{{1,3}})d )?{_EXACT}"
START = rf"(?P<date>{DATE})(?: {_EXACT})?"
_AT, _START = re.compile(AT), re.compile(START)
_CURLY = "“”„‟‘’"
_SHORT = re.compile(r"(?:\+?(?P<days>\d{1,3})d )?(?P<clock>\d?\d:\d\d)")


class CaseTimeError(ValueError):
    """A text that is not a time of a case."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(f"`{text[:40]}` is not a time of a case")
        self.hint = hint or _meant(text) or 'as in "10:00", "+3d 10:00", or "2026-03-29 01:30"'


def _meant(text: str) -> str:
    """The intended time, if its quotes are curly or a sign or a zero is missing; empty if that is not certain."""
    straight = text.strip(_CURLY)
    if straight != text:
        return f'write straight quotes: "{straight[:40]}"'
    match = _SHORT.fullmatch(text)
    if match is None:
        return ""
    meant = f"+{match['days']}d " * bool(match["days"]) + match["clock"].zfill(5)
    return f'did you mean "{meant}"?' if _AT.fullmatch(meant) else ""


@dataclass(frozen=True, slots=True)
class At:
    """A local time on a date, or so many days after the start. `precision_ms` is the written precision."""

    day: date | int
    clock: time
    precision_ms: int

    def resolve(self, start: datetime, zone: ZoneInfo) -> int:
        """The instant, for a case that starts at a local reading."""
        day = self.day if isinstance(self.day, date) else start.date() + timedelta(days=self.day)
        return instant(zone, datetime.combine(day, self.clock))


def parse_at(text: str) -> At:
    """The time; raises CaseTimeError."""
    match = _AT.fullmatch(text)
    if match is None:
        raise CaseTimeError(text)
    precision = 1 if match["milli"] else 1000 if match["second"] else 60_000
    day: date | int = _date(match["date"], text) if match["date"] else int(match["days"] or 0)
    return At(day, _clock(match), precision)


def parse_start(text: str) -> datetime:
    """Where a case starts: a date, at midnight unless a time follows; raises CaseTimeError."""
    match = _START.fullmatch(text)
    if match is None:
        day, _, clock = text.partition(" ")
        raise CaseTimeError(clock if clock and re.fullmatch(DATE, day) else text)
    return datetime.combine(_date(match["date"], text), _clock(match) if match["hour"] else time())


def _clock(match: re.Match[str]) -> time:
    hour, minute, second, milli = (int(match[part] or 0) for part in ("hour", "minute", "second", "milli"))
    return time(hour, minute, second, milli * 1000)


def show(ms: int, zone: ZoneInfo, start: datetime, precision_ms: int = 1) -> str:
    """An instant as a case would write it: days after the start, then the local time."""
    wall = reading(zone, ms - ms % precision_ms)
    days = (wall.date() - start.date()).days
    clock = wall.strftime("%H:%M")
    if wall.second or wall.microsecond:
        clock = wall.strftime("%H:%M:%S") + (f".{wall.microsecond // 1000:03d}" if wall.microsecond else "")
    return f"+{days}d {clock}" if days else clock


def _date(written: str, text: str) -> date:
    try:
        day = date.fromisoformat(written)
    except ValueError:
        raise CaseTimeError(text) from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise CaseTimeError(text, f"write a year from {FIRST_YEAR} to {LAST_YEAR}")
    return day
