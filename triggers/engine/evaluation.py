"""One evaluation: a user's state, the rules, one clock, and the effects that the call collects."""

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from schemas.commands import SendCommand
from schemas.decisions import Decision
from schemas.vocabulary import ProblemCause
from schemas.zones import zone_named
from triggers.cel.conditions import Condition, Context
from triggers.cel.runtime import EvaluationError, MissingField
from triggers.engine.dates import UnreadableDate
from triggers.engine.records import DecisionRecord
from triggers.measures.windows import WindowState
from triggers.rules.events import StoredEvent
from triggers.rules.rule import Pattern, Segment, Trigger
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import Occurrence, UserState, window_of

_EMPTY_WINDOW = WindowState()
_NO_EVENT = StoredEvent("", "", 0, "", {})


DATE_PLACES = ("on.date", "until")
"""The places of expressions that give dates. If one fails there, nothing is sent and no decision shows it."""


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """An expression that failed on this input: its rule, its place and the error. `cause` is the reason that is
    counted."""

    trigger: str
    place: str
    detail: str
    cause: ProblemCause = ProblemCause.EXPRESSION
    missing_field: bool = False
    """Whether the expression read a field that its input does not have."""


@dataclass(frozen=True, slots=True)
class OccurrenceExit:
    """An event ended an occurrence."""

    trigger: str
    occurrence: str
    event_type: str
    at_ms: int


class Effects(Struct, eq=False):
    """What one call did besides changing the state.

    `counts` holds what made no decision: duplicate, clamped, stale, late, reentry, evicted, ended_before_entry,
    withdrawn, timer_skipped, unmatched_outcome, undated (the user has no value for the field of a date source),
    unpinned (the text that an occurrence began with is gone), unknown_zone (the profile's zone does not exist), reached
    (an event without a user met an occurrence that waited for it).
    """

    records: list[DecisionRecord] = field(default_factory=list)
    problems: list[RuleProblem] = field(default_factory=list)
    exits: list[OccurrenceExit] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    bounds: dict[tuple[str, str], int] = field(default_factory=dict)
    """How often something was forgotten because a limit on memory was reached, by rule and what was forgotten.

    A rule that is no trigger has its kind before its name: `metric/NAME`, `score/NAME`.
    """

    @property
    def decisions(self) -> list[Decision]:
        """The decisions in order, built at each call."""
        return [record.decision() for record in self.records]

    @property
    def commands(self) -> list[SendCommand]:
        """The commands of the decisions that send, in order, built at each call."""
        return [command for record in self.records if (command := record.command()) is not None]


