"""A set of rules, indexed for the evaluator: what each event type can touch, and each trigger with its policies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from schemas.vocabulary import TRANSACTIONAL
from triggers.measures.shapes import MS, Calendar, Schedule
from triggers.measures.windows import EXACT, EXACT_EVER, Tally
from triggers.rules.interest import Interest
from triggers.rules.rule import (
    Addition,
    Anniversary,
    Crossing,
    Metric,
    Pattern,
    Policy,
    Score,
    Segment,
    SegmentChange,
    Send,
    Sequence,
    Trigger,
    WindowCrossing,
)
from triggers.rules.sources import ClockRule, SequenceRule, digest, plan_version, sequence_rule

_OUTCOMES_ARRIVE_WITHIN_MS = 7 * MS["d"]
"""How long a send is remembered, so that its opens and clicks can name their rule, where no cap asks for longer."""
_LONGEST_CALENDAR_MS = 32 * MS["d"]
AHEAD_MS = 5 * MS["m"]
"""How far ahead of the clock an event's own time may be: publishers' clocks differ by so much, not by more."""


@dataclass(slots=True)
class StoredMetric:
    """A metric, or what a crossing counts: how it is kept, and under which key in a state.

    The key changes with what is kept, so that a metric which sums what it only counted before starts empty.
    """

    key: str
    metric: Metric
    tally: Tally


Pin = tuple[str, str]
"""What an occurrence began with: the hash of the rule's text, and the trigger's name in it."""


@dataclass(slots=True)
class Route:
    """What an event of one type can touch. A type without a route touches nothing."""

    interest: Interest = field(default_factory=Interest)
    """Which of the events are worth a look at the state."""
    additions: list[tuple[Score, Addition]] = field(default_factory=list)
    unless_events: list[tuple[Trigger, Pattern]] = field(default_factory=list)
    """`unless` patterns whose `where` needs no running occurrence."""
    begins: list[tuple[Trigger, list[Pattern]]] = field(default_factory=list)
    sequences: list[SequenceRule] = field(default_factory=list)
    goals: bool = False
    fed: frozenset[str] = frozenset()
    """The crossings that the event may move."""
    metrics: list[StoredMetric] = field(default_factory=list)
    crossings: list["LevelRule"] = field(default_factory=list)
    """Those over windows that count the event."""
    segments: list[Segment] = field(default_factory=list)
    """Those that the event may move."""


@dataclass(slots=True)
class LevelRule:
    """One trigger's crossing, under the id that states keep it by; `counted` where it is one over a window.

    One that groups its events by `same` is a crossing for each group, its id then followed by `|` and the group's
    values as JSON.
    """

    id: str
    trigger: Trigger
    crossing: Crossing | WindowCrossing
    counted: StoredMetric | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    """What the events of the group have in common."""

    @property
    def same(self) -> tuple[str, ...]:
        """The properties by which it groups its events."""
        return self.crossing.metric.pattern.same if isinstance(self.crossing, WindowCrossing) else ()

    def of(self, group: str) -> "LevelRule":
        """The crossing of one group, by its values as JSON."""
        assert self.counted is not None
        counted = replace(self.counted, key=f"{self.counted.key}|{group}")
        values = dict(zip(self.same, orjson.loads(group), strict=False))
        return LevelRule(f"{self.id}|{group}", self.trigger, self.crossing, counted, values)


class RuleSet:
    """Triggers, scores, policies, metrics and segments that hold together. Immutable once made."""

    def __init__(
        self,
        triggers: Iterable[Trigger],
        scores: Iterable[Score],
        policies: Iterable[Policy],
        metrics: Iterable[Metric] = (),
        segments: Iterable[Segment] = (),
        pinned: Mapping[Pin, Trigger] | None = None,
    ) -> None:
        self.scores = {score.name: score for score in scores}
        self.segments = {segment.name: segment for segment in segments}
        self.memberships = {segment.key: segment for segment in self.segments.values()}
        """The segments by the keys that a state keeps them by."""
        self.segment_version = digest(sorted(self.memberships), 4) if self.memberships else ""
        """A digest of the segments' keys: a state with the same one has every segment evaluated."""
        self.feeds = {key: _feeds(segment) for key, segment in self.memberships.items()}
        """By a segment's key, what adds to it: `score/NAME` and `metric/NAME`."""
        self.policies = {policy.name: policy for policy in policies}
        self.declared = {trigger.name: trigger for trigger in triggers}
        """The triggers as their files have them."""
        self.triggers = {name: _obeying(each, self.policies.values()) for name, each in self.declared.items()}
        """The triggers with the policies that they obey."""
        self.levels: dict[str, LevelRule] = {}
        self.levels_of: dict[str, list[LevelRule]] = {}
        """The crossings of each score."""
        self.movers: dict[tuple[str, bool], list[Trigger]] = {}
        """The triggers that begin where a segment is entered (True) or left."""
        settle_ms = max((trigger.settle_ms for trigger in self.triggers.values()), default=0)
        self.metrics = {metric.name: _stored_metric(metric, metric.name, settle_ms + AHEAD_MS) for metric in metrics}
        self.counted = {each.key for each in self.metrics.values()}
        self.grouped: set[str] = set()
        """The keys of the windows that a state keeps; of the grouped, what comes before the group."""
        self.routes: dict[str, Route] = {}
        self.clocks: dict[str, ClockRule] = {}
        self.sequences: dict[str, SequenceRule] = {}
        self._index()
        self.plan_version = plan_version(self.clocks.values())
        """A digest of the schedules and dates; empty where there are none."""
        self.pinned = dict(pinned or {})
        """Triggers of earlier texts, as their files had them."""
        self.kept = {pin: kept for pin in self.pinned if (kept := self._keep(pin)) is not None}
        """Of those that are still there, what occurrences follow that began with the earlier text."""
        self.remember_ms = max([_OUTCOMES_ARRIVE_WITHIN_MS, *self._windows()])

    def only(self, trigger: Trigger, policies: Iterable[str]) -> "RuleSet":
        """One trigger with the named policies and every definition: what a case sees."""
        return self.holding([trigger], [self.policies[name] for name in policies])

    def holding(self, triggers: Iterable[Trigger], policies: Iterable[Policy]) -> "RuleSet":
        """Other triggers and policies with the same definitions."""
        metrics = [each.metric for each in self.metrics.values()]
        return RuleSet(triggers, self.scores.values(), policies, metrics=metrics, segments=self.segments.values())

    def level(self, name: str) -> LevelRule | None:
        """The crossing, or the group's crossing, of an id that states keep; None where there is none any more."""
        base, _, group = name.partition("|")
        rule = self.levels.get(base)
        if rule is None or bool(group) is not bool(rule.same):
            return None
        return rule.of(group) if group else rule

    def keeps(self, key: str) -> bool:
        """Whether a window is still kept under this key."""
        return key in self.counted or key.partition("|")[0] in self.grouped

    def _keep(self, pin: Pin) -> Trigger | None:
        """The current trigger with the parts that its occurrences keep; the events of its `unless` are read on."""
        old, current = self.pinned[pin], self.triggers.get(pin[1])
        if current is None or current.rule_hash == old.rule_hash:
            return None
        for pattern in old.unless:
            for name in pattern.types:
                self._route(name, pattern)
        return replace(
            current,
            rule_hash=old.rule_hash,
            unless=old.unless,
            when=old.when,
            steps=old.steps,
            experiment=old.experiment,
        )

    def _windows(self) -> list[int]:
        windows = [cap.window for trigger in self.triggers.values() for cap in trigger.caps]
        return [_LONGEST_CALENDAR_MS if isinstance(window, Calendar) else window.ms for window in windows]

    def _index(self) -> None:
        for trigger in sorted(self.triggers.values(), key=lambda t: (-t.priority, t.name)):
            self._index_trigger(trigger)
        for score in self.scores.values():
            for addition in score.additions:
                for name in addition.pattern.types:
                    route = self._route(name, addition.pattern)
                    route.additions.append((score, addition))
                    route.fed |= {level.id for level in self.levels_of.get(score.name, [])}
        for counted in self.metrics.values():
            for name in counted.metric.pattern.types:
                self._route(name, counted.metric.pattern).metrics.append(counted)
        for route in self.routes.values():
            route.segments = [s for s in self.segments.values() if not self.feeds[s.key].isdisjoint(_adds(route))]

    def _index_trigger(self, trigger: Trigger) -> None:
        for number, source in enumerate(trigger.sources):
            name = f"{trigger.name}#{number}"
            match source:
                case Pattern():
                    self._index_pattern(trigger, source)
                case Sequence():
                    self._index_sequence(sequence_rule(name, trigger, source))
                case Schedule() | Anniversary():
                    clock = ClockRule(f"{trigger.name}@{number}", trigger, source)
                    self.clocks[clock.id] = clock
                case SegmentChange():
                    self.movers.setdefault((source.segment, source.enters), []).append(trigger)
                case _:
                    self._index_crossing(name, trigger, source)
        for pattern in trigger.unless:
            early = pattern.where is None or "occurrence" not in pattern.where.code.roots
            for name in pattern.types:
                known = self._route(name, pattern).unless_events
                if early:
                    known.append((trigger, pattern))
        if trigger.goal is not None:
            for name in trigger.goal.pattern.types:
                self._route(name, trigger.goal.pattern).goals = True

    def _index_pattern(self, trigger: Trigger, source: Pattern) -> None:
        for name in source.types:
            begins = self._route(name, source).begins
            if begins and begins[-1][0] is trigger:
                begins[-1][1].append(source)
            else:
                begins.append((trigger, [source]))

    def _index_sequence(self, rule: SequenceRule) -> None:
        self.sequences[rule.id] = rule
        for pattern in rule.sequence.patterns:
            for name in pattern.types:
                known = self._route(name, pattern).sequences
                if rule not in known[-1:]:
                    known.append(rule)

    def _index_crossing(self, name: str, trigger: Trigger, source: Crossing | WindowCrossing) -> None:
        if isinstance(source, Crossing):
            level = self.levels[name] = LevelRule(name, trigger, source)
            self.levels_of.setdefault(source.score, []).append(level)
            return
        counted = _stored_metric(source.metric, name, 0)
        if source.measure == "count":  # what a count is compared with needs no more of the newest events than its lines
            most = int(max(source.line, source.rearm))
            counted = replace(counted, tally=replace(counted.tally, most=most, folds=False))
        level = self.levels[name] = LevelRule(name, trigger, source, counted)
        (self.grouped if source.metric.pattern.same else self.counted).add(counted.key)
        for event_type in source.metric.pattern.types:
            route = self._route(event_type, source.metric.pattern)
            route.crossings.append(level)
            if not level.same:
                route.fed |= {name}

    def _route(self, event_type: str, pattern: Pattern) -> Route:
        route = self.routes.setdefault(event_type, Route())
        route.interest.add(pattern)
        return route


