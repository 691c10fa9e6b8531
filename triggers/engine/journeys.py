"""The life of an occurrence that has begun: it waits, sends, is deferred, and ends."""

from schemas.vocabulary import DecisionOutcome, Reason
from triggers.cel.runtime import EvaluationError
from triggers.engine import sending, waits
from triggers.engine.evaluation import Evaluation, OccurrenceExit, agree
from triggers.engine.gates.request import Verdict
from triggers.rules.events import StoredEvent
from triggers.rules.rule import Branch, Exit, Jump, Send, Step, Trigger, Wait, WaitFor, WaitSlot, WaitUntil
from triggers.rules.state import Occurrence


def end(evaluation: Evaluation, occurrence: Occurrence) -> None:
    """Ends a running occurrence."""
    evaluation.state.running = [each for each in evaluation.state.running if each is not occurrence]


def end_by_event(evaluation: Evaluation, event: StoredEvent, *, without_user: bool = False) -> None:
    """Ends the running occurrences whose `unless` the event matches. An `unless` that fails also drops the send.

    An event `without_user` matches only by `same`.
    """
    for occurrence in [*evaluation.state.running]:
        trigger = evaluation.rule_of(occurrence)
        if trigger is None or event.time_ms < occurrence.entered_at:
            continue
        for pattern in trigger.unless:
            if event.type not in pattern.types or not agree(pattern, occurrence.event, event):
                continue
            if without_user and not pattern.same:
                continue
            context = evaluation.context(event, occurrence, evaluation.now_ms)
            try:
                if pattern.where is not None and not pattern.where.holds(context):
                    continue
                evaluation.effects.exits.append(
                    OccurrenceExit(trigger.name, occurrence.id, event.type, evaluation.now_ms)
                )
            except EvaluationError as error:
                evaluation.problem(trigger.name, "unless", error)
                drop_next(evaluation, trigger, occurrence, Reason.CONDITION_ERROR)
            end(evaluation, occurrence)
            break


def drop_next(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, reason: Reason) -> None:
    """Records a drop of the next send."""
    send = _next_send(trigger.steps, occurrence.step)
    if send is not None:
        verdict = Verdict(DecisionOutcome.DROP, reason)
        sending.record_decision(evaluation, trigger, occurrence, send, verdict)


def _next_send(steps: tuple[Step, ...], number: int) -> Send | None:
    """The first send from a step on, as the rule is written. Of a branch that is behind, it skips the other part."""
    ahead = set()
    while number < len(steps):
        step = steps[number]
        match step:
            case Send():
                return step
            case Branch(otherwise=second) | WaitFor(then=second):
                ahead.add(second - 1)  # where a jump over the second part may stand
        number = step.target if isinstance(step, Jump) and number not in ahead else number + 1
    return None


def advance(evaluation: Evaluation, occurrence: Occurrence) -> bool:
    """Executes one step of a due occurrence: decides a send, sets a wait, takes a branch, or ends it. Returns whether
    it is still running."""
    trigger = evaluation.rule_of(occurrence)
    if trigger is None:
        _end_withdrawn(evaluation, occurrence)
        return False
    step = step_of(trigger, occurrence)
    if not occurrence.held:
        occurrence.since = None
    match step:
        case Send():
            if _settles(evaluation, trigger, occurrence) or not sending.send(evaluation, trigger, occurrence, step):
                return True
            if occurrence.step + 1 < len(trigger.steps):
                occurrence.passes(step.id)
            return _proceed(evaluation, trigger, occurrence, occurrence.step + 1)
        case Wait() | WaitSlot() | WaitUntil():
            if not waits.begin(evaluation, trigger, occurrence, step):
                return _end_by_error(evaluation, trigger, occurrence)
            behind = occurrence.step + 1
            running = _proceed(evaluation, trigger, occurrence, behind)
            occurrence.step = behind  # jumps wait too: a changed profile finds the wait before the step
            return running
        case WaitFor():
            return _wait_for(evaluation, trigger, occurrence, step)
        case Branch():
            context = evaluation.context(occurrence.event, occurrence, occurrence.due)
            taken = evaluation.holds(trigger.name, "if", step.condition, context)
            return _proceed(evaluation, trigger, occurrence, occurrence.step + 1 if taken else step.otherwise)
        case Jump(target=target):
            return _proceed(evaluation, trigger, occurrence, target)
        case Exit():
            end(evaluation, occurrence)
            return False


