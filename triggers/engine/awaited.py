"""Events for which `wait_for` steps wait: remembers the first since the entry, and continues what waits for it."""

from triggers.engine import journeys, kept_events, waits
from triggers.engine.evaluation import Evaluation, agree
from triggers.rules.events import StoredEvent
from triggers.rules.routes import Route
from triggers.rules.rule import Pattern, Trigger
from triggers.rules.state import Occurrence


def meet(evaluation: Evaluation, route: Route, event: StoredEvent, *, without_user: bool = False) -> list[Occurrence]:
    """Remembers the event for the steps that it matches, of every running occurrence that it is not older than.

    Returns the occurrences that waited for it and now continue. An event `without_user` matches only by `same`.
    """
    met = []
    for occurrence in [*evaluation.state.running]:
        trigger = evaluation.rule_of(occurrence)
        if trigger is None or event.time_ms < occurrence.entered_at:
            continue
        for name, pattern in route.awaited.get((trigger.rule_hash, trigger.name), {}).items():
            if without_user and not pattern.same:
                continue
            if _meets(evaluation, trigger, occurrence, (name, pattern), event):
                met.append(occurrence)
    kept_events.make_room(evaluation)
    return met


def _meets(
    evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, awaited: tuple[str, Pattern], event: StoredEvent
) -> bool:
    """Remembers the event if it is the first that the pattern matches; returns whether the occurrence continues by it.

    What happened after the end of a wait does not satisfy it, though it may arrive before the wait is over.
    """
    name, pattern = awaited
    step = waits.awaits(trigger, occurrence)
    in_time = step is not None and step.name == name and event.time_ms <= occurrence.due
    if (occurrence.has_seen(name) and not in_time) or not _matches(evaluation, trigger, occurrence, pattern, event):
        return False
    kept_events.remember(trigger, occurrence, name, event)
    if step is None or not in_time:
        return False
    assert occurrence.since is not None
    occurrence.due = max(occurrence.since, event.time_ms)
    return journeys.satisfy(evaluation, trigger, occurrence, step)


def _matches(
    evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, pattern: Pattern, event: StoredEvent
) -> bool:
    if not agree(pattern, occurrence.event, event):
        return False
    if pattern.where is None:
        return True
    context = evaluation.context(event, occurrence, evaluation.now_ms)
    return evaluation.holds(trigger.name, "wait_for", pattern.where, context)
