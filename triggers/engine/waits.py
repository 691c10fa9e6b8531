"""Waits: when the next step of an occurrence is due, and how a changed profile changes that."""

from triggers.cel.runtime import EvaluationError
from triggers.engine.dates import local_date
from triggers.engine.evaluation import Evaluation
from triggers.measures.local_time import slot_after
from triggers.measures.shapes import MAX_DURATION_MS, MS
from triggers.rules.rule import AnyWait, Step, Trigger, Wait, WaitFor, WaitSlot, WaitUntil
from triggers.rules.state import Occurrence


def begin(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, wait: AnyWait) -> bool:
    """Sets when the next step is due. Returns False if a timestamp has no value, which is recorded as a problem.

    Every wait counts from the instant at which the step before it was due, not from the clock.
    """
    if isinstance(wait, Wait):
        occurrence.due += wait.ms
        return True
    occurrence.since = occurrence.due
    due = _due(evaluation, trigger, occurrence, wait, occurrence.due)
    if due is None:
        return False
    occurrence.due = due
    return True


def wait_for(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, step: WaitFor) -> bool:
    """Sets when the wait for an event is over if the event does not come. Returns False as `begin` does.

    With `settle` it is over that much later, and what happened until it was due still counts.
    """
    since = occurrence.due
    if not begin(evaluation, trigger, occurrence, step.up_to):
        return False
    occurrence.since, occurrence.wake = since, occurrence.due + trigger.settle_ms
    return True


def current(trigger: Trigger, occurrence: Occurrence) -> Step | None:
    """The step before the one that is due, which is the wait that the occurrence is in if it is in one."""
    return trigger.steps[occurrence.step - 1] if 0 < occurrence.step <= len(trigger.steps) else None


def awaits(trigger: Trigger, occurrence: Occurrence) -> WaitFor | None:
    """The `wait_for` step that the occurrence is in; None if it is in none."""
    if occurrence.since is None or occurrence.held:
        return None
    step = current(trigger, occurrence)
    return step if isinstance(step, WaitFor) else None


def apply_profile(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, *, moved: bool) -> bool:
    """Computes again when the next step is due, after the profile changed; `moved` if its zone changed. Returns False
    as `begin` does.

    After a move, a slot is the next one in the new zone from now on. A wait that is over stays over.
    """
    if occurrence.since is None:
        return True
    step = current(trigger, occurrence)
    if isinstance(step, WaitFor) and occurrence.due < evaluation.now_ms:  # it only settles
        return True
    wait = step.up_to if isinstance(step, WaitFor) else step
    if isinstance(wait, WaitSlot) and moved and wait.schedule.zone is None:
        occurrence.due = slot_after(wait.schedule, evaluation.zone(), max(occurrence.since, evaluation.now_ms - 1))[0]
    elif isinstance(wait, WaitUntil):
        due = _due(evaluation, trigger, occurrence, wait, max(occurrence.since, evaluation.now_ms))
        if due is None:
            return False
        occurrence.due = due
    occurrence.wake = occurrence.due + (trigger.settle_ms if isinstance(step, WaitFor) else 0)
    return True


def _due(
    evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, wait: WaitSlot | WaitUntil, base: int
) -> int | None:
    if isinstance(wait, WaitSlot):
        return slot_after(wait.schedule, evaluation.zone_of(wait.schedule.zone), base)[0]
    assert occurrence.since is not None
    context = evaluation.context(occurrence.event, occurrence, occurrence.since)
    try:
        until = _instant(evaluation, wait.moment.value(context))
        if until - base > MAX_DURATION_MS:
            raise EvaluationError(f"more than {MAX_DURATION_MS // MS['d']} days away")
    except EvaluationError as error:
        evaluation.problem(trigger.name, "until", error)
        return None
    return max(base, until)


def _instant(evaluation: Evaluation, value: object) -> int:
    target = local_date(value, evaluation.zone())
    if target is None:
        raise EvaluationError("a wait needs a timestamp to end at")
    return target.instant(evaluation.zone(), target.year)
