"""Remembers `unless` events: an entry that arrives later and is not newer begins nothing (settled case 7)."""

from triggers.cel.conditions import Context
from triggers.engine.evaluation import Evaluation, same_fields
from triggers.rules.events import StoredEvent
from triggers.rules.routes import Route
from triggers.rules.rule import Trigger
from triggers.rules.state import UnlessEvent

MAX_UNLESS_EVENTS = 16
_MISSING = object()


def remember(evaluation: Evaluation, route: Route, event: StoredEvent, context: Context) -> None:
    """Remembers the event for each `unless` pattern that it matches, as long as an entry may still arrive."""
    for trigger, pattern in route.unless_events:
        if evaluation.now_ms - event.time_ms > trigger.max_age_ms:
            continue
        if pattern.where is not None and not evaluation.holds(trigger.name, "unless", pattern.where, context):
            continue
        if any(name not in event.properties for name in pattern.same):
            continue
        since = evaluation.now_ms - trigger.max_age_ms
        known = [each for each in evaluation.state.unless_events.get(trigger.name, ()) if each.time_ms >= since]
        newest = UnlessEvent(event.time_ms, event.id, list(pattern.same), same_fields(pattern, event))
        events = _with(known, newest)
        if len(events) > MAX_UNLESS_EVENTS:
            evaluation.forgot(trigger.name, "unless events")
        evaluation.state.unless_events[trigger.name] = events[-MAX_UNLESS_EVENTS:]


def _with(known: list[UnlessEvent], new: UnlessEvent) -> list[UnlessEvent]:
    """The events and one more. Of those with equal `same` values only the latest is kept: it ends what the older ones
    end."""
    kept = []
    for each in known:
        if each.same == new.same and each.names == new.names:
            if each.time_ms > new.time_ms:
                return known
            if each.time_ms < new.time_ms:
                continue
        kept.append(each)
    kept.append(new)
    return kept


def is_over(evaluation: Evaluation, trigger: Trigger, entry: StoredEvent) -> bool:
    """Whether an `unless` event that is not older than the entry arrived before it."""
    for each in evaluation.state.unless_events.get(trigger.name, ()):
        if each.time_ms < entry.time_ms or each.event_id == entry.id:
            continue
        for name, value in zip(each.names, each.same, strict=True):
            if entry.properties.get(name, _MISSING) != value:
                break
        else:
            return True
    return False