def step_of(trigger: Trigger, occurrence: Occurrence) -> Step:
    """The step that is due next; the end if there is none."""
    return trigger.steps[occurrence.step] if occurrence.step < len(trigger.steps) else Exit()


def _wait_for(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, step: WaitFor) -> bool:
    """Begins the wait; continues if its event is remembered. Only an occurrence that goes its way again (`on_edit`) or
    settled can remember one from within the wait."""
    seen = occurrence.seen_at(step.name)
    if seen is not None and seen <= occurrence.due:
        return satisfy(evaluation, trigger, occurrence, step)
    if not waits.wait_for(evaluation, trigger, occurrence, step):
        return _end_by_error(evaluation, trigger, occurrence)
    occurrence.step += 1
    if seen is None or seen > occurrence.due:
        return True
    occurrence.due = seen
    return satisfy(evaluation, trigger, occurrence, step)


def satisfy(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, step: WaitFor) -> bool:
    """Continues after a `wait_for` whose event is remembered. Returns whether the occurrence is still running."""
    assert occurrence.journey is not None
    occurrence.journey.matched, occurrence.since = step.name, None
    return _proceed(evaluation, trigger, occurrence, step.then)


def _proceed(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, step: int) -> bool:
    """Goes on with a step; ends the occurrence if none is left, so that no entry restarts it. Returns whether it is
    still running."""
    occurrence.wake = occurrence.due
    occurrence.step = _after_jumps(trigger, step)
    if occurrence.step < len(trigger.steps):
        return True
    end(evaluation, occurrence)
    return False


def apply_profile(evaluation: Evaluation, *, moved: bool) -> list[Occurrence]:
    """Computes waits again after a changed profile, and wakes occurrences that are held: those that wait for a profile,
    or all if the zone `moved`. Returns the occurrences that may now be due."""
    touched = []
    for occurrence in [*evaluation.state.running]:
        if occurrence.held:
            if moved or occurrence.since is not None:
                occurrence.wake = min(occurrence.wake, evaluation.now_ms)
                touched.append(occurrence)
        elif (trigger := evaluation.rule_of(occurrence)) is not None:
            wait = waits.moved_by_profile(evaluation, trigger, occurrence, moved=moved)
            if wait is None:
                continue
            if waits.apply_profile(evaluation, trigger, occurrence, wait):
                touched.append(occurrence)
            else:
                _end_by_error(evaluation, trigger, occurrence)
    return touched


def _end_withdrawn(evaluation: Evaluation, occurrence: Occurrence) -> None:
    """Ends an occurrence whose rule was removed. Records a drop if the rule's text is still available."""
    old = evaluation.rules.pinned.get((occurrence.rule_hash, occurrence.trigger))
    if old is None:
        evaluation.count("withdrawn")
    else:
        drop_next(evaluation, old, occurrence, Reason.WITHDRAWN)
    end(evaluation, occurrence)


def _end_by_error(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence) -> bool:
    """Ends an occurrence whose wait has no end because its expression failed, so that nobody gets mail by mistake.
    Returns False."""
    drop_next(evaluation, trigger, occurrence, Reason.CONDITION_ERROR)
    end(evaluation, occurrence)
    return False


def _after_jumps(trigger: Trigger, step: int) -> int:
    """The first step from `step` on that is no jump."""
    while step < len(trigger.steps) and isinstance(jump := trigger.steps[step], Jump):
        step = jump.target
    return step


def _settles(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence) -> bool:
    """Delays a send once, until `settle` after its due time; returns whether it is delayed."""
    if occurrence.held or evaluation.now_ms >= occurrence.due + trigger.settle_ms:
        return False
    occurrence.wake = occurrence.due + trigger.settle_ms
    return True
