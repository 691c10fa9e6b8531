"""Local time: zones, and the instants at which local readings begin and end, exact across clock changes."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from triggers.cel.runtime import EPOCH, as_ms, as_time
from triggers.measures.shapes import CalendarUnit, DatePeriod, Period, Schedule

_HOUR_MS = 3_600_000
_MIDNIGHT = time()
_MAX_STEPS = 64


def reading(zone: ZoneInfo, ms: int) -> datetime:
    """The local date and time at an instant."""
    return datetime.fromtimestamp(ms // 1000, zone).replace(tzinfo=None, microsecond=ms % 1000 * 1000)


def instant(zone: ZoneInfo, wall: datetime, fold: int = 0) -> int:
    """The instant of a reading. If it occurs twice, the first instant, or with `fold` the second."""
    return as_ms(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC))


def _offset(zone: ZoneInfo, ms: int) -> timedelta:
    return as_time(ms).astimezone(zone).utcoffset() or timedelta()


def _change_between(zone: ZoneInfo, low: int, high: int) -> int | None:
    """The first second in (low, high] with another offset than at `low`, where the offset differs at `high`."""
    before = _offset(zone, low)
    if _offset(zone, high) == before:
        return None
    low, high = low // 1000, -(-high // 1000)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle * 1000) == before:
            low = middle
        else:
            high = middle
    return high * 1000


def first_reading_from(zone: ZoneInfo, wall: datetime) -> int:
    """The first instant at which the clock shows `wall`, or a later reading if the clock skips `wall`."""
    at = instant(zone, wall)
    if reading(zone, at) == wall:
        return at
    change = _change_between(zone, at - 6 * _HOUR_MS, at + 6 * _HOUR_MS)
    return at if change is None else change


def start_of_day(zone: ZoneInfo, day: date) -> int:
    """The first instant of a local day."""
    return first_reading_from(zone, datetime.combine(day, _MIDNIGHT))


def exists(zone: ZoneInfo, day: date) -> bool:
    """Whether a local day exists: a zone that crosses the date line skips one (Apia, 2011-12-30)."""
    return reading(zone, start_of_day(zone, day)).date() == day


@lru_cache(maxsize=4096)
def slot_after(schedule: Schedule, zone: ZoneInfo, ms: int) -> tuple[int, date]:
    """The next slot strictly later than an instant, with its local date.

    A reading that occurs twice has its slot at the first; one that the clock skips, at the clock change (settled case
    4). A day that a zone skips has no slot.
    """
    day = reading(zone, ms).date() - timedelta(days=1)
    while True:
        if schedule.falls_on(day) and exists(zone, day):
            at = first_reading_from(zone, datetime.combine(day, schedule.at))
            if at > ms:
                return at, day
        day += timedelta(days=1)


def calendar_window(zone: ZoneInfo, ms: int, unit: CalendarUnit) -> tuple[int, int]:
    """The first instant of the local day, ISO week or month that holds `ms`, and the first after it."""
    day = reading(zone, ms).date()
    if unit == "day":
        first, following = day, day + timedelta(days=1)
    elif unit == "week":
        first = day - timedelta(days=day.weekday())
        following = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
    return start_of_day(zone, first), start_of_day(zone, following)


def covers(period: Period, wall: datetime) -> bool:
    """Whether a local reading is in the period."""
    if isinstance(period, DatePeriod):
        return period.first <= wall.date() <= period.last
    now = wall.time()
    began_yesterday = False
    if period.start < period.end:
        within = period.start <= now < period.end
    else:
        within = now >= period.start or now < period.end
        began_yesterday = now < period.end
    if not within or period.days is None:
        return within
    day = wall.date() - timedelta(days=1) if began_yesterday else wall.date()
    return day.weekday() in period.days


def inside(period: Period, zone: ZoneInfo, ms: int) -> bool:
    """Whether the local reading at `ms` is in the period."""
    return covers(period, reading(zone, ms))


def _end_candidates(period: Period, zone: ZoneInfo, ms: int) -> list[int]:
    """Instants after `ms` at which the period may end: both instants of its closing reading, and clock changes."""
    day = reading(zone, ms).date()
    if isinstance(period, DatePeriod):
        walls = [datetime.combine(period.last + timedelta(days=1), _MIDNIGHT)]
    else:
        walls = [datetime.combine(day + timedelta(days=n), period.end) for n in range(3)]
    found = {first_reading_from(zone, wall) for wall in walls}
    found |= {instant(zone, wall, fold=1) for wall in walls}
    change = _change_between(zone, ms, max(found))
    return sorted(at for at in {*found, *([change] if change else [])} if at > ms)


def first_outside(periods: list[tuple[Period, ZoneInfo]], ms: int) -> int | None:
    """The first instant from `ms` on whose reading is in none of the periods; None if none is found soon."""
    at = ms
    for _ in range(_MAX_STEPS):
        holding = next(((p, z) for p, z in periods if inside(p, z, at)), None)
        if holding is None:
            return at
        following = _next_outside(*holding, at)
        if following is None:
            return None
        at = following
    return None


def _next_outside(period: Period, zone: ZoneInfo, ms: int) -> int | None:
    return next((at for at in _end_candidates(period, zone, ms) if not inside(period, zone, at)), None)


def iso_week(ms: int) -> str:
    """The ISO week of an instant, in UTC, as in 1997-W05."""
    return _iso_week_of_day(ms // 86_400_000)


@lru_cache(maxsize=4096)
def _iso_week_of_day(days: int) -> str:
    year, week, _ = (EPOCH + timedelta(days=days)).isocalendar()
    return f"{year}-W{week:02d}"
