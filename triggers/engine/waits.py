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


def moved_by_profile(
    evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, *, moved: bool
) -> WaitSlot | WaitUntil | None:
    """The wait that the occurrence is in, if a changed profile can change its end; `moved` if its zone changed.

    A wait that is over stays over.
    """
    if occurrence.since is None:
        return None
    step = current(trigger, occurrence)
    if isinstance(step, WaitFor) and occurrence.due < evaluation.now_ms:  # it only settles
        return None
    match step.up_to if isinstance(step, WaitFor) else step:
        case WaitUntil() as wait:
            return wait
        case WaitSlot() as wait if moved and wait.schedule.zone is None:
            return wait
    return None


def apply_profile(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, wait: WaitSlot | WaitUntil) -> bool:
    """Computes the end of a wait from `moved_by_profile` again. Returns False as `begin` does.

    A slot is the next one in the new zone from now on.
    """
    assert occurrence.since is not None
    if isinstance(wait, WaitSlot):
        after = max(occurrence.since, evaluation.now_ms - 1)
        occurrence.due = slot_after(wait.schedule, evaluation.zone(), after)[0]
    else:
        due = _due(evaluation, trigger, occurrence, wait, max(occurrence.since, evaluation.now_ms))
        if due is None:
            return False
        occurrence.due = due
    settles = isinstance(current(trigger, occurrence), WaitFor)
    occurrence.wake = occurrence.due + (trigger.settle_ms if settles else 0)
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
