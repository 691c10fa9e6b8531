"""The gate `quiet`: no send within the rule's quiet periods.

Observed is the clock in the user's zone, `{"local": "21:30", "zone": "Europe/Berlin"}`. Limit is the period that holds
the send, by the keys of a rule: `{"from": "21:00", "to": "08:00", "days": ["mon"], "zone": …}` or
`{"from": "2026-12-24", "through": "2026-12-26", "zone": …}`. Observed is absent if the rule has no periods.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from schemas.decisions import Decision, GateAnswer
from schemas.vocabulary import DecisionOutcome, Gate
from schemas.zones import zone_named
from triggers.cel.runtime import as_ms
from triggers.engine.gates import stored
from triggers.engine.gates.request import GateRequest
from triggers.engine.records import AnswerRecord
from triggers.measures.local_time import covers, first_outside, inside, reading
from triggers.measures.shapes import (
    WEEKDAYS,
    DailyPeriod,
    DatePeriod,
    Period,
    ShapeError,
    calendar_date,
    clock_time,
    weekday,
)

_NEVER_QUIET = AnswerRecord(Gate.QUIET, True, shared=True)
_YEARS = range(1970, 9999)
"""At the ends of the calendar, local times do not exist."""


def ask(request: GateRequest) -> AnswerRecord:
    """Passes outside all periods. A deferral ends outside all periods that defer; at that instant, a period that drops
    is evaluated again (settled case 25)."""
    quiet = request.trigger.quiet
    if not quiet:
        return _NEVER_QUIET
    now_ms, user_zone = request.evaluation.now_ms, request.evaluation.zone()
    wall = reading(user_zone, now_ms)
    zones = [zone_named(each.period.zone) if each.period.zone else None for each in quiet]
    placed = [(each, zone or user_zone) for each, zone in zip(quiet, zones, strict=True)]
    holding = [
        each for each, zone in placed if covers(each.period, wall if zone is user_zone else reading(zone, now_ms))
    ]
    observed = {"local": f"{wall.hour:02d}:{wall.minute:02d}", "zone": user_zone.key}
    if not holding:
        return AnswerRecord(Gate.QUIET, True, observed)
    drops = [each for each in holding if each.over == "drop"]
    ending = [(each.period, zone) for each, zone in placed if drops or each.over == "defer"]
    until = first_outside(ending, now_ms)
    if not drops:
        request.verdict.outcome, request.verdict.until = DecisionOutcome.DEFER, until
    return AnswerRecord(Gate.QUIET, False, observed, _stored((drops or holding)[0].period), None, until)


@lru_cache(maxsize=1024)
def _stored(period: Period) -> dict[str, Any]:
    if isinstance(period, DatePeriod):
        found: dict[str, Any] = {"from": str(period.first), "through": str(period.last)}
    else:
        found = {"from": f"{period.start:%H:%M}", "to": f"{period.end:%H:%M}"}
        if period.days:
            found["days"] = [WEEKDAYS[day][:3] for day in sorted(period.days)]
    return found if period.zone is None else {**found, "zone": period.zone}


def _period(answer: GateAnswer) -> Period:
    found = stored.fields(answer.limit, answer)
    start, zone = stored.text(found.get("from"), answer), found.get("zone")
    zone = None if zone is None else stored.text(zone, answer)
    try:
        if "through" in found:
            return DatePeriod(calendar_date(start), calendar_date(stored.text(found["through"], answer)), zone)
        return DailyPeriod(clock_time(start), clock_time(stored.text(found.get("to"), answer)), _days(answer), zone)
    except ShapeError:
        raise stored.UnknownRecord(answer) from None


def _days(answer: GateAnswer) -> frozenset[int] | None:
    days = answer.limit.get("days")
    if days is None:
        return None
    if not isinstance(days, list):
        raise stored.UnknownRecord(answer)
    return frozenset(weekday(stored.text(day, answer)) for day in days)


def verify(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    """Compares the clock with the zone's, and the period with the instant and with the deferral's end."""
    if answer.observed is None:
        yield from stored.compare(answer, True)
        return
    local, zone = _observed(answer)
    period = None if answer.passed else _period(answer)
    moments = (decision.decided_at, answer.next_eligible or decision.decided_at)
    if not all(moment.year in _YEARS for moment in moments):
        return
    given = decision.inputs.get("zone")
    if given is not None and given != zone.key:
        yield f"it read the clock in {zone.key}, but the decision's zone is {given}"
    wall = reading(zone, as_ms(decision.decided_at))
    if local != f"{wall:%H:%M}":
        yield f"the clock in {zone.key} showed {wall:%H:%M}, not {local}"
    if period is not None:
        yield from _verify_period(period, zone, decision.decided_at, answer)


def _verify_period(period: Period, user_zone: ZoneInfo, at: datetime, answer: GateAnswer) -> Iterator[str]:
    zone = zone_named(period.zone) if period.zone else user_zone
    if zone is None:
        raise stored.UnknownRecord(answer)
    if not inside(period, zone, as_ms(at)):
        yield f"{period} does not contain that moment"
    if answer.next_eligible and inside(period, zone, as_ms(answer.next_eligible)):
        yield f"{period} still contains the moment that it waits for"


def words(answer: GateAnswer) -> str:
    """The clock, and the period that contains it."""
    if answer.observed is None:
        return "no quiet periods"
    local, zone = _observed(answer)
    if answer.passed:
        return f"{local} {zone.key}, outside them"
    return f"{local} {zone.key}, within {_period(answer)}{stored.next_words(answer)}"


def _observed(answer: GateAnswer) -> tuple[str, ZoneInfo]:
    found = stored.fields(answer.observed, answer)
    zone = zone_named(stored.text(found.get("zone"), answer))
    if zone is None:
        raise stored.UnknownRecord(answer)
    return stored.text(found.get("local"), answer), zone
