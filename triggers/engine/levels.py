"""Levels (scores and windows) and their crossings: what an event adds, and when a level falls below a line.

A level is a function of time in milliseconds. Its value before an event is its value one millisecond earlier. So if one
event leaves a window at the instant at which another arrives, the level has not fallen, and between two events of one
instant it has no value (settled case 23).

A crossing lies between two events. If it is computed for an instant after the next event, that event moves it; if it is
before the event, it stays. A crossing that was too old to begin anything is undone if an event older than it arrives
later. Between events a level falls or stays, because neither points nor the amounts of a crossing are negative.
"""

from typing import Any
from zoneinfo import ZoneInfo

import orjson
from msgspec import Struct

from triggers.cel.conditions import Context
from triggers.cel.runtime import EvaluationError
from triggers.engine import metrics
from triggers.engine.evaluation import Evaluation
from triggers.measures.decay import MAX_SCORE, ScoreState
from triggers.measures.shapes import Calendar
from triggers.measures.windows import WindowState
from triggers.rules.events import StoredEvent
from triggers.rules.routes import LevelRule, Route, ScoreAddition, StoredMetric
from triggers.rules.rule import Crossing, Score, WindowCrossing
from triggers.rules.state import LevelState, window_of

RISEN = "level.risen"
FALLEN = "level.fallen"
MAX_GROUPS = 256
"""How many groups of events a crossing stores for a user."""
MAX_GROUP_CHARS = 512
Rise = tuple[LevelRule, StoredEvent]
"""A rising crossing that an event caused, and the entry event for it."""


def feed_scores(
    evaluation: Evaluation, route: Route, event: StoredEvent, context: Context
) -> tuple[list[Rise], list[str]]:
    """Adds the event's points to scores. Returns the rising crossings that it caused, and the scores as `score/NAME`.

    Several additions to one score apply in the order in which they are written. Falling crossings become timers.
    """
    risen: list[Rise] = []
    fed: list[str] = []
    for addition in route.additions:
        if addition.where is not None and not evaluation.holds(addition.owner, "where", addition.where, context):
            continue
        points = addition.constant
        if points is None and (points := _points(evaluation, addition, context)) is None:
            continue
        levels = addition.levels
        added = add_points(evaluation.state.scores, addition.score, points, event, read_before=bool(levels))
        if added.merged:
            evaluation.forgot(addition.owner, "additions")
        fed.append(addition.owner)
        risen += [
            (rule, StoredEvent(event.id, RISEN, added.at, "", {}))
            for rule in levels
            if _moved(evaluation, rule, added, event.time_ms)
        ]
    return risen, fed


def _points(evaluation: Evaluation, addition: ScoreAddition, context: Context) -> float | None:
    try:
        points = addition.points.number(context)
        if points < 0:
            raise EvaluationError(f"points must be zero or more: {addition.points.text!r}")
    except EvaluationError as error:
        evaluation.problem(addition.owner, "points", error)
        return None
    return points


def feed_windows(evaluation: Evaluation, route: Route, event: StoredEvent, context: Context) -> list[Rise]:
    """Counts the event in the windows of crossings; returns the rising crossings that it caused."""
    risen: list[Rise] = []
    for rule in route.crossings:
        group = _group(rule, event)
        if group is None or rule.counted is None:
            continue
        found = metrics.measured(evaluation, rule.counted, rule.trigger.name, context)
        if found is None:
            continue
        if found[0] < 0:
            error = EvaluationError("the sum of a crossing needs amounts of zero or more; a segment accepts any amount")
            evaluation.problem(rule.trigger.name, "sum", error)
        elif len(group) > MAX_GROUP_CHARS:
            error = EvaluationError(f"a group of more than {MAX_GROUP_CHARS} characters")
            evaluation.problem(rule.trigger.name, "same", error)
        else:
            risen += _count(evaluation, _in_group(evaluation, rule, group, event), event, found)
    return risen


class Added(Struct, gc=False):
    """A level before and after an event. `passed`: the event is newer than all others, and `before` is the level a
    millisecond earlier; `at` is the instant of the level's newest event."""

    before: float
    value: float
    at: int
    passed: bool
    merged: bool = False
    """Whether two additions were merged because a limit on memory was reached."""


