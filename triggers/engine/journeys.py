"""The life of an occurrence: it begins, waits, sends, is deferred, and ends."""

from typing import Any

from schemas.vocabulary import DecisionOutcome, Reason
from triggers.cel.conditions import Context
from triggers.cel.runtime import EvaluationError
from triggers.engine import sending, unless_events, waits
from triggers.engine.evaluation import Evaluation, OccurrenceExit, agree
from triggers.engine.gates.request import Verdict
from triggers.rules.assignment import variant
from triggers.rules.events import StoredEvent
from triggers.rules.rule import Branch, Exit, Jump, Send, Trigger, Wait, WaitSlot, WaitUntil
from triggers.rules.state import Occurrence, occurrence_id, text_of_key

MAX_RUNNING = 64
MAX_KEYS = 256
MAX_KEY_CHARS = 512


def begin(
    evaluation: Evaluation, trigger: Trigger, event: StoredEvent, at: int, context: Context | None = None
) -> Occurrence | None:
    """Begins or restarts an occurrence at an instant.

    None if the entry is too old, was ended before it arrived, or is excluded by `reentry`.
    """
    if evaluation.now_ms - at > trigger.max_age_ms:
        evaluation.count("stale")
        return None
    key = key_text = None
    if trigger.key:
        try:
            key = _key(evaluation, trigger, event, context)
            key_text = text_of_key(key)
            if key_text is not None and len(key_text) > MAX_KEY_CHARS:
                raise EvaluationError(f"a key of more than {MAX_KEY_CHARS} characters")
        except EvaluationError as error:
            evaluation.problem(trigger.name, "key", error)
            return None
    if evaluation.state.unless_events and unless_events.is_over(evaluation, trigger, event):
        evaluation.count("ended_before_entry")
        return None
    if key_text is not None:
        running = _running_with(evaluation, trigger, key_text)
        if running is not None:
            return _restart(evaluation, trigger, running, event, at)
        if not _may_enter(evaluation, trigger, key_text, at):
            evaluation.count("reentry")
            return None
    if len(evaluation.state.running) >= MAX_RUNNING:
        _make_room(evaluation, trigger)
    name = occurrence_id(key, event.id)
    chosen = _variant(evaluation, trigger)
    occurrence = Occurrence(
        trigger.name, trigger.rule_hash, name, key, key_text, event.id, event, at, chosen, 0, at, at
    )
    evaluation.state.running.append(occurrence)
    _remember_entry(evaluation, trigger, key_text, at)
    return occurrence


def _key(evaluation: Evaluation, trigger: Trigger, event: StoredEvent, context: Context | None) -> Any:
    """The value of the trigger's `key`, a list if it has several parts."""
    context = context or evaluation.context(event, None, evaluation.now_ms)
    values = [part.value(context) for part in trigger.key]
    for value in values:
        if value is None or value.__class__ in (list, dict):
            raise EvaluationError("a key must be a text, a number or a boolean")
    return values[0] if len(values) == 1 else values


def _running_with(evaluation: Evaluation, trigger: Trigger, key_text: str) -> Occurrence | None:
    for each in evaluation.state.running:
        if each.key_text == key_text and each.trigger == trigger.name:
            return each
    return None


def _restart(
    evaluation: Evaluation, trigger: Trigger, running: Occurrence, event: StoredEvent, at: int
) -> Occurrence | None:
    """Starts again with the new event. An entry older than the one of the running occurrence changes nothing."""
    if trigger.overlap == "ignore":
        return None
    if at < running.entered_at:
        evaluation.count("late")
        return None
    running.event, running.entered_at, running.rule_hash = event, at, trigger.rule_hash
    running.step, running.due, running.wake, running.held, running.since = 0, at, at, False, None
    _remember_entry(evaluation, trigger, running.key_text, at)
    return running


def _may_enter(evaluation: Evaluation, trigger: Trigger, key_text: str, at: int) -> bool:
    if trigger.reentry_ms == 0:
        return True
    last = evaluation.state.entries.get(trigger.name, {}).get(key_text)
    return last is None or (trigger.reentry_ms is not None and at >= last + trigger.reentry_ms)


