"""Plans: when schedules and dates begin their triggers next, for every user with a profile.

A plan is made as of one instant: when the first profile comes, or when rules whose schedules or dates are others are
first applied to the user. It is made anew whenever the profile changes, and follows from slot to slot. What begins
is named by its local date, and no source begins anything twice for one date (settled case 10). Slots missed in an
outage are each reached in turn, so that the age of each is checked.
"""

from datetime import date, timedelta

from triggers.cel.runtime import EvaluationError, MissingField
from triggers.engine.dates import local_date, moment_after
from triggers.engine.turn import Turn
from triggers.measures.local_time import slot_after
from triggers.measures.shapes import Schedule
from triggers.rules.sources import ClockRule
from triggers.rules.state import ScheduleState, StoredEvent, UserState

SLOT = "schedule.slot"
DATE = "date.reached"
_DAY_0 = date(1970, 1, 1)
_REMEMBERED_DAYS = 3
"""Local dates that can be the present one somewhere at one instant: zones lie at most 26 hours apart."""


def refresh(turn: Turn) -> None:
    """Plans anew where the plans are of another version of the schedules and dates."""
    state = turn.state
    if state.plan_version != turn.rules.plan_version and state.profiled:
        plan(turn)


def plan(turn: Turn, *, moved: bool = False) -> None:
    """Plans every schedule and date as of now; `moved`: the user's zone has just changed.

    What was due and has not been reached stays to be reached. Otherwise a slot is strictly later than now, or where
    the user moved not before now; and a date's moment may be now: only what is past never comes.
    """
    state, known = turn.state, turn.state.plans
    state.plan_version = turn.rules.plan_version
    state.plans = {rule.id: _planned(turn, rule, known.get(rule.id), moved) for rule in turn.rules.clocks.values()}


def _planned(turn: Turn, rule: ClockRule, known: ScheduleState | None, moved: bool) -> ScheduleState:
    due = known.due if known is not None else None
    since = turn.now_ms
    if due is not None and due <= turn.now_ms:
        since = due - 1
    elif not isinstance(rule.source, Schedule) or (due is not None and moved and rule.source.zone is None):
        since = turn.now_ms - 1
    return _next(turn, rule, since, known.fired if known is not None else [])


def _next(turn: Turn, rule: ClockRule, since: int, fired: list[int]) -> ScheduleState:
    """What comes first after an instant on a day that is not among `fired`."""
    found = _after(turn, rule, since)
    while found is not None and (found[1] - _DAY_0).days in fired:
        found = _after(turn, rule, found[0])
    return ScheduleState(None, 0, fired) if found is None else ScheduleState(found[0], (found[1] - _DAY_0).days, fired)


def _after(turn: Turn, rule: ClockRule, since: int) -> tuple[int, date] | None:
    source = rule.source
    zone = turn.zone_of(source.zone)
    if isinstance(source, Schedule):
        return slot_after(source, zone, since)
    context = turn.context(StoredEvent("", "", turn.now_ms, "", {}), None, turn.now_ms)
    try:
        target = local_date(source.date.value(context), zone, whole_days=source.at is not None)
        if target is None:
            turn.count("undated")
        return None if target is None else moment_after(source, target, zone, since)
    except MissingField:
        turn.count("undated")
    except EvaluationError as error:
        turn.problem(rule.trigger.name, "on.date", error)
    return None


def first(state: UserState, due_before: int) -> tuple[int, str] | None:
    """The plan that is due first before an instant: (instant, its id)."""
    due = [(plan.due, name) for name, plan in state.plans.items() if plan.due is not None and plan.due < due_before]
    return min(due, default=None)


def skip(turn: Turn, name: str) -> None:
    """Moves a plan past now without beginning anything; a plan whose rule is gone has no next moment."""
    known, rule = turn.state.plans[name], turn.rules.clocks.get(name)
    turn.state.plans[name] = (
        ScheduleState(None, 0, known.fired) if rule is None else _next(turn, rule, turn.now_ms, known.fired)
    )


def forgo(turn: Turn) -> None:
    """Leaves the user without plans until the profile, or the schedules and dates of the rules, change."""
    turn.state.plan_version, turn.state.plans = turn.rules.plan_version, {}


def reach(turn: Turn, rule: ClockRule) -> StoredEvent:
    """Goes on to the plan's next moment; returns the event that stands for the one reached: its id is the date."""
    known = turn.state.plans[rule.id]
    at, day = known.due, known.day
    assert at is not None
    fired = sorted({*known.fired, day})[-_REMEMBERED_DAYS:]
    turn.state.plans[rule.id] = _next(turn, rule, at, fired)
    kind = SLOT if isinstance(rule.source, Schedule) else DATE
    return StoredEvent((_DAY_0 + timedelta(days=day)).isoformat(), kind, at, "", {})