class Evaluation(Struct, eq=False):
    """The state, the rules and the clock of one call. It evaluates expressions and collects effects.

    `paused` holds the paused scopes; `profile_wait_ms` is how long a send waits for the user's first profile.
    """

    rules: RuleSet
    state: UserState
    now_ms: int
    default_zone: ZoneInfo
    profile_wait_ms: int
    paused: frozenset[str]
    effects: Effects = field(default_factory=Effects)

    def as_of(self, now_ms: int) -> "Evaluation":
        """The same evaluation with its clock at an earlier instant, at which a timer was due."""
        earlier = Evaluation(self.rules, self.state, now_ms, self.default_zone, self.profile_wait_ms, self.paused)
        earlier.effects = self.effects
        return earlier

    def zone(self) -> ZoneInfo:
        """The user's zone, or the project's if it is unknown or empty."""
        return self.zone_given() or self.default_zone

    def zone_given(self) -> ZoneInfo | None:
        """The user's own zone; None if it is unknown or empty."""
        name = self.state.user.zone
        return zone_named(name) if name else None

    def zone_of(self, name: str | None) -> ZoneInfo:
        """The zone that a rule names, or the user's if it names none."""
        return (zone_named(name) if name else None) or self.zone()

    def rule_of(self, occurrence: Occurrence) -> Trigger | None:
        """The rule that a running occurrence follows; None if it was removed.

        The occurrence keeps `unless`, `when`, `steps` and `experiment` of the text that it began with. If that text is
        not available any more, the occurrence follows the current rule from now on, and this is counted.
        """
        trigger = self.rules.followed(occurrence.trigger, occurrence.rule_hash)
        if trigger is not None and trigger.rule_hash != occurrence.rule_hash:
            occurrence.rule_hash = trigger.rule_hash
            self.count("unpinned")
        return trigger

    def context(self, event: StoredEvent, occurrence: Occurrence | None, now_ms: int) -> Context:
        """The names that an expression reads, with scores, metrics and segments as of `now_ms`."""
        reader = _StateReader(self, now_ms)
        return Context(event, self.state.user, occurrence, reader.score, now_ms, reader.metric, reader.segment)

    def with_user(self, context: Context) -> Context:
        """Adds the user, scores, metrics and segments to an event's context, and returns it."""
        reader = _StateReader(self, context.now_ms)
        context.user, context.score = self.state.user, reader.score
        context.metric, context.segment = reader.metric, reader.segment
        return context

    def metric(self, name: str, field: str, at_ms: int) -> float | None:
        """A metric's field as of an instant.

        At the clock, an event whose time is ahead of the clock counts already, as it does in scores. Before the clock,
        what is newer than the instant does not count.
        """
        metric = self.rules.metrics[name]
        known = window_of(self.state.windows, metric.key) or _EMPTY_WINDOW
        tally = metric.tally
        return tally.read(known, field, tally.since(at_ms, self.zone()), at_ms if at_ms < self.now_ms else None)

    def inside(self, name: str, at_ms: int) -> bool:
        """Whether the user is in a segment.

        A segment that names `now` keeps its last membership. Any other is evaluated for an instant before the clock,
        and if its timer is due but has not fired.
        """
        segment = self.rules.segments[name]
        known = self.state.segments.get(segment.key)
        if known is not None:
            if known.moved_by is not None and at_ms >= self.now_ms:
                return not known.inside
            pending = known.due is not None and known.due <= at_ms
            if "now" in segment.when.code.roots or (at_ms >= self.now_ms and not pending):
                return known.inside
        elif at_ms >= self.now_ms and self.state.segment_version == self.rules.segment_version:
            return False
        return self.evaluate_segment(segment, at_ms)

    def evaluate_segment(self, segment: Segment, at_ms: int, *, report: bool = False) -> bool:
        """The value of a segment's condition at an instant. False if it fails; with `report` that is a problem."""
        try:
            return segment.when.holds(self.context(_NO_EVENT, None, at_ms))
        except EvaluationError as error:
            if report:
                self.problem(f"segment/{segment.name}", "when", error)
            return False

    def count(self, name: str) -> None:
        """Counts what makes no decision."""
        counts = self.effects.counts
        counts[name] = counts.get(name, 0) + 1

    def forgot(self, rule: str, what: str) -> None:
        """Counts what a rule forgot because a limit on memory was reached."""
        bounds = self.effects.bounds
        bounds[rule, what] = bounds.get((rule, what), 0) + 1

    def problem(self, trigger: str, place: str, error: EvaluationError) -> None:
        """Records an expression that failed."""
        cause = error.cause if isinstance(error, UnreadableDate) else ProblemCause.EXPRESSION
        self.effects.problems.append(RuleProblem(trigger, place, str(error), cause, isinstance(error, MissingField)))

    def holds(self, trigger: str, place: str, condition: Condition | None, context: Context) -> bool:
        """Whether the condition is absent or true. If it fails it counts as false, and the failure is a problem."""
        if condition is None:
            return True
        try:
            return condition.holds(context)
        except EvaluationError as error:
            self.problem(trigger, place, error)
            return False


class _StateReader(Struct, eq=False):
    """Reads scores, metrics and segments as of an instant. Its methods cost half as much to make as closures."""

    evaluation: Evaluation
    now_ms: int

    def score(self, name: str) -> float:
        scores = self.evaluation.rules.scores
        if name not in scores:  # only an earlier text of a rule can name it
            raise EvaluationError(f"there is no score {name} any more")
        known = self.evaluation.state.scores.get(name)
        return scores[name].curve.read(known, self.now_ms) if known is not None else 0.0

    def metric(self, name: str, field: str) -> float | None:
        return self.evaluation.metric(name, field, self.now_ms)

    def segment(self, name: str) -> bool:
        return self.evaluation.inside(name, self.now_ms)


_MISSING = object()


def same_fields(pattern: Pattern, event: StoredEvent) -> list[Any]:
    """The event's values of the pattern's `same` fields."""
    return [event.properties.get(name) for name in pattern.same]


def agree(pattern: Pattern, one: StoredEvent, other: StoredEvent) -> bool:
    """Whether two events have equal values in every `same` field. A missing field equals nothing."""
    for name in pattern.same:
        value = one.properties.get(name, _MISSING)
        if value is _MISSING or value != other.properties.get(name, _MISSING):
            return False
    return True
