"""The start of a case: its user, with scores and metrics at the given values."""

from collections.abc import Mapping
from typing import Any, cast

from schemas.profiles import Profile
from triggers.engine import levels, metrics, planning, segments
from triggers.engine.evaluation import Effects, Evaluation
from triggers.engine.evaluator import Evaluator
from triggers.measures.decay import ScoreState
from triggers.measures.windows import value_text
from triggers.rules.routes import StoredMetric
from triggers.rules.state import LevelState, UserState

_EVENT = "case-start"


def start(evaluator: Evaluator, state: UserState, profile: Profile, given: Mapping[str, object], at: int) -> Effects:
    """Makes the state of a case's user at its start, where segments have the value that follows; what came of it."""
    evaluation = evaluator.start(state, profile, at)
    for name, value in cast(dict[str, float], given.get("score", {})).items():
        _seed_score(evaluation, name, float(value), at)
    for name, value in cast(dict[str, Any], given.get("metric", {})).items():
        _seed_metric(evaluation, evaluation.rules.metrics[name], value, at)
    segments.initialize(evaluation)
    planning.plan(evaluation)
    return evaluation.effects


def _seed_score(evaluation: Evaluation, name: str, value: float, at: int) -> None:
    """As if one addition had made the score."""
    rules = evaluation.rules
    score = evaluation.state.scores[name] = ScoreState(at=at, last_event=_EVENT)
    rules.scores[name].curve.add(score, value, at, rules.scores[name].ceiling)
    for rule in rules.levels_of.get(name, ()):
        crossing = rule.crossing
        armed = value >= crossing.rearm if crossing.falls else value < crossing.rearm
        level = evaluation.state.levels[rule.id] = LevelState(armed)
        levels.plan(evaluation, rule, level)


def _seed_metric(evaluation: Evaluation, counted: StoredMetric, value: Any, at: int) -> None:
    """As if its events had all come at the start: a number is a metric's sum where it has one, else their count."""
    if not isinstance(value, dict):
        value = {"sum" if counted.metric.sum is not None else "count": value}
    total = float(value.get("sum", 0.0))
    count = int(value.get("count", 1 if total else 0))
    distinct = int(value.get("distinct", count))
    for number in range(max(count, distinct)):
        told_apart = value_text(min(number, distinct - 1))
        counted.tally.add(metrics.kept(evaluation, counted), at, total if number == 0 else 0.0, told_apart)
