"""One turn of the evaluator: a user's state, the clock, and what comes of it."""

from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from schemas.commands import SendCommand
from schemas.decisions import Decision
from schemas.vocabulary import ProblemCause
from schemas.zones import zone_named
from triggers.cel.conditions import Condition, Context
from triggers.cel.runtime import EvaluationError, MissingField
from triggers.engine.dates import UnreadableDate
from triggers.engine.records import DecisionRecord
from triggers.measures.windows import WindowState
from triggers.rules.rule import Pattern, Segment, Trigger
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import Occurrence, StoredEvent, UserState

_NOTHING = WindowState()
_NO_EVENT = StoredEvent("", "", 0, "", {})


DATE_PLACES = ("on.date", "until")
"""The places of expressions that give dates. One that fails there means that nothing comes, which no send shows."""


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """An expression that failed on this input: whose, which, and why. `cause` is the reason by name, for counting."""

    trigger: str
    place: str
    detail: str
    cause: ProblemCause = ProblemCause.EXPRESSION
    missing_field: bool = False
    """Whether the expression read a field that its input does not have."""


@dataclass(frozen=True, slots=True)
class Exited:
    """An occurrence that an event ended."""

    trigger: str
    occurrence: str
    event_type: str
    at_ms: int


@dataclass(slots=True)
class Effects:
    """What one call did besides changing the state.

    `counts` holds what left no decision: duplicate, clamped, stale, late, reentry, evicted, ended_before_entry,
    withdrawn, timer_skipped, unmatched_outcome, undated (a date source whose field the user does not have, or has
    empty), unpinned (an occurrence whose text is gone), unknown_zone (a profile whose zone is none).
    """

    records: list[DecisionRecord] = field(default_factory=list)
    problems: list[RuleProblem] = field(default_factory=list)
    exits: list[Exited] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    bounds: dict[tuple[str, str], int] = field(default_factory=dict)
    """How often something was forgotten because a bound on memory was reached, by rule and what was forgotten.

    Other rules than triggers have their kind before the name: `metric/NAME`, `score/NAME`.
    """

    @property
    def decisions(self) -> list[Decision]:
        """The decisions, in order; made anew at each call."""
        return [record.decision() for record in self.records]

    @property
    def commands(self) -> list[SendCommand]:
        """The commands of the decisions that send, in order; made anew at each call."""
        return [command for record in self.records if (command := record.command()) is not None]


