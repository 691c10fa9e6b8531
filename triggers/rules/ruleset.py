"""A set of rules, indexed for the evaluator by event type, with the policies added to the triggers."""

from collections.abc import Iterable, KeysView, Mapping
from dataclasses import replace

from schemas.brands import Brand
from schemas.endpoints import Endpoint
from triggers.measures.shapes import MS, Calendar, Schedule
from triggers.rules.policies import with_policies
from triggers.rules.routes import LevelRule, Route, ScoreAddition, stored_metric
from triggers.rules.rule import (
    Anniversary,
    Crossing,
    Metric,
    Pattern,
    Policy,
    Score,
    Segment,
    SegmentChange,
    Sequence,
    Trigger,
    WaitFor,
    WindowCrossing,
)
from triggers.rules.sources import ClockRule, SequenceRule, digest, plan_version, sequence_rule
from triggers.rules.waiting import WaitingPatterns

_OUTCOMES_ARRIVE_WITHIN_MS = 7 * MS["d"]
"""How long a send is remembered at least, so that its opens and clicks can name their rule."""
_LONGEST_CALENDAR_MS = 32 * MS["d"]
AHEAD_MS = 5 * MS["m"]
"""How far ahead of the clock an event's own time may be. Publishers' clocks are not expected to differ by more."""


Pin = tuple[str, str]
"""The text that an occurrence began with: the hash of the rule's text, and the trigger's name in it."""


