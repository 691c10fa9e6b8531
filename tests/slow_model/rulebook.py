"""Rules as the slow model keeps them: texts of expressions, durations in milliseconds, nothing compiled."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Pattern:
    """An event: one of `types`, `where` true, the fields `same` equal to the entry event's."""

    types: tuple[str, ...]
    where: str | None = None
    same: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """Rolling by its milliseconds, or a local `unit` (day, week, month); neither: for ever."""

    ms: int | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Measure:
    """What is counted of the events that match within a window: how many, a sum, or how many different."""

    pattern: Pattern
    window: Window
    sum: str | None = None
    distinct: str | None = None


@dataclass(frozen=True)
class Level:
    """A score, or a measure, that crosses a line."""

    id: str
    falls: bool
    line: float
    rearm: float
    score: str | None = None
    measure: Measure | None = None


@dataclass(frozen=True)
class Sequence:
    """Events in this order within a time, the fields `same` equal in all."""

    id: str
    patterns: tuple[Pattern, ...]
    within_ms: int
    same: tuple[str, ...]


@dataclass(frozen=True)
class Border:
    """A segment that is entered or left."""

    segment: str
    enters: bool


@dataclass(frozen=True)
class Schedule:
    """Slots: `every` is day, month (with `day`) or weekdays."""

    every: tuple[str, ...]
    at: str
    day: str
    zone: str | None


@dataclass(frozen=True, eq=False)
class Pause:
    """A wait of this length."""

    ms: int


@dataclass(frozen=True, eq=False)
class Until:
    """A wait up to a timestamp."""

    text: str


@dataclass(frozen=True)
class Anniversary:
    """A moment counted from a date: by whole local days if `at` is given, else exactly."""

    date: str
    offset_ms: int
    at: str | None
    yearly: bool
    zone: str | None


@dataclass(frozen=True)
class Cap:
    """At most so many in a window; `max` is a number or an expression."""

    max: str
    per: str
    window: Window
    scope: str
    over: str
    spread: str | None = None
    spread_ms: int = 0


@dataclass(frozen=True)
class Quiet:
    """From one local minute to another, half-open; or local dates, inclusive, if `through` is given."""

    start: str
    end: str
    zone: str | None
    over: str
    days: tuple[str, ...] = ()
    through: str | None = None


@dataclass(frozen=True)
class Send:
    """One message."""

    id: str
    template: str
    template_hash: str
    data: Mapping[str, str] = field(default_factory=dict)
    channel: str = "email"


@dataclass(frozen=True)
class If:
    """One list of steps or another."""

    condition: str
    then: "Steps"
    otherwise: "Steps"


@dataclass(frozen=True)
class WaitFor:
    """One list of steps if an event comes in time, or another."""

    pattern: Pattern
    up_to: "Wait"
    then: "Steps"
    otherwise: "Steps"


@dataclass(frozen=True)
class Exit:
    """The end."""


Wait = Pause | Schedule | Until
Step = Send | Wait | WaitFor | If | Exit
Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Goal:
    """What is counted after a send."""

    pattern: Pattern
    within_ms: int


@dataclass(frozen=True)
class Rule:
    """One trigger with the policies that it obeys."""

    name: str
    hash: str
    purpose: str
    brand: str | None
    mode: str
    percent: float
    patterns: tuple[Pattern, ...]
    levels: tuple[Level, ...]
    sequences: tuple[Sequence, ...]
    borders: tuple[Border, ...]
    schedules: tuple[tuple[str, Schedule], ...]
    dates: tuple[tuple[str, Anniversary], ...]
    key: tuple[str, ...]
    overlap: str
    reentry_ms: int | Literal["never"]
    unless: tuple[Pattern, ...]
    when: str | None
    caps: tuple[Cap, ...]
    quiet: tuple[Quiet, ...]
    expires_ms: int
    max_age_ms: int
    settle_ms: int
    priority: int
    holdouts: tuple[tuple[str, float], ...]
    steps: Steps
    variants: tuple[tuple[str, float], ...]
    salt: str
    goal: Goal | None
    follows: bool
    """Whether what runs follows an edit."""
    budgets: tuple[Mapping[str, Any], ...] = ()
    """As mails carry them."""

    @property
    def awaited(self) -> list[Pattern]:
        """What its steps wait for, each once."""
        return list(dict.fromkeys(_awaited(self.steps)))

    @property
    def consent(self) -> str:
        """The consent that it needs: of a brand only the brand's own."""
        return self.purpose if self.brand is None or self.purpose == "transactional" else f"{self.brand}/{self.purpose}"


def _awaited(steps: Steps) -> Iterable[Pattern]:
    for step in steps:
        if isinstance(step, WaitFor):
            yield step.pattern
        if isinstance(step, WaitFor | If):
            yield from _awaited((*step.then, *step.otherwise))


@dataclass(frozen=True)
class Curve:
    """How points fade: `kind` with its times in milliseconds."""

    kind: str
    ms: int
    exponent: float = 1.0

    def share(self, age_ms: int) -> float:
        """What is left of a point of that age."""
        if self.kind == "exponential":
            return float(2.0 ** (-age_ms / self.ms))
        if self.kind == "linear":
            return max(0.0, 1.0 - age_ms / self.ms)
        if self.kind == "step":
            return 1.0 if age_ms < self.ms else 0.0
        return float((1.0 + age_ms / self.ms) ** -self.exponent)


@dataclass(frozen=True)
class Score:
    """`add` holds patterns with the expression of their points."""

    name: str
    curve: Curve
    ceiling: float | None
    add: tuple[tuple[Pattern, str], ...]


@dataclass(frozen=True)
class Book:
    """One whole set of rules."""

    rules: Mapping[str, Rule]
    scores: Mapping[str, Score]
    metrics: Mapping[str, Measure] = field(default_factory=dict)
    segments: Mapping[str, str] = field(default_factory=dict)
    """By name its condition."""
    earlier: tuple["Book", ...] = ()
    """The sets that were in force before, whose texts occurrences may still follow."""

    @cached_property
    def ranked(self) -> list[Rule]:
        """Higher priorities first, then by name."""
        return sorted(self.rules.values(), key=lambda rule: (-rule.priority, rule.name))

    @cached_property
    def levels(self) -> list[tuple[Rule, Level]]:
        return [(rule, level) for rule in self.ranked for level in rule.levels]

    @cached_property
    def patterns(self) -> Mapping[str, tuple[Pattern, ...]]:
        """By type of event, every pattern that reads it."""
        patterns = [pattern for score in self.scores.values() for pattern, _ in score.add]
        patterns += [metric.pattern for metric in self.metrics.values()]
        for rule in self.rules.values():
            patterns += _patterns(rule)
        for before in self.earlier:  # what ends or continues what began with an earlier text of a rule that is there
            for name, rule in before.rules.items():
                if name in self.rules and self.rules[name].hash != rule.hash:
                    patterns += [*rule.unless, *rule.awaited]
        found: dict[str, tuple[Pattern, ...]] = {}
        for pattern in patterns:
            for name in pattern.types:
                found[name] = (*found.get(name, ()), pattern)
        return found


def _patterns(rule: Rule) -> Iterable[Pattern]:
    yield from (*rule.patterns, *rule.unless, *rule.awaited)
    yield from (level.measure.pattern for level in rule.levels if level.measure)
    yield from (pattern for sequence in rule.sequences for pattern in sequence.patterns)
    if rule.goal:
        yield rule.goal.pattern
