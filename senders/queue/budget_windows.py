"""How much of a budget its window has used. Pure.

A rolling window is counted in sixtieths of it. One counts until all of it has left the window, so that no window of the
budget's length ever has more than its maximum; a command counts up to a sixtieth longer than the window is. A calendar
window is one local day, ISO week (from Monday) or month, and counts from the instant at which it begins.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from schemas.budgets import Budget
from schemas.zones import UTC_ZONE, zone_named

PARTS = 60
"""Into how many parts a rolling window is divided."""
Counts = Mapping[int, int]
"""Commands by the number of the part, or by the ordinal of the first day of the calendar window."""

_MS = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def part_of(budget: Budget, at: datetime) -> int:
    """The part in which an instant counts."""
    if budget.per_ms is None:
        return _first_day(budget, at).toordinal()
    return (at - _EPOCH) // _MS // _length_ms(budget.per_ms)


def standing(budget: Budget, counts: Counts, at: datetime) -> Counts:
    """The counts that the window has at an instant. Those of a clock that was ahead stay in it."""
    if budget.per_ms is None:
        first = part_of(budget, at)
        return {part: count for part, count in counts.items() if part >= first}
    since_ms, length_ms = (at - _EPOCH) // _MS - budget.per_ms, _length_ms(budget.per_ms)
    return {part: count for part, count in counts.items() if (part + 1) * length_ms > since_ms}


def used(budget: Budget, counts: Counts, at: datetime) -> int:
    """How many commands the window has at an instant."""
    return sum(standing(budget, counts, at).values())


def room_at(budget: Budget, counts: Counts, at: datetime) -> datetime | None:
    """When the window next has room for one command: now, or at a later instant; None for a budget of 0."""
    if budget.max == 0:
        return None
    left = standing(budget, counts, at)
    excess = sum(left.values()) - budget.max
    for part in sorted(left):
        if excess < 0:
            break
        excess -= left[part]
        at = max(at, _leaves_at(budget, part))
    return at


def _length_ms(per_ms: int) -> int:
    return -(-per_ms // PARTS)


def _leaves_at(budget: Budget, part: int) -> datetime:
    """When a part has left the window."""
    if budget.per_ms is not None:
        return _EPOCH + ((part + 1) * _length_ms(budget.per_ms) + budget.per_ms) * _MS
    begins = date.fromordinal(part)
    days = {"day": 1, "week": 7}.get(budget.unit or "", 31)
    after = begins + timedelta(days=days)
    after = after.replace(day=1) if budget.unit == "month" else after
    return datetime(after.year, after.month, after.day, tzinfo=_zone(budget)).astimezone(UTC)


def _first_day(budget: Budget, at: datetime) -> date:
    day = at.astimezone(_zone(budget)).date()
    if budget.unit == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if budget.unit == "month" else day


def _zone(budget: Budget) -> ZoneInfo:
    return zone_named(budget.zone or "") or UTC_ZONE
