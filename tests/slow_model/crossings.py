"""What an event moves: scores, metrics, levels, sequences, segments. And what changes only with time, and when."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise, permutations
from typing import Any, NamedTuple

import orjson
from slow_model.expressions import Failed, value
from slow_model.localtime import midnight_after, next_window, stands_in
from slow_model.past import Points, Seen, Stage
from slow_model.present import Present, Standing, agree, belongs, matches, measure, roots, score
from slow_model.rulebook import Level, Measure, Pattern, Rule, Sequence

_FAR_MS = 100 * 365 * 86_400_000


class Entry(NamedTuple):
    """Something that may begin an occurrence of a rule, at an instant."""

    rule: Rule
    event: Seen
    at_ms: int


# what an event adds ------------------------------------------------------------------------------------------------


def feed(me: Present, event: Seen) -> list[Entry]:
    """Adds the event to scores, metrics and levels; what rises over its line by that."""
    risen: list[Entry] = []
    for each in me.book.scores.values():
        levels = [(rule, level) for rule, level in me.book.levels if level.score == each.name]
        for pattern, points in each.add:
            if matches(me, pattern, event):
                try:
                    worth = float(value(points, roots(me, event)))
                except Failed:
                    continue
                risen += _add(me, each.name, Points(event.time_ms, event.id, worth), levels)
    for name, metric in me.book.metrics.items():
        points = _worth(me, metric, event)
        if points is not None:
            _add(me, f"metric/{name}", points, [])
    for rule, level in me.book.levels:
        points = _worth(me, level.measure, event) if level.measure else None
        name = group(level, event)
        if points is not None and name is not None:
            risen += _add(me, name, points, [(rule, level)], _own(level, event))
    return risen


def group(level: Level, event: Seen) -> str | None:
    """Under which name a level is kept: one for each group of its events; None if the event is in none."""
    same = level.measure.pattern.same if level.measure else ()
    if any(name not in event.properties for name in same):
        return None
    return "|".join([level.id, *(orjson.dumps(event.properties[name]).decode() for name in same)])


def _own(level: Level, event: Seen) -> dict[str, Any]:
    """What a crossing has of properties: those by which its events are grouped."""
    return {name: event.properties[name] for name in level.measure.pattern.same} if level.measure else {}


def _worth(me: Present, what: Measure, event: Seen) -> Points | None:
    """What the event adds to a measure; nothing if it does not match, or cannot be summed or named."""
    if not matches(me, what.pattern, event):
        return None
    try:
        worth = float(value(what.sum, roots(me, event))) if what.sum else 0.0
        name = value(what.distinct, roots(me, event)) if what.distinct else None
    except Failed:
        return None
    return Points(event.time_ms, event.id, (worth, name))


def _add(
    me: Present, name: str, points: Points, levels: list[tuple[Rule, Level]], own: dict[str, Any] | None = None
) -> list[Entry]:
    """Adds to a score, a metric, or a level's group of events. A crossing has the group's properties, `own`.

    A level is a function of time: what it was before the first event of an instant it was a millisecond earlier. What
    leaves at the instant itself, or is asked between two events of one instant, is no dip.
    """
    added = me.past.added.setdefault(name, [])
    newest_ms = max([points.time_ms, *(each.time_ms for each in added)])
    time_passed = all(each.time_ms < points.time_ms for each in added)
    before = [level_value(me, level, name, newest_ms - time_passed) for _, level in levels]
    added.append(points)
    risen = []
    for (rule, level), was in zip(levels, before, strict=True):
        kept_as = name if level.score is None else level.id
        standing = me.levels.setdefault(kept_as, Standing(not level.falls, level.id, name, own or {}))
        if time_passed and not level.falls:
            standing.armed = standing.armed or was < level.rearm
        if _rises(me, level, standing, was, points.time_ms, newest_ms):
            risen.append(Entry(rule, crossing(me, standing, "risen", newest_ms), newest_ms))
    return risen


def _rises(me: Present, level: Level, standing: Standing, before: float, time_ms: int, newest_ms: int) -> bool:
    """Brings a level up to date after an addition; whether it rose over its line."""
    after = level_value(me, level, standing.fed_by, newest_ms)
    if level.falls:
        if standing.too_old_ms is not None and time_ms < standing.too_old_ms:
            standing.armed = True
        standing.too_old_ms = None
        standing.armed = standing.armed or after >= level.rearm
        standing.due_ms = falls_at(me, level, standing.fed_by, newest_ms) if standing.armed else None
        return False
    if standing.armed and before < level.line <= after:
        standing.armed = False
        return True
    return False


def crossing(me: Present, standing: Standing, how: str, at_ms: int) -> Seen:
    """A crossing as an entry: named by the last event that fed the level."""
    fed = me.past.added[standing.fed_by]
    return Seen(fed[-1].event_id, f"level.{how}", at_ms, "", standing.own)


def level_value(me: Present, level: Level, name: str, at_ms: int) -> float:
    """A level at an instant, of what was added under a name."""
    if level.score is not None:
        return score(me, level.score, at_ms)
    assert level.measure is not None
    found = measure(me, name, level.measure, at_ms)
    return found.sum if level.measure.sum else found.distinct if level.measure.distinct else found.count


# sequences ---------------------------------------------------------------------------------------------------------


def complete(me: Present, event: Seen) -> list[Entry]:
    """The sequences that the event completes: the earliest chain in which it stands."""
    found = []
    for rule in me.book.ranked:
        for sequence in rule.sequences:
            numbers = frozenset(n for n, pattern in enumerate(sequence.patterns) if matches(me, pattern, event))
            me.past.stages.append(Stage(sequence.id, numbers, event))
            chain = min(_chains(me, sequence, event), key=lambda chain: [(e.time_ms, e.id) for e in chain], default=())
            if chain:
                me.past.used |= {(sequence.id, each.id) for each in chain}
                found.append(Entry(rule, chain[-1], chain[-1].time_ms))
    return found


def _chains(me: Present, sequence: Sequence, last_seen: Seen) -> Iterator[tuple[Seen, ...]]:
    """Every choice of unused events, one for each pattern in order, with the one just seen among them."""
    free = [
        stage
        for stage in me.past.stages
        if stage.sequence == sequence.id and stage.numbers and (sequence.id, stage.event.id) not in me.past.used
    ]
    for stages in permutations(free, len(sequence.patterns)):
        chain = tuple(stage.event for stage in stages)
        if (
            last_seen in chain
            and all(number in stage.numbers for number, stage in enumerate(stages))
            and all(one.time_ms <= two.time_ms for one, two in pairwise(chain))
            and chain[-1].time_ms - chain[0].time_ms < sequence.within_ms
            and all(agree(sequence.same, chain[0], each) for each in chain)
        ):
            yield chain


# what moves by time ------------------------------------------------------------------------------------------------


def fed_by(me: Present, event: Seen) -> frozenset[str]:
    """The levels that the event may feed, as they are kept."""
    scores = {s.name for s in me.book.scores.values() for p, _ in s.add if event.type in p.types}
    names = {
        group(level, event)
        for _, level in me.book.levels
        if level.score in scores or (level.measure is not None and event.type in level.measure.pattern.types)
    }
    return frozenset(name for name in names if name is not None)


def falls_at(me: Present, level: Level, name: str, since_ms: int) -> int | None:
    """The first millisecond from an instant on at which a level is below its line; None if that never comes."""

    def below(at_ms: int) -> bool:
        return level_value(me, level, name, at_ms) < level.line

    if level.measure is not None:
        instants = [since_ms, *_leaving(me, name, level.measure, since_ms, since_ms + _FAR_MS)]
        return next((at for at in instants if below(at)), None)
    assert level.score is not None
    curve, step_ms = me.book.scores[level.score].curve, 1
    if curve.kind == "exponential" and not below(since_ms):
        guess_ms = since_ms + int(curve.ms * math.log2(level_value(me, level, name, since_ms) / level.line))
        since_ms = max(guess_ms - 2, since_ms) if not below(max(guess_ms - 2, since_ms)) else since_ms
    while not below(since_ms + step_ms) and step_ms < _FAR_MS:
        step_ms *= 2
    return _first(below, since_ms, since_ms + step_ms)


def moved(me: Present) -> None:
    """The zone has changed, and with it the local days, weeks and months of levels that are to fall."""
    levels = {level.id: level for _, level in me.book.levels}
    for standing in me.levels.values():
        level = levels.get(standing.level)
        if standing.due_ms is not None and level and level.measure and level.measure.window.unit:
            standing.due_ms = falls_at(me, level, standing.fed_by, me.now_ms)


def _leaving(me: Present, name: str, what: Measure, after_ms: int, until_ms: int) -> list[int]:
    """When a measured value may change only with time, within (after, until]."""
    times = [each.time_ms for each in me.past.added.get(name, [])]
    instants = {at for at in times if after_ms < at <= until_ms}
    if what.window.ms is not None:
        instants |= {at + what.window.ms for at in times if after_ms < at + what.window.ms <= until_ms}
    if what.window.unit is not None:
        newest_ms = max([*times, after_ms])
        instants |= set(_midnights(me, after_ms, min(until_ms, newest_ms + 32 * 86_400_000)))
    return sorted(instants)


def _midnights(me: Present, after_ms: int, until_ms: int) -> Iterator[int]:
    at_ms = midnight_after(me.zone, after_ms)
    while at_ms <= until_ms:
        yield at_ms
        at_ms = midnight_after(me.zone, at_ms)


def _first(true_at: Callable[[int], bool], low: int, high: int) -> int | None:
    """The first instant from `low` to `high` at which something becomes true, that then stays so; None if never."""
    if true_at(low):
        return low
    if not true_at(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if true_at(middle) else (middle, high)
    return high


# segments ----------------------------------------------------------------------------------------------------------


def meet(me: Present, names: Iterable[str]) -> None:
    """Evaluates segments that were never evaluated; no user enters or leaves by that."""
    for name in names:
        if name not in me.segments:
            me.segments[name], me.asked_ms[name] = belongs(me, name, me.now_ms), me.now_ms


def fed_segments(me: Present, event: Seen) -> list[str]:
    """The segments that read a score or a metric to which the event adds something."""
    names = [f"score.{s.name}" for s in me.book.scores.values() if any(_scores(me, p, w, event) for p, w in s.add)]
    names += [f"metric.{name}." for name, metric in me.book.metrics.items() if _worth(me, metric, event) is not None]
    return [name for name, text in me.book.segments.items() if any(each in text for each in names)]


def _scores(me: Present, pattern: Pattern, points: str, event: Seen) -> bool:
    try:
        return matches(me, pattern, event) and float(value(points, roots(me, event))) >= 0
    except Failed:
        return False


def profile_segments(me: Present, *, changed: bool, moved: bool) -> list[str]:
    """The segments that a profile moves: those that read the user, and local days if the zone has changed."""
    calendar = [f"metric.{name}." for name, metric in me.book.metrics.items() if moved and metric.window.unit]
    return [
        name
        for name, text in me.book.segments.items()
        if (changed and "user." in text) or any(each in text for each in calendar)
    ]


def turning_now(me: Present, names: Iterable[str]) -> frozenset[str]:
    """Before a record is applied: the segments whose answer time may change at this very instant."""
    return frozenset(name for name in names if _turns_now(me, name))


def _turns_now(me: Present, name: str) -> bool:
    now_ms, text = me.now_ms, me.book.segments[name]
    if me.kept_due_ms.get(name) == now_ms:
        return True
    if me.asked_ms.get(name, now_ms) >= now_ms:
        return False
    metrics = [(f"metric/{metric}", what) for metric, what in me.book.metrics.items() if f"metric.{metric}." in text]
    return (
        any(_leaves_now(me, key, what) for key, what in metrics)
        or bool(_scores_fall(me, text, now_ms - 1, now_ms))
        or ("now" in text and midnight_after(me.zone, now_ms - 1) == now_ms)
    )


def _leaves_now(me: Present, name: str, what: Measure) -> bool:
    times = [each.time_ms for each in me.past.added.get(name, [])]
    before_ms = me.now_ms - 1
    if what.window.unit is None:
        return what.window.ms is not None and me.now_ms - what.window.ms in times
    ends_now = next_window(what.window, me.zone, before_ms) == me.now_ms
    return ends_now and any(stands_in(what.window, me.zone, at, before_ms) for at in times)


def ask_segments(
    me: Present,
    names: Iterable[str],
    at_ms: int,
    moved_by: Seen | None = None,
    turning: frozenset[str] = frozenset(),
) -> list[Entry]:
    """Asks these segments again as of an instant; who enters or leaves.

    An event that `moved_by` names gives the entry its id and its instant; time and a profile give it their instant. One
    that is `turning` at this instant moves by time, after all records of the instant, but has the name of the latest
    event after which it was moved.
    """
    entries = []
    for name in sorted(names):
        known, now = me.segments.get(name, False), belongs(me, name, at_ms)
        if name in turning:
            me.asked_ms[name], me.kept_due_ms[name] = at_ms - 1, at_ms
            me.turned_by.pop(name, None)
            if known is not now:
                me.turned_by[name] = _by_time(at_ms) if moved_by is None else moved_by.id
            continue
        me.segments[name], me.asked_ms[name] = now, at_ms
        me.kept_due_ms.pop(name, None)
        turned_by = me.turned_by.pop(name, None)
        if known is now:
            continue
        how = "segment.entered" if now else "segment.left"
        event = Seen(turned_by or _by_time(at_ms), how, at_ms, "", {})
        if moved_by is not None:
            event = Seen(moved_by.id, how, moved_by.time_ms, "", {})
        for rule in me.book.ranked:
            entries += [Entry(rule, event, event.time_ms) for b in rule.borders if (b.segment, b.enters) == (name, now)]
    return entries


def _by_time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def keep_due(me: Present, turning: frozenset[str]) -> None:
    """Before the zone changes: notes the segments that change, or may change, at this instant only with time."""
    due = [name for name in me.segments if name in me.book.segments and _changes_at(me, name, me.now_ms) == me.now_ms]
    me.kept_due_ms = dict.fromkeys([*due, *turning], me.now_ms)


def ask_segments_due(me: Present, at_ms: int) -> list[Entry]:
    """Evaluates the segments that change at an instant only with time."""
    return ask_segments(me, [name for name in me.segments if _changes_at(me, name, at_ms) == at_ms], at_ms)


def segments_change_at(me: Present, until_ms: int) -> int | None:
    """The first instant after the last evaluation at which some segment changes without an event."""
    found = [_changes_at(me, name, until_ms) for name in me.segments if name in me.book.segments]
    return min((at for at in found if at is not None), default=None)


def _changes_at(me: Present, name: str, until_ms: int) -> int | None:
    text, known, before_ms = me.book.segments[name], me.segments[name], me.asked_ms[name]

    def differs(at_ms: int) -> bool:
        return belongs(me, name, at_ms) is not known

    instants = {
        at
        for metric, what in me.book.metrics.items()
        if f"metric.{metric}." in text
        for at in _leaving(me, f"metric/{metric}", what, before_ms, until_ms)
    }
    if "now" in text:
        instants |= set(_midnights(me, before_ms, until_ms)) | _scores_fall(me, text, before_ms, until_ms)
        instants |= {me.kept_due_ms[name]} if name in me.kept_due_ms else set()
    elif until_ms > before_ms:
        instants.add(until_ms)
    for at_ms in sorted(instants):
        if differs(at_ms):
            return at_ms if "now" in text else _first(differs, before_ms + 1, at_ms)
        before_ms = at_ms
    return None


def _scores_fall(me: Present, text: str, before_ms: int, until_ms: int) -> set[int]:
    """When the scores that a text compares with lines fall below these, within (before, until]."""
    found = set()
    for name, line in re.findall(r"score\.(\w+) (?:>=|<) ([\d.]+)", text):

        def below(at_ms: int, name: str = name, line: float = float(line)) -> bool:
            return score(me, name, at_ms) < line

        falls_ms = None if below(before_ms) or until_ms <= before_ms else _first(below, before_ms, until_ms)
        found |= set() if falls_ms is None else {falls_ms}
    return found