class Turn:
    """The state, the rules and the clock of one call; it evaluates the expressions."""

    __slots__ = ("default_zone", "effects", "now_ms", "profile_wait_ms", "rules", "state")

    def __init__(
        self, rules: RuleSet, state: UserState, now_ms: int, default_zone: ZoneInfo, profile_wait_ms: int
    ) -> None:
        self.rules = rules
        self.state = state
        self.now_ms = now_ms
        self.default_zone = default_zone
        self.profile_wait_ms = profile_wait_ms
        self.effects = Effects()

    def as_of(self, now_ms: int) -> "Turn":
        """The same turn while its clock stood at an earlier instant, when a timer was due."""
        earlier = Turn(self.rules, self.state, now_ms, self.default_zone, self.profile_wait_ms)
        earlier.effects = self.effects
        return earlier

    def zone(self) -> ZoneInfo:
        """The user's zone, the project's where it is unknown or empty."""
        return self.zone_given() or self.default_zone

    def zone_given(self) -> ZoneInfo | None:
        """The user's own zone, None where it is unknown or empty."""
        name = self.state.user.zone
        return zone_named(name) if name else None

    def zone_of(self, name: str | None) -> ZoneInfo:
        """The zone that a rule names, the user's where it names none."""
        return (zone_named(name) if name else None) or self.zone()

    def rule_of(self, occurrence: Occurrence) -> Trigger | None:
        """The rule that a running occurrence follows; None where it was removed.

        It keeps `unless`, `when`, `steps` and `experiment` of the text that it began with. Where that is not at hand
        any more, it follows the current rule from now on, and is counted.
        """
        trigger = self.rules.triggers.get(occurrence.trigger)
        if trigger is None or trigger.rule_hash == occurrence.rule_hash:
            return trigger
        kept = self.rules.kept.get((occurrence.rule_hash, occurrence.trigger))
        if kept is None:
            occurrence.rule_hash = trigger.rule_hash
            self.count("unpinned")
        return kept or trigger

    def context(self, event: StoredEvent, occurrence: Occurrence | None, now_ms: int) -> Context:
        """The names that an expression reads, with scores, metrics and segments as of `now_ms`."""

        def score(name: str) -> float:
            if name not in self.rules.scores:  # which only an earlier text can name
                raise EvaluationError(f"there is no score {name} any more")
            known = self.state.scores.get(name)
            return self.rules.scores[name].curve.read(known, now_ms) if known is not None else 0.0

        def metric(name: str, field: str) -> float | None:
            return self.metric(name, field, now_ms)

        def segment(name: str) -> bool:
            return self.inside(name, now_ms)

        return Context(event, self.state.user, occurrence, score, now_ms, metric, segment)

    def metric(self, name: str, field: str, at_ms: int) -> float | None:
        """A metric's field as of an instant. At the clock, an event ahead of it counts already, as it does in scores;
        before it, what is newer than the instant does not."""
        counted = self.rules.metrics[name]
        known = self.state.windows.get(counted.key, _NOTHING)
        tally = counted.tally
        return tally.read(known, field, tally.since(at_ms, self.zone()), at_ms if at_ms < self.now_ms else None)

    def inside(self, name: str, at_ms: int) -> bool:
        """Whether the user is in a segment. One that names `now` keeps its last membership; any other is evaluated for
        an instant before the clock, and where its timer is due but has not fired."""
        segment = self.rules.segments[name]
        known = self.state.segments.get(segment.key)
        if known is not None:
            pending = known.due is not None and known.due <= at_ms
            if "now" in segment.when.code.roots or (at_ms >= self.now_ms and not pending):
                return known.inside
        elif at_ms >= self.now_ms and self.state.segment_version == self.rules.segment_version:
            return False
        return self.ask_segment(segment, at_ms)

    def ask_segment(self, segment: Segment, at_ms: int, *, tell: bool = False) -> bool:
        """The value of a segment's condition at an instant; false where it fails, which is a problem if `tell`."""
        try:
            return segment.when.holds(self.context(_NO_EVENT, None, at_ms))
        except EvaluationError as error:
            if tell:
                self.problem(f"segment/{segment.name}", "when", error)
            return False

    def count(self, name: str) -> None:
        """Counts what leaves no decision."""
        counts = self.effects.counts
        counts[name] = counts.get(name, 0) + 1

    def forgot(self, rule: str, what: str) -> None:
        """Counts what a bound on memory made a rule forget."""
        bounds = self.effects.bounds
        bounds[rule, what] = bounds.get((rule, what), 0) + 1

    def problem(self, trigger: str, place: str, error: EvaluationError) -> None:
        """Records an expression that failed."""
        cause = error.cause if isinstance(error, UnreadableDate) else ProblemCause.EXPRESSION
        self.effects.problems.append(RuleProblem(trigger, place, str(error), cause, isinstance(error, MissingField)))

    def holds(self, trigger: str, place: str, condition: Condition | None, context: Context) -> bool:
        """Whether the condition is absent or true; one that fails is false, and a problem."""
        if condition is None:
            return True
        try:
            return condition.holds(context)
        except EvaluationError as error:
            self.problem(trigger, place, error)
            return False


_MISSING = object()


def same_fields(pattern: Pattern, event: StoredEvent) -> list[Any]:
    """The event's values of the pattern's `same` fields."""
    return [event.properties.get(name) for name in pattern.same]


def agree(pattern: Pattern, one: StoredEvent, other: StoredEvent) -> bool:
    """Whether two events carry equal values in every `same` field; a missing field equals nothing."""
    for name in pattern.same:
        value = one.properties.get(name, _MISSING)
        if value is _MISSING or value != other.properties.get(name, _MISSING):
            return False
    return True
