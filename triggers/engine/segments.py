"""Segments: whether a user is in each, and the instants at which time alone may change that.

A segment depends only on what it reads, whatever other rules read (settled case 24). It is evaluated again after an
event that adds to a score or metric that it reads; after a changed profile, if it reads the user or if a calendar
metric now counts other days; and when its timer is due. The timer is the first instant at which anything that its
condition reads can change by itself:

- a metric: when the next event leaves its window, or at the end of the local day, week or month of a calendar window;
- a score: when it falls below a line that the condition compares it with (the loader rejects every other use of one);
- `now`: at each local midnight, as the language defines.

So a segment that does not name `now` changes at the exact millisecond. If its timer is due at the instant of an event
or a profile, the timer decides, after all records of that instant: what leaves a window and what comes into it at one
instant move nobody twice (settled case 23). The entry still has the name of the event that moved it. Its first
evaluation, before the first event that feeds it or before the first profile, begins nothing (settled case 19). A
segment that the user is not in, and that time cannot change, is not stored. Before a profile, or after a change of the
set of segments, such a segment is evaluated once more before an event feeds it, which gives the earlier membership.
"""

from collections.abc import Mapping

from triggers.cel.runtime import as_time
from triggers.engine.evaluation import Evaluation
from triggers.measures.local_time import calendar_window
from triggers.measures.shapes import Calendar
from triggers.rules.events import StoredEvent
from triggers.rules.routes import Route
from triggers.rules.rule import Segment, Trigger
from triggers.rules.state import Membership, window_of

ENTERED = "segment.entered"
LEFT = "segment.left"
Move = tuple[Trigger, StoredEvent]
"""A trigger that a change of a segment begins, and the event that stands for the change."""


def initialize(evaluation: Evaluation) -> None:
    """Evaluates the segments that were never evaluated for this user. This is no entry and no exit."""
    state, rules = evaluation.state, evaluation.rules
    if state.segment_version == rules.segment_version:
        return
    state.segments = {key: each for key, each in state.segments.items() if key in rules.memberships}
    for key, segment in rules.memberships.items():
        if key not in state.segments:
            _store(evaluation, segment, evaluation.evaluate_segment(segment, evaluation.now_ms))
    state.segment_version = rules.segment_version


def before_event(evaluation: Evaluation, route: Route) -> dict[str, bool]:
    """The memberships before an event, by key, of the segments that it may move and that may never have been
    evaluated."""
    if evaluation.state.segment_version == evaluation.rules.segment_version:
        return {}
    known = evaluation.state.segments
    return {
        each.key: evaluation.evaluate_segment(each, evaluation.now_ms)
        for each in route.segments
        if each.key not in known
    }


def at_event(
    evaluation: Evaluation, route: Route, event: StoredEvent, fed: frozenset[str], before: Mapping[str, bool]
) -> list[Move]:
    """Evaluates the segments that read a score or a metric, by name in `fed`, to which the event has added.

    `before` is what `before_event` returned.
    """
    asked = [segment for segment in route.segments if not fed.isdisjoint(evaluation.rules.feeds[segment.key])]
    return [
        move
        for segment in asked
        for move in _evaluate(evaluation, segment, event.id, event.time_ms, before.get(segment.key, False))
    ]


def at_profile(evaluation: Evaluation, *, changed: bool, moved: bool) -> list[Move]:
    """Evaluates the segments that read the user after a `changed` profile, and those over calendar windows if the zone
    `moved`. The timers of the others follow the new zone, but one that is due at this instant still fires."""
    moves: list[Move] = []
    now_ms = evaluation.now_ms
    for segment in evaluation.rules.segments.values():
        if (changed and "user" in segment.when.code.roots) or (moved and _by_calendar(evaluation, segment)):
            moves += _evaluate(evaluation, segment, None, now_ms)
        elif moved and (known := evaluation.state.segments.get(segment.key)) is not None and not _is_due(known, now_ms):
            _store(evaluation, segment, known.inside)
    return moves


def _is_due(membership: Membership, now_ms: int) -> bool:
    return membership.due is not None and membership.due <= now_ms


def _by_calendar(evaluation: Evaluation, segment: Segment) -> bool:
    metrics = (evaluation.rules.metrics[name].metric for name, _ in segment.when.code.metrics)
    return any(isinstance(metric.window, Calendar) for metric in metrics)


def fall_due(evaluation: Evaluation, key: str) -> list[Move]:
    """Evaluates a segment whose timer is due, at that instant."""
    segment = evaluation.rules.memberships.get(key)
    known = evaluation.state.segments[key]
    if segment is None or known.due is None:
        del evaluation.state.segments[key]
        return []
    return _evaluate(evaluation.as_of(known.due), segment, known.moved_by, known.due, by_timer=True)


def _evaluate(
    evaluation: Evaluation,
    segment: Segment,
    event_id: str | None,
    at: int,
    before: bool = False,
    *,
    by_timer: bool = False,
) -> list[Move]:
    """Evaluates a segment at the clock. `at` is the instant of the change. It is also the id if no event caused it.

    `before` is the earlier membership if the state stores none.
    """
    known = evaluation.state.segments.get(segment.key)
    before, inside = (
        known.inside if known is not None else before,
        evaluation.evaluate_segment(segment, evaluation.now_ms, report=True),
    )
    name = "" if inside is before else event_id or as_time(at).isoformat()
    if known is not None and not by_timer and _is_due(known, evaluation.now_ms):
        known.moved_by = name or None
        return []
    _store(evaluation, segment, inside)
    if not name:
        return []
    entry = StoredEvent(name, ENTERED if inside else LEFT, at, "", {})
    return [(trigger, entry) for trigger in evaluation.rules.movers.get((segment.name, inside), ())]


def _store(evaluation: Evaluation, segment: Segment, inside: bool) -> None:
    """Stores a membership and its next change, unless the user is outside and time alone cannot change that."""
    due = _next_change(evaluation, segment, evaluation.now_ms)
    if inside or due is not None:
        evaluation.state.segments[segment.key] = Membership(inside, due)
    else:
        evaluation.state.segments.pop(segment.key, None)


def _next_change(evaluation: Evaluation, segment: Segment, at: int) -> int | None:
    """The first instant after `at` at which the segment may change without an event; None if it cannot."""
    instants = [_score_falls(evaluation, score, line, at) for score, line in segment.lines]
    zone = evaluation.zone()
    for name in {name for name, _ in segment.when.code.metrics}:
        counted = evaluation.rules.metrics[name]
        known = window_of(evaluation.state.windows, counted.key)
        instants.append(counted.tally.next_change(known, at, zone) if known is not None else None)
    if "now" in segment.when.code.roots:
        instants.append(calendar_window(zone, at, "day")[1])
    return min((instant for instant in instants if instant is not None), default=None)


def _score_falls(evaluation: Evaluation, name: str, line: float, at: int) -> int | None:
    known = evaluation.state.scores.get(name)
    curve = evaluation.rules.scores[name].curve
    if known is None or curve.read(known, at) < line:
        return None
    falls = curve.falls_below(known, line)
    return None if falls is None else max(falls, at + 1)