def _remember_entry(evaluation: Evaluation, trigger: Trigger, key_text: str | None, at: int) -> None:
    if key_text is None or trigger.reentry_ms == 0:
        return
    keys = evaluation.state.entries.setdefault(trigger.name, {})
    keys.pop(key_text, None)
    keys[key_text] = at
    if len(keys) > MAX_KEYS:
        evaluation.forgot(trigger.name, "keys")
        del keys[next(iter(keys))]


def _variant(evaluation: Evaluation, trigger: Trigger) -> str | None:
    if trigger.experiment is None:
        return None
    return variant(trigger.experiment.salt, evaluation.state.user_id, dict(trigger.experiment.weights))


def _make_room(evaluation: Evaluation, trigger: Trigger) -> None:
    running = [each for each in evaluation.state.running if each.trigger == trigger.name]
    if len(running) >= MAX_RUNNING:
        oldest = running[0]
        evaluation.count("evicted")
        evaluation.forgot(trigger.name, "running occurrences")
        drop_next(evaluation, trigger, oldest, Reason.EVICTED)
        end(evaluation, oldest)


def end(evaluation: Evaluation, occurrence: Occurrence) -> None:
    """Ends a running occurrence."""
    evaluation.state.running = [each for each in evaluation.state.running if each is not occurrence]


def end_by_event(evaluation: Evaluation, event: StoredEvent) -> None:
    """Ends the running occurrences whose `unless` the event matches. An `unless` that fails also drops the send."""
    for occurrence in [*evaluation.state.running]:
        trigger = evaluation.rule_of(occurrence)
        if trigger is None or event.time_ms < occurrence.entered_at:
            continue
        for pattern in trigger.unless:
            if event.type not in pattern.types or not agree(pattern, occurrence.event, event):
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
    following = (step for step in trigger.steps[occurrence.step :] if isinstance(step, Send))
    send = next(following, None)
    if send is not None:
        verdict = Verdict(DecisionOutcome.DROP, reason)
        sending.record_decision(evaluation, trigger, occurrence, send, verdict)


def advance(evaluation: Evaluation, occurrence: Occurrence) -> bool:
    """Executes one step of a due occurrence: decides a send, sets a wait, takes a branch, or ends it. Returns whether
    it is still running."""
    trigger = evaluation.rule_of(occurrence)
    if trigger is None:
        _end_withdrawn(evaluation, occurrence)
        return False
    step = trigger.steps[occurrence.step] if occurrence.step < len(trigger.steps) else Exit()
    if not occurrence.held:
        occurrence.since = None
    match step:
        case Send():
            if _settles(evaluation, trigger, occurrence) or not sending.send(evaluation, trigger, occurrence, step):
                return True
            occurrence.step += 1
        case Wait() | WaitSlot() | WaitUntil():
            if not waits.begin(evaluation, trigger, occurrence, step):
                _end_by_error(evaluation, trigger, occurrence)
                return False
            occurrence.step += 1
        case Branch():
            context = evaluation.context(occurrence.event, occurrence, occurrence.due)
            taken = evaluation.holds(trigger.name, "if", step.condition, context)
            occurrence.step = occurrence.step + 1 if taken else step.otherwise
        case Jump(target=target):
            occurrence.step = target
        case Exit():
            end(evaluation, occurrence)
            return False
    occurrence.wake = occurrence.due
    occurrence.step = _after_jumps(trigger, occurrence.step)
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
        elif occurrence.since is not None and (trigger := evaluation.rule_of(occurrence)) is not None:
            if waits.apply_profile(evaluation, trigger, occurrence, moved=moved):
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


def _end_by_error(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence) -> None:
    """Ends an occurrence whose wait has no end because its expression failed, so that nobody gets mail by mistake."""
    drop_next(evaluation, trigger, occurrence, Reason.CONDITION_ERROR)
    end(evaluation, occurrence)


def _after_jumps(trigger: Trigger, step: int) -> int:
    """The first step from `step` on that is no jump. An occurrence with only jumps left ends now, so that no entry
    restarts it."""
    while step < len(trigger.steps) and isinstance(jump := trigger.steps[step], Jump):
        step = jump.target
    return step


def _settles(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence) -> bool:
    """Delays a send once, until `settle` after its due time; returns whether it is delayed."""
    if occurrence.held or evaluation.now_ms >= occurrence.due + trigger.settle_ms:
        return False
    occurrence.wake = occurrence.due + trigger.settle_ms
    return True
