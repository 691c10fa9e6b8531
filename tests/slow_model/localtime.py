"""Local time by looking at the clock on the wall: every question walks minute by minute or day by day."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import tzdata
from slow_model.rulebook import WEEKDAYS, Quiet, Schedule, Window

MINUTE_MS = 60_000
DAY_MS = 86_400_000
_BEFORE_ANY_GAP = timedelta(hours=26)
"""The largest jump of a clock is a whole day (Apia, 2011)."""


def zone_of(name: str | None) -> ZoneInfo:
    """The user's zone, UTC if it is unknown or empty."""
    zone = known_zone(name) or known_zone("UTC")
    assert zone is not None
    return zone


@cache
def known_zone(name: str | None) -> ZoneInfo | None:
    """The zone of a name in the package's list, None if there is none. Never reads the host's files."""
    package = Path(tzdata.__file__).parent
    names = {*(package / "zones").read_text().split()} - {"Factory"}
    if name not in names:
        return None
    with (package / "zoneinfo" / name).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def wall(zone: ZoneInfo, at_ms: int) -> datetime:
    """What a clock on the wall shows, to the second."""
    return datetime.fromtimestamp(at_ms // 1000, zone).replace(tzinfo=None)


def day_of(zone: ZoneInfo, at_ms: int) -> date:
    """The local date of an instant."""
    return wall(zone, at_ms).date()


@lru_cache(maxsize=65_536)
def first_instant(zone: ZoneInfo, day: date, clock: time) -> int:
    """The first whole minute at which the clock shows this or, if it jumps over it, later."""
    wanted = datetime.combine(day, clock)
    at = datetime.combine(day, clock, UTC) - (zone.utcoffset(wanted) or timedelta()) - _BEFORE_ANY_GAP
    at_ms = int(at.timestamp()) * 1000 // MINUTE_MS * MINUTE_MS
    while wall(zone, at_ms) < wanted:
        at_ms += MINUTE_MS
    return at_ms


def midnight_after(zone: ZoneInfo, at_ms: int) -> int:
    """The first instant of the next local day."""
    return next_window(Window(unit="day"), zone, at_ms)


def calendar_unit(unit: str, zone: ZoneInfo, at_ms: int) -> tuple[int, ...]:
    """Which local day, ISO week or month an instant is in."""
    day = day_of(zone, at_ms)
    if unit == "day":
        return day.year, day.month, day.day
    return day.isocalendar()[:2] if unit == "week" else (day.year, day.month)


def next_window(window: Window, zone: ZoneInfo, now_ms: int) -> int:
    """The first instant of the next local day, week or month: found day by day."""
    assert window.unit is not None
    day = day_of(zone, now_ms)
    while True:
        day += timedelta(days=1)
        at_ms = first_instant(zone, day, time())
        if calendar_unit(window.unit, zone, at_ms) != calendar_unit(window.unit, zone, now_ms):
            return at_ms


def stands_in(window: Window, zone: ZoneInfo, time_ms: int, at_ms: int) -> bool:
    """Whether something of `time_ms` stands in the window that ends at an instant."""
    if time_ms > at_ms:
        return False
    if window.unit is not None:
        return calendar_unit(window.unit, zone, time_ms) == calendar_unit(window.unit, zone, at_ms)
    return window.ms is None or at_ms - window.ms < time_ms


def slot_after(schedule: Schedule, user_zone: ZoneInfo, now_ms: int) -> tuple[int, date]:
    """The next slot strictly later than now, with its local date: found day by day."""
    zone = known_zone(schedule.zone) or user_zone
    day = day_of(zone, now_ms) - timedelta(days=1)
    while True:
        if has_slot(schedule, day):
            at_ms = first_instant(zone, day, time.fromisoformat(schedule.at))
            if at_ms > now_ms:
                return at_ms, day
        day += timedelta(days=1)


def has_slot(schedule: Schedule, day: date) -> bool:
    """Whether a local day has a slot."""
    if schedule.every == ("day",):
        return True
    if schedule.every == ("month",):
        is_last = (day + timedelta(days=1)).month != day.month
        return is_last if schedule.day == "last" else day.day == int(schedule.day)
    return WEEKDAYS[day.weekday()] in {name[:3] for name in schedule.every}


def is_quiet(quiet: Quiet, user_zone: ZoneInfo, at_ms: int) -> bool:
    """Whether a local clock reads a time in the period."""
    now = wall(known_zone(quiet.zone) or user_zone, at_ms)
    if quiet.through is not None:
        return quiet.start <= now.date().isoformat() <= quiet.through
    reading, day = f"{now:%H:%M}", now.date()
    if quiet.start < quiet.end:
        inside = quiet.start <= reading < quiet.end
    else:
        inside = reading >= quiet.start or reading < quiet.end
        if reading < quiet.end:
            day -= timedelta(days=1)
    return inside and (not quiet.days or WEEKDAYS[day.weekday()] in {name[:3] for name in quiet.days})


def first_loud(periods: tuple[Quiet, ...], zone: ZoneInfo, now_ms: int) -> int:
    """The first whole minute after now that is in none of the periods."""
    at_ms = now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS
    while any(is_quiet(each, zone, at_ms) for each in periods):
        at_ms += MINUTE_MS
    return at_ms
