"""Scores and their crossings: what an event adds, and the instant at which a score will fall below a line.

A crossing lies between two events: one computed for an instant after the next event is moved by it, one before stands.
A crossing too old to begin anything is taken back when an event older than it comes in after all.
"""

from triggers.cel_runtime import EvaluationError
from triggers.decay import MAX_SCORE, ScoreState
from triggers.ruleset import LevelRule, Route
from triggers.state import Level, StoredEvent
from triggers.turn import Turn

RISEN = "score.risen"
FALLEN = "score.fallen"


def feed(turn: Turn, route: Route, event: StoredEvent) -> list[tuple[LevelRule, int]]:
    """Adds what the event adds; returns the rising crossings that it made, with their instants.

    Several additions to one score count in the order written. Falling crossings become timers.
    """
    risen: list[tuple[LevelRule, int]] = []
    context = turn.context(event, None, turn.now_ms)
    for score, addition in route.additions:
        where = f"score/{score.name}"
        if not turn.holds(where, "where", addition.pattern.where, context):
            continue
        try:
            points = addition.points.number(context)
            if points < 0:
                raise EvaluationError(f"points must be zero or more: {addition.points.text!r}")
        except EvaluationError as error:
            turn.problem(where, "points", error)
            continue
        known = turn.state.scores.get(score.name)
        if known is None:
            known = turn.state.scores[score.name] = ScoreState(at=event.time_ms)
        before = score.curve.read(known, event.time_ms)
        score.curve.add(known, min(points, MAX_SCORE), event.time_ms, score.ceiling)
        known.last_event = event.id
        rules = turn.rules.levels_of.get(score.name, ())
        risen += [(rule, known.at) for rule in rules if _moved(turn, rule, known, before, event.time_ms)]
    return risen


def _moved(turn: Turn, rule: LevelRule, score: ScoreState, before: float, at: int) -> bool:
    """Brings a crossing up to date after an addition; whether the score rose over its line."""
    crossing = rule.crossing
    level = turn.state.levels.get(rule.id)
    if level is None:
        level = turn.state.levels[rule.id] = Level(armed=not crossing.falls)
    if crossing.falls:
        _arm_falling(level, crossing.rearm, score.value, at)
        plan(turn, rule, level, score)
        return False
    level.armed = level.armed or before < crossing.rearm
    if level.armed and before < crossing.line <= score.value:
        level.armed = False
        return True
    return False


def _arm_falling(level: Level, rearm: float, value: float, at: int) -> None:
    if level.stale_at is not None and at < level.stale_at:
        level.armed = True
    level.stale_at = None
    level.armed = level.armed or value >= rearm


def plan(turn: Turn, rule: LevelRule, level: Level, score: ScoreState) -> None:
    """Sets the timer of a falling crossing, or none where it is not armed."""
    curve = turn.rules.scores[rule.crossing.score].curve
    level.due = curve.falls_below(score, rule.crossing.line) if level.armed else None


def cross(turn: Turn, rule: LevelRule, level: Level) -> StoredEvent | None:
    """Makes a falling crossing that is due: the event that stands for it, or None where it is too old.

    The instant is asked again: rules may have changed since the timer was set.
    """
    at = level.due
    crossing = rule.crossing
    score = turn.state.scores.get(crossing.score)
    level.due = None
    if at is None or score is None:
        return None
    curve = turn.rules.scores[crossing.score].curve
    if curve.read(score, at) >= crossing.line:
        plan(turn, rule, level, score)
        if level.due is not None:
            level.due = max(level.due, at + 1)  # whatever the curve says, a timer never fires twice at one instant
        return None
    level.armed = False
    if turn.now_ms - at > rule.trigger.max_age_ms:
        level.stale_at = at
        turn.count("stale")
        return None
    return crossing_event(FALLEN, score, at)


def crossing_event(kind: str, score: ScoreState, at: int) -> StoredEvent:
    """A crossing as rules see it: named by the last event that fed the score, without properties."""
    return StoredEvent(score.last_event, kind, at, "", {})