def add_points(
    scores: dict[str, ScoreState], score: Score, points: float, event: StoredEvent, *, read_before: bool
) -> Added:
    """Adds points to a score. `before` is 0 unless `read_before`."""
    time_ms = event.time_ms
    known, passed, before = scores.get(score.name), True, 0.0
    if known is None:
        known = scores[score.name] = ScoreState(at=time_ms)
    elif read_before:
        passed = known.at < time_ms
        before = score.curve.read(known, time_ms - passed)
    merged = score.curve.add(known, points if points < MAX_SCORE else MAX_SCORE, time_ms, score.ceiling)
    known.last_event = event.id
    return Added(before, known.value, known.at, passed, merged)


def count_event(
    window: WindowState, rule: LevelRule, event: StoredEvent, found: tuple[float, str], zone: ZoneInfo
) -> tuple[Added, tuple[str, ...]]:
    """Counts an event in a crossing's window; also returns what a bound on memory made less exact."""
    assert rule.counted is not None
    assert isinstance(rule.crossing, WindowCrossing)
    tally, measure, instants = rule.counted.tally, rule.crossing.measure, window.instants
    passed = not instants or instants[-1] < event.time_ms
    at = event.time_ms if passed else instants[-1]
    before = tally.read(window, measure, tally.since(at - passed, zone), None) or 0.0
    forgot = tally.add(window, event.time_ms, *found)
    window.last_event = event.id
    value = tally.read(window, measure, tally.since(at, zone), None) or 0.0
    return Added(before, value, at, passed), forgot


def _count(evaluation: Evaluation, rule: LevelRule, event: StoredEvent, found: tuple[float, str]) -> list[Rise]:
    assert rule.counted is not None
    window = metrics.kept(evaluation, rule.counted)
    added, forgot = count_event(window, rule, event, found, evaluation.zone())
    for what in forgot:
        evaluation.forgot(rule.trigger.name, what)
    if not _moved(evaluation, rule, added, event.time_ms):
        return []
    return [(rule, StoredEvent(event.id, RISEN, added.at, "", rule.properties))]


def _group(rule: LevelRule, event: StoredEvent) -> str | None:
    """The group of an event; empty if the rule has no groups, None if the event belongs to no group.

    A missing field, or one that is not a text, number or boolean, equals nothing.
    """
    if not rule.same:
        return ""
    values: list[Any] = [event.properties.get(name) for name in rule.same]
    if not all(isinstance(value, str | int | float) for value in values):
        return None
    return orjson.dumps([value if isinstance(value, str | bool) else float(value) for value in values]).decode()


def _in_group(evaluation: Evaluation, rule: LevelRule, group: str, event: StoredEvent) -> LevelRule:
    """The crossing of a group. Makes room for a new group."""
    if not group:
        return rule
    of_group = rule.of(group)
    if of_group.id not in evaluation.state.levels:
        _make_room(evaluation, rule, event.time_ms)
    return of_group


def _make_room(evaluation: Evaluation, rule: LevelRule, at: int) -> None:
    """Removes groups whose window is empty, and of MAX_GROUPS groups the one with the oldest last event."""
    assert rule.counted is not None
    since = rule.counted.tally.since(at, evaluation.zone())
    last: dict[str, int] = {}
    for name in [name for name in evaluation.state.levels if name.startswith(f"{rule.id}|")]:
        window = window_of(evaluation.state.windows, _key_of(rule, name))
        last[name] = window.instants[-1] if window is not None and window.instants else since
    over = [name for name, newest in last.items() if newest <= since and evaluation.state.levels[name].due is None]
    if len(last) - len(over) >= MAX_GROUPS:
        evaluation.forgot(rule.trigger.name, "groups")
        over.append(min(last.keys() - over, key=lambda name: (last[name], name)))
    for name in over:
        del evaluation.state.levels[name]
        evaluation.state.windows.pop(_key_of(rule, name), None)


def _key_of(rule: LevelRule, name: str) -> str:
    """The key of a group's window."""
    assert rule.counted is not None
    return f"{rule.counted.key}|{name.partition('|')[2]}"


def fed(route: Route, event: StoredEvent) -> frozenset[str]:
    """The ids of the crossings that the event may move."""
    groups = [f"{rule.id}|{_group(rule, event)}" for rule in route.crossings if rule.same]
    return route.fed.union(groups) if groups else route.fed


def _moved(evaluation: Evaluation, rule: LevelRule, added: Added, at: int) -> bool:
    """Updates a crossing after an event at `at`; returns whether the level rose over its line."""
    if not rule.crossing.falls:
        return rises(evaluation.state.levels, rule, added)
    level = evaluation.state.levels.get(rule.id)
    if level is None:
        level = evaluation.state.levels[rule.id] = LevelState(armed=False)
    _arm_falling(level, rule.crossing.rearm, added.value, at)
    plan(evaluation, rule, level)
    return False


