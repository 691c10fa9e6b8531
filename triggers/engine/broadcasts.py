"""Events without a user, applied to one user: they meet the occurrences that wait for them by `same`, nothing else.

They feed no score, metric or segment, begin nothing, and reach no goal. An occurrence that enters after the event has
reached the user is not met, even if its entry event is older.
"""

from triggers.engine import awaited, journeys
from triggers.engine.evaluation import Evaluation, agree
from triggers.rules.events import StoredEvent
from triggers.rules.state import Occurrence
from triggers.rules.waiting import waiting_patterns


def reach(evaluation: Evaluation, event: StoredEvent) -> list[Occurrence]:
    """Applies the event if an occurrence waits for it and its id is new to the user, and counts it as `reached`.

    Returns the occurrences that waited for it and now continue.
    """
    if not concerns(evaluation, event):
        return []
    if not evaluation.state.seen.add(event.id, evaluation.now_ms):
        evaluation.count("duplicate")
        return []
    evaluation.count("reached")
    journeys.end_by_event(evaluation, event, without_user=True)
    return awaited.meet(evaluation, evaluation.rules.routes[event.type], event, without_user=True)


def concerns(evaluation: Evaluation, event: StoredEvent) -> bool:
    """Whether a running occurrence waits for the event."""
    return any(_waits(evaluation, occurrence, event) for occurrence in evaluation.state.running)


def _waits(evaluation: Evaluation, occurrence: Occurrence, event: StoredEvent) -> bool:
    if event.time_ms < occurrence.entered_at:
        return False
    trigger = evaluation.rules.followed(occurrence.trigger, occurrence.rule_hash)
    return trigger is not None and any(
        event.type in pattern.types and agree(pattern, occurrence.event, event) for pattern in waiting_patterns(trigger)
    )
