"""Waits: until when an occurrence stands still, and what a changed profile does to that."""

from triggers.cel.runtime import EvaluationError
from triggers.engine.dates import local_date
from triggers.engine.turn import Turn
from triggers.measures.local_time import slot_after
from triggers.measures.shapes import MAX_DURATION_MS, MS
from triggers.rules.rule import AnyWait, Trigger, Wait, WaitSlot, WaitUntil
from triggers.rules.state import Occurrence


def begin(turn: Turn, trigger: Trigger, occurrence: Occurrence, wait: AnyWait) -> bool:
    """Sets when the next step is due; false where a timestamp has no value, which is noted.

    Every wait counts from when the step before it was due, not from when the clock got there.
    """
    if isinstance(wait, Wait):
        occurrence.due += wait.ms
        return True
    occurrence.since = occurrence.due
    due = _due(turn, trigger, occurrence, wait, occurrence.due)
    if due is None:
        return False
    occurrence.due = due
    return True


def follow(turn: Turn, trigger: Trigger, occurrence: Occurrence, *, moved: bool) -> bool:
    """Sets anew when the next step is due, after the profile changed; `moved`: its zone too. False as in `begin`.

    A slot is then the next in the new zone, from now on. A wait that was over stays so.
    """
    if occurrence.since is None:
        return True
    wait = trigger.steps[occurrence.step - 1] if occurrence.step <= len(trigger.steps) else None
    if isinstance(wait, WaitSlot) and moved and wait.schedule.zone is None:
        occurrence.due = slot_after(wait.schedule, turn.zone(), max(occurrence.since, turn.now_ms - 1))[0]
    elif isinstance(wait, WaitUntil):
        due = _due(turn, trigger, occurrence, wait, max(occurrence.since, turn.now_ms))
        if due is None:
            return False
        occurrence.due = due
    occurrence.wake = occurrence.due
    return True


def _due(turn: Turn, trigger: Trigger, occurrence: Occurrence, wait: WaitSlot | WaitUntil, base: int) -> int | None:
    if isinstance(wait, WaitSlot):
        return slot_after(wait.schedule, turn.zone_of(wait.schedule.zone), base)[0]
    assert occurrence.since is not None
    context = turn.context(occurrence.event, occurrence, occurrence.since)
    try:
        until = _instant(turn, wait.moment.value(context))
        if until - base > MAX_DURATION_MS:
            raise EvaluationError(f"more than {MAX_DURATION_MS // MS['d']} days away")
    except EvaluationError as error:
        turn.problem(trigger.name, "until", error)
        return None
    return max(base, until)


def _instant(turn: Turn, value: object) -> int:
    target = local_date(value, turn.zone())
    if target is None:
        raise EvaluationError("a wait needs a timestamp to end at")
    return target.instant(turn.zone(), target.year)
