"""What comes by the calendar: slots of schedules, and moments counted from dates in the profile."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from slow_model.expressions import Failed, value
from slow_model.localtime import DAY_MS, day_of, first_instant, known_zone, slot_after, wall
from slow_model.past import Seen
from slow_model.present import Present, roots
from slow_model.rulebook import Anniversary, Pause, Rule, Until, Wait

_YEARS = 3
"""How far ahead yearly moments are looked for."""


class Moment(NamedTuple):
    """A slot or a date of a rule's source, and its local date."""

    at_ms: int
    source: str
    day: date
    rule: Rule

    @property
    def entry(self) -> Seen:
        """As an entry: named by the local date."""
        return Seen(self.day.isoformat(), "moment", self.at_ms, "", {})


def next_moment(me: Present) -> Moment | None:
    """The first moment that has not come; only users with a profile have any."""
    if me.planned_ms is None:
        return None
    found = [*_slots(me), *_dates(me)]
    return min(found, key=lambda moment: (moment.at_ms, -moment.rule.priority, moment.source), default=None)


def _slots(me: Present) -> list[Moment]:
    found = []
    for rule in me.book.rules.values():
        for name, schedule in rule.schedules:
            at_ms = me.slots_after.setdefault(name, me.now_ms)
            at_ms, day = slot_after(schedule, me.zone, at_ms)
            while (name, day.isoformat()) in me.past.fired:
                at_ms, day = slot_after(schedule, me.zone, at_ms)
            found.append(Moment(at_ms, name, day, rule))
    return found


def moved(me: Present) -> None:
    """The zone has changed: slots by the user's clock are planned anew; one of this very instant has not passed."""
    for rule in me.book.rules.values():
        for name, schedule in rule.schedules:
            if schedule.zone is None:
                me.slots_after[name] = me.now_ms - 1


def _dates(me: Present) -> list[Moment]:
    found = []
    for rule in me.book.rules.values():
        for name, anniversary in rule.dates:
            for at_ms, day in _moments(me, anniversary):
                past = me.planned_ms is None or at_ms < me.planned_ms
                if not past and (name, day.isoformat()) not in me.past.fired:
                    found.append(Moment(at_ms, name, day, rule))
    return found


def _moments(me: Present, anniversary: Anniversary) -> list[tuple[int, date]]:
    """Every moment of a date source that may still come, with its own local date."""
    zone = known_zone(anniversary.zone) or me.zone
    try:
        first, exact_ms = _dated(me, anniversary.date, zone, whole_days=anniversary.at is not None)
    except Failed:
        return []
    if not anniversary.yearly:
        return [_moment(zone, anniversary, first.date(), exact_ms)]
    year = day_of(zone, me.planned_ms or 0).year
    found = []
    for each in range(max(first.year, year - 1), year + _YEARS):
        day = _in_year(first.date(), each)
        clock_ms = first_instant(zone, day, first.time().replace(second=0)) + first.second * 1000 + exact_ms % 1000
        at_ms = exact_ms if each == first.year else clock_ms  # of a local time that comes twice the date says which
        found.append(_moment(zone, anniversary, day, at_ms))
    return found


def _dated(me: Present, text: str, zone: ZoneInfo, *, whole_days: bool) -> tuple[datetime, int]:
    """What a date reads on the local clock, and its instant; raises Failed if it is not a date.

    A plain date is a local day, from its first instant on. A timestamp is an instant; if whole days are counted and
    it is written as midnight, it is the day that it is written as. A number is seconds since 1970, in UTC.
    """
    written = re.fullmatch(r"timestamp\(([^()]*)\)", text)
    given = value(written[1] if written else text, roots(me, None))
    if isinstance(given, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", given):
        return _local_day(zone, given)
    if isinstance(given, str):
        given = _timestamp(given)
    elif isinstance(given, float):
        given = datetime.fromtimestamp(given, UTC)
    if not isinstance(given, datetime):
        raise Failed("no date")
    if whole_days and given.time() == time():
        return _local_day(zone, given.date().isoformat())
    exact_ms = int(given.timestamp() * 1000)
    return wall(zone, exact_ms), exact_ms


def _timestamp(text: str) -> datetime:
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise Failed("no date") from None
    if given.tzinfo is None:
        raise Failed("no offset")
    return given


def _local_day(zone: ZoneInfo, text: str) -> tuple[datetime, int]:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Failed("no day of the calendar") from None
    return datetime.combine(day, time()), first_instant(zone, day, time())


def _in_year(day: date, year: int) -> date:
    """The same day of another year; February 29 is the 28th if there is none."""
    try:
        return day.replace(year=year)
    except ValueError:
        return day.replace(year=year, day=28)


def _moment(zone: ZoneInfo, anniversary: Anniversary, day: date, exact_ms: int) -> tuple[int, date]:
    if anniversary.at is None:
        return exact_ms + anniversary.offset_ms, day_of(zone, exact_ms + anniversary.offset_ms)
    counted = day + timedelta(days=anniversary.offset_ms // DAY_MS)
    return first_instant(zone, counted, time.fromisoformat(anniversary.at)), counted


def wait_ends(me: Present, wait: Wait, since_ms: int, replanned_ms: int | None = None) -> int:
    """When a wait that began at an instant is over: a timestamp that is past, at once.

    Replanned for a changed profile, it ends no earlier than then; a slot is the next from then on.
    """
    if isinstance(wait, Pause):
        return since_ms + wait.ms
    if isinstance(wait, Until):
        _, until_ms = _dated(me, wait.text, me.zone, whole_days=False)
        return max(until_ms, since_ms, replanned_ms or 0)
    return slot_after(wait, me.zone, since_ms if replanned_ms is None else max(since_ms, replanned_ms - 1))[0]