def _stored_metric(metric: Metric, name: str, slack_ms: int) -> StoredMetric:
    sums, tells = metric.sum is not None, metric.distinct is not None
    key = name + ("/sum" if sums else "") + ("/distinct" if tells else "")
    return StoredMetric(
        key, metric, Tally(metric.window, slack_ms, sums, tells, EXACT if metric.window else EXACT_EVER)
    )


def _adds(route: Route) -> set[str]:
    """The scores and metrics to which an event may add."""
    scores = {f"score/{score.name}" for score, _ in route.additions}
    return scores | {f"metric/{counted.metric.name}" for counted in route.metrics}


def _feeds(segment: Segment) -> frozenset[str]:
    """The scores and metrics that the segment reads."""
    code = segment.when.code
    return frozenset({*(f"score/{name}" for name in code.scores), *(f"metric/{name}" for name, _ in code.metrics)})


def _obeying(trigger: Trigger, policies: Iterable[Policy]) -> Trigger:
    """The trigger with what its policies add: caps, quiet periods and holdouts add up, the smallest expiry holds."""
    for policy in sorted((p for p in policies if obeys(trigger, p)), key=lambda p: p.name):
        held = ((f"policy/{policy.name}", policy.holdout_percent),) if policy.holdout_percent else ()
        trigger = replace(
            trigger,
            caps=trigger.caps + policy.caps,
            quiet=trigger.quiet + policy.quiet,
            holdouts=trigger.holdouts + held,
            expires_ms=min(trigger.expires_ms, policy.expires_ms or trigger.expires_ms),
        )
    return trigger


def obeys(trigger: Trigger, policy: Policy) -> bool:
    """Whether the trigger obeys the policy; a transactional one only where the policy says so by purpose."""
    if trigger.purpose == TRANSACTIONAL and policy.purpose != TRANSACTIONAL:
        return False
    channels = {step.channel for step in trigger.steps if isinstance(step, Send)}
    purpose_fits = policy.purpose is None or policy.purpose == trigger.purpose
    return purpose_fits and (policy.channel is None or policy.channel in channels)