class RuleSet:
    """Triggers, scores, policies, metrics, segments and brands that refer to each other. Immutable once created."""

    def __init__(
        self,
        triggers: Iterable[Trigger],
        scores: Iterable[Score],
        policies: Iterable[Policy],
        metrics: Iterable[Metric] = (),
        segments: Iterable[Segment] = (),
        pinned: Mapping[Pin, Trigger] | None = None,
        brands: Iterable[Brand] = (),
        endpoints: Iterable[Endpoint] = (),
    ) -> None:
        self.brands = {brand.name: brand for brand in brands}
        self.endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        """Where webhooks go. No decision reads them."""
        self.scores = {score.name: score for score in scores}
        self.segments = {segment.name: segment for segment in segments}
        self.memberships = {segment.key: segment for segment in self.segments.values()}
        """The segments by the keys by which states store them."""
        self.segment_version = digest(sorted(self.memberships), 4) if self.memberships else ""
        """A digest of the segments' keys. A state with the same digest has every segment evaluated."""
        self.feeds = {key: _feeds(segment) for key, segment in self.memberships.items()}
        """The scores and metrics that a segment reads, by its key: `score/NAME` and `metric/NAME`."""
        self.policies = {policy.name: policy for policy in policies}
        self.declared = {trigger.name: trigger for trigger in triggers}
        """The triggers as their files declare them."""
        self.triggers = {name: with_policies(each, self.policies.values()) for name, each in self.declared.items()}
        """The triggers with their policies added."""
        self.levels: dict[str, LevelRule] = {}
        self.levels_of: dict[str, list[LevelRule]] = {}
        """The crossings of each score."""
        self.movers: dict[tuple[str, bool], list[Trigger]] = {}
        """The triggers that begin when a segment is entered (True) or left (False)."""
        settle_ms = max((trigger.settle_ms for trigger in self.triggers.values()), default=0)
        self.metrics = {metric.name: stored_metric(metric, metric.name, settle_ms + AHEAD_MS) for metric in metrics}
        self.counted = {each.key for each in self.metrics.values()}
        self.grouped: set[str] = set()
        """The keys of the windows of grouped crossings, without the group."""
        self.routes: dict[str, Route] = {}
        self.clocks: dict[str, ClockRule] = {}
        self.sequences: dict[str, SequenceRule] = {}
        self._index()
        self.plan_version = plan_version(self.clocks.values(), self.triggers.values())
        """A digest of the schedules and dates, and of the texts that occurrences follow; empty if there are neither."""
        self.pinned = dict(pinned or {})
        """Triggers of earlier texts, as their files declared them."""
        self.kept = {pin: kept for pin in self.pinned if (kept := self._keep(pin)) is not None}
        """For pinned triggers that still exist: what occurrences follow that began with the earlier text."""
        self.waiting = WaitingPatterns([*self.triggers.values(), *self.kept.values()])
        """What occurrences may wait for of events without a user."""
        self.remember_ms = max([_OUTCOMES_ARRIVE_WITHIN_MS, *self._windows()])

    def only(self, trigger: Trigger, policies: Iterable[str]) -> "RuleSet":
        """A set with one trigger, the named policies and all definitions, for a case."""
        return self.holding([trigger], [self.policies[name] for name in policies])

    def holding(self, triggers: Iterable[Trigger], policies: Iterable[Policy]) -> "RuleSet":
        """A set with other triggers and policies and the same definitions."""
        metrics = [each.metric for each in self.metrics.values()]
        return RuleSet(
            triggers,
            self.scores.values(),
            policies,
            metrics=metrics,
            segments=self.segments.values(),
            brands=self.brands.values(),
        )

    def followed(self, trigger: str, rule_hash: str) -> Trigger | None:
        """The rule that an occurrence follows which began with the text `rule_hash`; None if it was removed.

        If that text is not available any more, it is the current rule, whose hash is another.
        """
        current = self.triggers.get(trigger)
        if current is None or current.rule_hash == rule_hash:
            return current
        return self.kept.get((rule_hash, trigger), current)

    def level(self, name: str) -> LevelRule | None:
        """The crossing, or group's crossing, of an id in a state; None if it no longer exists."""
        base, _, group = name.partition("|")
        rule = self.levels.get(base)
        if rule is None or bool(group) is not bool(rule.same):
            return None
        return rule.of(group) if group else rule

    def keeps(self, key: str) -> bool:
        """Whether a window with this key still exists."""
        return key in self.counted or key.partition("|")[0] in self.grouped

    def keeps_all(self, keys: KeysView[str]) -> bool:
        """Whether every window with one of these keys still exists."""
        return keys <= self.counted or all(map(self.keeps, keys))

    def _keep(self, pin: Pin) -> Trigger | None:
        """The current trigger with the parts that its earlier occurrences keep. The events of their `unless` and of
        their `wait_for` are still read."""
        old, current = self.pinned[pin], self.triggers.get(pin[1])
        if current is None or current.rule_hash == old.rule_hash:
            return None
        for pattern in old.unless:
            for name in pattern.types:
                self._route(name, pattern)
        self._index_awaited(old)
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
                    levels = self.levels_of.get(score.name, [])
                    route.additions.append(ScoreAddition.of(score, addition, levels))
                    route.fed |= {level.id for level in levels}
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
        self._index_awaited(trigger)
        if trigger.goal is not None:
            for name in trigger.goal.pattern.types:
                self._route(name, trigger.goal.pattern).goals = True

    def _index_awaited(self, trigger: Trigger) -> None:
        for step in trigger.steps:
            if isinstance(step, WaitFor):
                for name in step.pattern.types:
                    awaited = self._route(name, step.pattern).awaited
                    awaited.setdefault((trigger.rule_hash, trigger.name), {})[step.name] = step.pattern

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
        counted = stored_metric(source.metric, name, 0)
        if (
            source.measure == "count"
        ):  # a count needs no more of the newest events than the lines that it is compared with
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


def _adds(route: Route) -> set[str]:
    """The scores and metrics to which an event may add."""
    return {each.owner for each in route.additions} | {f"metric/{counted.metric.name}" for counted in route.metrics}


def _feeds(segment: Segment) -> frozenset[str]:
    """The scores and metrics that the segment reads."""
    code = segment.when.code
    return frozenset({*(f"score/{name}" for name in code.scores), *(f"metric/{name}" for name, _ in code.metrics)})
