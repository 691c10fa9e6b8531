"""The index of a rule set by event type: what an event of each type can change."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from triggers.cel.conditions import Condition
from triggers.cel.runtime import EvaluationError
from triggers.measures.windows import EXACT, EXACT_EVER, Tally
from triggers.rules.interest import Interest
from triggers.rules.rule import Addition, Crossing, Metric, Pattern, Score, Segment, Trigger, WindowCrossing
from triggers.rules.sources import SequenceRule


@dataclass(slots=True)
class StoredMetric:
    """A metric, or what a crossing counts, with the key and the tally by which states store it.

    The key changes with the stored content, so that a metric which now sums what it only counted before starts empty.
    """

    key: str
    metric: Metric
    tally: Tally


@dataclass(slots=True)
class Route:
    """What events of one type can change. Events of a type without a route change nothing."""

    interest: Interest = field(default_factory=Interest)
    """Decides which of the events can change a state."""
    additions: list["ScoreAddition"] = field(default_factory=list)
    unless_events: list[tuple[Trigger, Pattern]] = field(default_factory=list)
    """The `unless` patterns whose `where` does not read the occurrence."""
    awaited: dict[tuple[str, str], dict[str, Pattern]] = field(default_factory=dict)
    """By the hash of a rule's text and its name, what its `wait_for` steps wait for, by the steps' names."""
    begins: list[tuple[Trigger, list[Pattern]]] = field(default_factory=list)
    sequences: list[SequenceRule] = field(default_factory=list)
    goals: bool = False
    fed: frozenset[str] = frozenset()
    """The ids of the crossings that the event may move."""
    metrics: list[StoredMetric] = field(default_factory=list)
    crossings: list["LevelRule"] = field(default_factory=list)
    """The crossings over windows that count the event."""
    segments: list[Segment] = field(default_factory=list)
    """The segments that the event may move."""


@dataclass(frozen=True, slots=True)
class ScoreAddition:
    """Points that an event adds to a score. Everything that does not depend on the event is computed at load."""

    score: Score
    where: Condition | None
    points: Condition
    owner: str
    """`score/NAME`, by which problems name it."""
    constant: float | None
    """The points, if they read nothing and are zero or more."""
    levels: tuple["LevelRule", ...]
    """The crossings of the score."""

    @classmethod
    def of(cls, score: Score, addition: Addition, levels: Iterable["LevelRule"]) -> "ScoreAddition":
        """The addition of a score that has these crossings."""
        points = addition.points
        return cls(score, addition.pattern.where, points, f"score/{score.name}", _constant(points), tuple(levels))


def _constant(points: Condition) -> float | None:
    nothing: Any = None
    try:
        value = None if points.code.roots else points.number(nothing)
    except EvaluationError:
        return None
    return value if value is not None and value >= 0 else None


@dataclass(slots=True)
class LevelRule:
    """One trigger's crossing, with the id by which states store it. A crossing over a window has `counted`.

    A crossing that groups its events by `same` is one crossing for each group. The id of a group's crossing is followed
    by `|` and the group's values as JSON.
    """

    id: str
    trigger: Trigger
    crossing: Crossing | WindowCrossing
    counted: StoredMetric | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    """The values that the events of the group share."""
    same: tuple[str, ...] = field(init=False)
    """The properties by which it groups its events."""

    def __post_init__(self) -> None:
        self.same = self.crossing.metric.pattern.same if isinstance(self.crossing, WindowCrossing) else ()

    def of(self, group: str) -> "LevelRule":
        """The crossing of one group, given the group's values as JSON."""
        assert self.counted is not None
        counted = replace(self.counted, key=f"{self.counted.key}|{group}")
        values = dict(zip(self.same, orjson.loads(group), strict=False))
        return LevelRule(f"{self.id}|{group}", self.trigger, self.crossing, counted, values)


def stored_metric(metric: Metric, name: str, slack_ms: int) -> StoredMetric:
    """The metric under the key and the tally by which states store it."""
    sums, tells = metric.sum is not None, metric.distinct is not None
    key = name + ("/sum" if sums else "") + ("/distinct" if tells else "")
    return StoredMetric(
        key, metric, Tally(metric.window, slack_ms, sums, tells, EXACT if metric.window else EXACT_EVER)
    )
