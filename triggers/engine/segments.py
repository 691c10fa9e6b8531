"""Segments: whether a user is in each, and the instants at which that may change by time alone.

A segment depends on what it reads and on nothing else, whatever other rules read (settled case 24). It is evaluated
again after an event that adds to a score or a metric that it reads, after a changed profile where it reads the user or
a calendar metric counts other days now, and when its timer is due. The timer is the first instant at which anything
that its condition reads can change by itself:

- a metric, when the next event leaves its window, at the end of the local day, week or month where that is calendar;
- a score, when it falls below a line that the condition compares it with: the loader refuses every other use of one;
- `now`, at each local midnight, as the language says.

So a segment that does not name `now` changes at the exact millisecond. Its first evaluation, before the first event
that feeds it or before the first profile, begins nothing (settled case 19). Nothing is kept of a segment that the user
is not in and that time does not move: before a profile, or after a change of the set of segments, such a segment is
evaluated once more before an event feeds it, which gives the membership as it was.
"""

from collections.abc import Mapping

from triggers.cel.runtime import as_time
from triggers.engine.turn import Turn
from triggers.measures.local_time import calendar_window
from triggers.measures.shapes import Calendar
from triggers.rules.rule import Segment, Trigger
from triggers.rules.ruleset import Route
from triggers.rules.state import Membership, StoredEvent

ENTERED = "segment.entered"
LEFT = "segment.left"
Move = tuple[Trigger, StoredEvent]
"""A trigger that a change of a segment begins, and the event that stands for the change."""


def initialize(turn: Turn) -> None:
    """Evaluates the segments that were never evaluated for this user; nobody enters or leaves by that."""
    state, rules = turn.state, turn.rules
    if state.segment_version == rules.segment_version:
        return
    state.segments = {key: each for key, each in state.segments.items() if key in rules.memberships}
    for key, segment in rules.memberships.items():
        if key not in state.segments:
            _note(turn, segment, turn.ask_segment(segment, turn.now_ms))
    state.segment_version = rules.segment_version


def before_event(turn: Turn, route: Route) -> dict[str, bool]:
    """The memberships before an event, by key, of the segments that it may move and that may never have been
    evaluated."""
    if turn.state.segment_version == turn.rules.segment_version:
        return {}
    known = turn.state.segments
    return {each.key: turn.ask_segment(each, turn.now_ms) for each in route.segments if each.key not in known}


def at_event(
    turn: Turn, route: Route, event: StoredEvent, fed: frozenset[str], before: Mapping[str, bool]
) -> list[Move]:
    """Evaluates the segments that read a score or a metric, by name in `fed`, to which the event has added.

    `before` is what `before_event` returned.
    """
    asked = [segment for segment in route.segments if not fed.isdisjoint(turn.rules.feeds[segment.key])]
    return [
        move
        for segment in asked
        for move in _ask(turn, segment, event.id, event.time_ms, before.get(segment.key, False))
    ]


def at_profile(turn: Turn, *, changed: bool, moved: bool) -> list[Move]:
    """Evaluates the segments that read the user after a `changed` profile, and where the zone `moved` those over
    calendar windows; the timers of the others follow the new zone."""
    moves: list[Move] = []
    for segment in turn.rules.segments.values():
        if (changed and "user" in segment.when.code.roots) or (moved and _by_calendar(turn, segment)):
            moves += _ask(turn, segment, None, turn.now_ms)
        elif moved and (known := turn.state.segments.get(segment.key)) is not None:
            _note(turn, segment, known.inside)
    return moves


def _by_calendar(turn: Turn, segment: Segment) -> bool:
    metrics = (turn.rules.metrics[name].metric for name, _ in segment.when.code.metrics)
    return any(isinstance(metric.window, Calendar) for metric in metrics)


def fall_due(turn: Turn, key: str) -> list[Move]:
    """Evaluates a segment whose timer is due, at that instant."""
    segment = turn.rules.memberships.get(key)
    due = turn.state.segments[key].due
    if segment is None or due is None:
        del turn.state.segments[key]
        return []
    return _ask(turn.as_of(due), segment, None, due)


def _ask(turn: Turn, segment: Segment, event_id: str | None, at: int, before: bool = False) -> list[Move]:
    """Evaluates a segment at the clock. `at` is the instant of the change; it is also the id where no event caused it.

    `before` is the membership before, where the state keeps none.
    """
    known = turn.state.segments.get(segment.key)
    before, inside = known.inside if known is not None else before, turn.ask_segment(segment, turn.now_ms, tell=True)
    _note(turn, segment, inside)
    if inside is before:
        return []
    name = event_id or as_time(at).isoformat()
    entry = StoredEvent(name, ENTERED if inside else LEFT, at, "", {})
    return [(trigger, entry) for trigger in turn.rules.movers.get((segment.name, inside), ())]


def _note(turn: Turn, segment: Segment, inside: bool) -> None:
    """Keeps a membership and its next change, unless the user is outside and time alone does not change that."""
    due = _next_change(turn, segment, turn.now_ms)
    if inside or due is not None:
        turn.state.segments[segment.key] = Membership(inside, due)
    else:
        turn.state.segments.pop(segment.key, None)


def _next_change(turn: Turn, segment: Segment, at: int) -> int | None:
    """The first instant after `at` at which the segment may change without an event; None where it cannot."""
    instants = [_score_falls(turn, score, line, at) for score, line in segment.lines]
    zone = turn.zone()
    for name in {name for name, _ in segment.when.code.metrics}:
        counted = turn.rules.metrics[name]
        known = turn.state.windows.get(counted.key)
        instants.append(counted.tally.next_change(known, at, zone) if known is not None else None)
    if "now" in segment.when.code.roots:
        instants.append(calendar_window(zone, at, "day")[1])
    return min((instant for instant in instants if instant is not None), default=None)


def _score_falls(turn: Turn, name: str, line: float, at: int) -> int | None:
    known = turn.state.scores.get(name)
    curve = turn.rules.scores[name].curve
    if known is None or curve.read(known, at) < line:
        return None
    falls = curve.falls_below(known, line)
    return None if falls is None else max(falls, at + 1)
