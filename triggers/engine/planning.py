"""Plans: when schedules and dates begin their triggers next, for every user with a profile.

A plan is made when the first profile arrives, or when rules of another `plan_version` are first applied to the user. It
is made again whenever the profile changes, and moves from slot to slot. The id of what begins is its local date, and no
source begins anything twice for one date (settled case 10). Slots missed in an outage are reached one after the other,
so that the age of each is checked.
"""

from datetime import date, timedelta

from triggers.cel.runtime import EvaluationError, MissingField
from triggers.engine.dates import local_date, moment_after
from triggers.engine.evaluation import Evaluation
from triggers.measures.local_time import slot_after
from triggers.measures.shapes import Schedule
from triggers.rules.events import StoredEvent
from triggers.rules.sources import ClockRule
from triggers.rules.state import ScheduleState, UserState

SLOT = "schedule.slot"
DATE = "date.reached"
_DAY_0 = date(1970, 1, 1)
_REMEMBERED_DAYS = 3
"""How many local dates can be the current one at one instant: zones are at most 26 hours apart."""


def plan(evaluation: Evaluation, *, moved: bool = False) -> None:
    """Plans every schedule and date as of now; `moved` if the user's zone has just changed.

    What was due and is not reached yet stays due. Otherwise a slot is strictly later than now, or at now if the user
    moved. A date's moment may be now; a past moment is never reached.
    """
    state, known = evaluation.state, evaluation.state.plans
    state.plan_version = evaluation.rules.plan_version
    state.plans = {
        rule.id: _planned(evaluation, rule, known.get(rule.id), moved) for rule in evaluation.rules.clocks.values()
    }


def _planned(evaluation: Evaluation, rule: ClockRule, known: ScheduleState | None, moved: bool) -> ScheduleState:
    due = known.due if known is not None else None
    since = evaluation.now_ms
    if due is not None and due <= evaluation.now_ms:
        since = due - 1
    elif not isinstance(rule.source, Schedule) or (due is not None and moved and rule.source.zone is None):
        since = evaluation.now_ms - 1
    return _next(evaluation, rule, since, known.fired if known is not None else [])


def _next(evaluation: Evaluation, rule: ClockRule, since: int, fired: list[int]) -> ScheduleState:
    """The first moment after an instant on a day that is not among `fired`."""
    found = _after(evaluation, rule, since)
    while found is not None and (found[1] - _DAY_0).days in fired:
        found = _after(evaluation, rule, found[0])
    return ScheduleState(None, 0, fired) if found is None else ScheduleState(found[0], (found[1] - _DAY_0).days, fired)


def _after(evaluation: Evaluation, rule: ClockRule, since: int) -> tuple[int, date] | None:
    source = rule.source
    zone = evaluation.zone_of(source.zone)
    if isinstance(source, Schedule):
        return slot_after(source, zone, since)
    context = evaluation.context(StoredEvent("", "", evaluation.now_ms, "", {}), None, evaluation.now_ms)
    try:
        target = local_date(source.date.value(context), zone, whole_days=source.at is not None)
        if target is None:
            evaluation.count("undated")
        return None if target is None else moment_after(source, target, zone, since)
    except MissingField:
        evaluation.count("undated")
    except EvaluationError as error:
        evaluation.problem(rule.trigger.name, "on.date", error)
    return None


def first(state: UserState, due_before: int) -> tuple[int, str] | None:
    """The plan that is due first before an instant: (instant, its id)."""
    due = [(plan.due, name) for name, plan in state.plans.items() if plan.due is not None and plan.due < due_before]
    return min(due, default=None)


def skip(evaluation: Evaluation, name: str) -> None:
    """Moves a plan past now without beginning anything. A plan whose rule is gone has no next moment."""
    known, rule = evaluation.state.plans[name], evaluation.rules.clocks.get(name)
    evaluation.state.plans[name] = (
        ScheduleState(None, 0, known.fired) if rule is None else _next(evaluation, rule, evaluation.now_ms, known.fired)
    )


def clear(evaluation: Evaluation) -> None:
    """Removes the user's plans until the profile, or the schedules and dates of the rules, change."""
    evaluation.state.plan_version, evaluation.state.plans = evaluation.rules.plan_version, {}


def reach(evaluation: Evaluation, rule: ClockRule) -> StoredEvent:
    """Moves the plan to its next moment. Returns the event for the moment that was reached; its id is the date."""
    known = evaluation.state.plans[rule.id]
    at, day = known.due, known.day
    assert at is not None
    fired = sorted({*known.fired, day})[-_REMEMBERED_DAYS:]
    evaluation.state.plans[rule.id] = _next(evaluation, rule, at, fired)
    kind = SLOT if isinstance(rule.source, Schedule) else DATE
    return StoredEvent((_DAY_0 + timedelta(days=day)).isoformat(), kind, at, "", {})
