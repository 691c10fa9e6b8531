"""Segments: whether a user is in each, and the instants at which that may change by time alone.

A segment is asked again after every event that can move it, at every profile change, and when its timer is due. The
timer is the first instant at which anything that its condition reads can change by itself:

- a metric, when the next event leaves its window, at the end of the local day, week or month where that is calendar;
- a score, when it falls below a line that the condition compares it with: the loader refuses every other use of one;
- `now`, at each local midnight, as the language says.

So a segment that does not name `now` changes at the exact millisecond. Nothing is kept of a user whom no rule knows:
a segment is first asked at the next event or profile change, before it counts, and what it says then moves nothing
(settled case 19). Nor is anything kept of a segment that the user is not in and that time does not move. So where
the set of segments changes, all others are asked anew, which finds those that were asked before as they were.
"""

from triggers.cel_runtime import as_time
from triggers.localtime import calendar_window
from triggers.rule import Segment, Trigger
from triggers.ruleset import Route
from triggers.state import Membership, StoredEvent
from triggers.turn import Turn

ENTERED = "segment.entered"
LEFT = "segment.left"
Move = tuple[Trigger, StoredEvent]
"""A trigger that a change of a segment begins, and the event that stands for the change."""


def meet(turn: Turn) -> None:
    """Asks the segments that were never asked of this user; nobody enters or leaves by that."""
    state, rules = turn.state, turn.rules
    if state.met_by == rules.roster:
        return
    state.segments = {key: each for key, each in state.segments.items() if key in rules.memberships}
    for key, segment in rules.memberships.items():
        if key not in state.segments:
            _note(turn, segment, turn.ask_segment(segment, turn.now_ms))
    state.met_by = rules.roster


def at_event(turn: Turn, route: Route, event: StoredEvent) -> list[Move]:
    """Asks the segments that an event can move, and those that time moves at this very instant."""
    segments, rules = route.segments, turn.rules
    due = [key for key, each in turn.state.segments.items() if each.due is not None and each.due <= turn.now_ms]
    if due:
        asked = {*due, *(segment.key for segment in segments)}
        segments = [rules.memberships[key] for key in sorted(asked, key=rules.ranks.__getitem__)]
    return [move for segment in segments for move in _ask(turn, segment, event.id, event.time_ms)]


def at_profile(turn: Turn) -> list[Move]:
    """Asks every segment after a change of the profile."""
    segments = turn.rules.segments.values()
    return [move for segment in segments for move in _ask(turn, segment, None, turn.now_ms)]


def fall_due(turn: Turn, key: str) -> list[Move]:
    """Asks a segment whose timer is due, as of that instant."""
    segment = turn.rules.memberships.get(key)
    due = turn.state.segments[key].due
    if segment is None or due is None:
        del turn.state.segments[key]
        return []
    return _ask(turn.as_of(due), segment, None, due)


def _ask(turn: Turn, segment: Segment, event_id: str | None, at: int) -> list[Move]:
    """Asks as of the clock; `at` is the instant of what moved it, which also names it where no event did."""
    known = turn.state.segments.get(segment.key)
    before, inside = known is not None and known.inside, turn.ask_segment(segment, turn.now_ms, tell=True)
    _note(turn, segment, inside)
    if inside is before:
        return []
    name = event_id or as_time(at).isoformat()
    entry = StoredEvent(name, ENTERED if inside else LEFT, at, "", {})
    return [(trigger, entry) for trigger in turn.rules.movers.get((segment.name, inside), ())]


def _note(turn: Turn, segment: Segment, inside: bool) -> None:
    """Keeps what a segment says, and until when, unless the user is outside and time alone does not change that."""
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
