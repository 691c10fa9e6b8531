"""Entries: what begins an occurrence, what enters one that runs, and what may not enter."""

from typing import Any

from schemas.vocabulary import Reason
from triggers.cel.conditions import Context
from triggers.cel.runtime import EvaluationError
from triggers.engine import journeys, kept_events, unless_events
from triggers.engine.evaluation import Evaluation
from triggers.rules.assignment import variant
from triggers.rules.events import StoredEvent
from triggers.rules.rule import Trigger
from triggers.rules.state import Occurrence, occurrence_id, text_of_key

MAX_RUNNING = 64
MAX_KEYS = 256
MAX_KEY_CHARS = 512


def begin(
    evaluation: Evaluation, trigger: Trigger, event: StoredEvent, at: int, context: Context | None = None
) -> Occurrence | None:
    """Begins or restarts an occurrence at an instant.

    None if the entry is too old, was ended before it arrived, is excluded by `reentry`, or restarts nothing.
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
            return _enter_again(evaluation, trigger, running, event, at)
        if not _may_enter(evaluation, trigger, key_text, at):
            evaluation.count("reentry")
            return None
    if len(evaluation.state.running) >= MAX_RUNNING:
        _make_room(evaluation, trigger)
    name = occurrence_id(key, event.id)
    chosen = variant_of(evaluation, trigger)
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


def _enter_again(
    evaluation: Evaluation, trigger: Trigger, running: Occurrence, event: StoredEvent, at: int
) -> Occurrence | None:
    """Starts again with the new event, gathers it, or ignores it. An entry older than the one of the running occurrence
    restarts nothing."""
    if trigger.overlap == "ignore":
        return None
    if trigger.overlap == "gather":
        kept_events.gather(evaluation, trigger, running, event)
        return None
    if at < running.entered_at:
        evaluation.count("late")
        return None
    running.event, running.entered_at, running.rule_hash = event, at, trigger.rule_hash
    running.step, running.due, running.wake, running.held, running.since = 0, at, at, False, None
    running.journey = None
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


def variant_of(evaluation: Evaluation, trigger: Trigger) -> str | None:
    """The variant of the trigger's experiment to which the user belongs; None without an experiment."""
    if trigger.experiment is None:
        return None
    return variant(trigger.experiment.salt, evaluation.state.user_id, dict(trigger.experiment.weights))


def _make_room(evaluation: Evaluation, trigger: Trigger) -> None:
    running = [each for each in evaluation.state.running if each.trigger == trigger.name]
    if len(running) >= MAX_RUNNING:
        oldest = running[0]
        evaluation.count("evicted")
        evaluation.forgot(trigger.name, "running occurrences")
        journeys.drop_next(evaluation, trigger, oldest, Reason.EVICTED)
        journeys.end(evaluation, oldest)