def rises(levels: dict[str, LevelState], rule: LevelRule, added: Added) -> bool:
    """Updates a rising crossing; returns whether the level rose over its line.

    Only if the event passed all others was the level at `before` for some time, which can arm the rule again.
    """
    crossing, before = rule.crossing, added.before
    level = levels.get(rule.id)
    if level is None:  # a level at or above its line at the rule's first event has not crossed it
        level = levels[rule.id] = LevelState(armed=before < crossing.line)
    level.armed = level.armed or (added.passed and before < crossing.rearm)
    if level.armed and before < crossing.line <= added.value:
        level.armed = False
        return True
    return False


def _arm_falling(level: LevelState, rearm: float, value: float, at: int) -> None:
    if level.stale_at is not None and at < level.stale_at:
        level.armed = True
    level.stale_at = None
    level.armed = level.armed or value >= rearm


def plan(evaluation: Evaluation, rule: LevelRule, level: LevelState) -> None:
    """Sets the timer of a falling crossing; no timer if it is not armed."""
    level.due = _falls_at(evaluation, rule) if level.armed and rule.crossing.falls else None


def plan_calendar(evaluation: Evaluation) -> None:
    """Plans the falling crossings over calendar windows again, after a change of the user's zone.

    Such a change never makes a level rise over its line, because no event caused it.
    """
    for name, level in evaluation.state.levels.items():
        rule = evaluation.rules.level(name)
        if rule is None or rule.counted is None or not isinstance(rule.counted.metric.window, Calendar):
            continue
        plan(evaluation, rule, level)
        level.due = None if level.due is None else max(level.due, evaluation.now_ms)


def _falls_at(evaluation: Evaluation, rule: LevelRule) -> int | None:
    crossing = rule.crossing
    if isinstance(crossing, Crossing):
        score = evaluation.state.scores.get(crossing.score)
        return (
            evaluation.rules.scores[crossing.score].curve.falls_below(score, crossing.line)
            if score is not None
            else None
        )
    assert rule.counted is not None
    window = _window(evaluation, rule.counted)
    if not window.instants:
        return None
    return rule.counted.tally.falls_below(window, crossing.measure, crossing.line, evaluation.zone())


def _value(evaluation: Evaluation, rule: LevelRule, at: int) -> float:
    """The level at an instant that is not before the last event."""
    crossing = rule.crossing
    if isinstance(crossing, Crossing):
        score = evaluation.state.scores.get(crossing.score)
        return evaluation.rules.scores[crossing.score].curve.read(score, at) if score is not None else 0.0
    assert rule.counted is not None
    tally = rule.counted.tally
    return (
        tally.read(_window(evaluation, rule.counted), crossing.measure, tally.since(at, evaluation.zone()), None) or 0.0
    )


def cross(evaluation: Evaluation, rule: LevelRule, level: LevelState) -> StoredEvent | None:
    """Handles a due falling crossing. Returns its entry event, or None if it is too old.

    The level is checked again, because rules may have changed since the timer was set.
    """
    at = level.due
    level.due = None
    name = _last_event(evaluation, rule)
    if at is None or not name or not rule.crossing.falls:  # the rule or its level no longer exists
        del evaluation.state.levels[rule.id]
        return None
    if _value(evaluation, rule, at) >= rule.crossing.line:
        plan(evaluation, rule, level)
        if level.due is not None:
            level.due = max(level.due, at + 1)  # a timer never fires twice at one instant
        return None
    level.armed = False
    if evaluation.now_ms - at > rule.trigger.max_age_ms:
        level.stale_at = at
        evaluation.count("stale")
        return None
    return StoredEvent(name, FALLEN, at, "", rule.properties)


def _last_event(evaluation: Evaluation, rule: LevelRule) -> str:
    """The id of the last event that fed the level, which becomes the crossing's id; empty if there is none."""
    if isinstance(rule.crossing, Crossing):
        score = evaluation.state.scores.get(rule.crossing.score)
        return score.last_event if score is not None else ""
    assert rule.counted is not None
    return _window(evaluation, rule.counted).last_event


def _window(evaluation: Evaluation, counted: StoredMetric) -> WindowState:
    return window_of(evaluation.state.windows, counted.key) or WindowState()
