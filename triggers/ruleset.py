"""A set of rules, indexed for the evaluator: what each event type can touch, and each trigger with its policies."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.vocabulary import TRANSACTIONAL
from triggers.cel_runtime import FAILURES
from triggers.conditions import Context, compile_condition
from triggers.diagnostics import Diagnostic
from triggers.rule import Addition, CountCrossing, Crossing, Pattern, Policy, Score, Send, Trigger
from triggers.shapes import MS, Calendar
from triggers.state import StoredEvent, User

_OUTCOMES_ARRIVE_WITHIN_MS = 7 * MS["d"]
"""How long a send is remembered, so that its opens and clicks can name their rule, where no cap asks for longer."""
_LONGEST_CALENDAR_MS = 32 * MS["d"]
_ONE = compile_condition("1", "number")


_ASKED_ALONE = frozenset({"event", "now"})


_NOBODY = User("")


def _no_score(name: str) -> float:
    raise KeyError(name)


@dataclass(slots=True)
class Route:
    """What an event of one type can touch. A type without a route touches nothing."""

    asked: list[Callable[[Any], Any]] = field(default_factory=list)
    """The `where` of every pattern that reads the type, where all of them can be asked without the user's state."""
    always: bool = False
    """Whether some pattern takes every event of the type, or asks more than the event."""
    additions: list[tuple[Score, Addition]] = field(default_factory=list)
    endings: list[tuple[Trigger, int, Pattern]] = field(default_factory=list)
    """`unless` patterns whose `where` needs no running occurrence, with their number in the trigger."""
    begins: list[tuple[Trigger, list[Pattern]]] = field(default_factory=list)
    goals: bool = False
    fed: frozenset[str] = frozenset()
    """The crossings of the scores that `additions` feed."""

    def reads(self, pattern: Pattern) -> None:
        """Notes that a pattern reads events of the type."""
        where = pattern.where
        if where is None or not where.code.roots <= _ASKED_ALONE:
            self.always = True
        else:
            self.asked.append(where.code.function)

    def concerns(self, event: StoredEvent, now_ms: int) -> bool:
        """Whether the event can touch a user's state: some `where` is true of it, or fails and is to be told."""
        if self.always:
            return True
        context = Context(event, _NOBODY, None, _no_score, now_ms)
        try:
            for ask in self.asked:
                if ask(context) is not False:
                    return True
        except FAILURES:
            return True
        return False


@dataclass(slots=True)
class LevelRule:
    """One trigger's crossing, under the id that states keep it by."""

    id: str
    trigger: Trigger
    crossing: Crossing


class RuleSet:
    """Triggers, scores and policies that hold together. Immutable once made."""

    def __init__(
        self,
        triggers: Iterable[Trigger],
        scores: Iterable[Score],
        policies: Iterable[Policy],
        warnings: tuple[Diagnostic, ...] = (),
    ) -> None:
        self.written_scores = {score.name: score for score in scores}
        """The scores as their files have them."""
        self.scores = dict(self.written_scores)
        """Those, and under the crossing's id the counts that triggers keep for themselves."""
        self.policies = {policy.name: policy for policy in policies}
        self.warnings = warnings
        self.written = {trigger.name: trigger for trigger in triggers}
        """The triggers as their files have them."""
        self.triggers = {name: _obeying(each, self.policies.values()) for name, each in self.written.items()}
        """The triggers with the policies that they obey."""
        self.levels: dict[str, LevelRule] = {}
        self.levels_of: dict[str, list[LevelRule]] = {}
        self.routes: dict[str, Route] = {}
        self._index()
        self.remember_ms = max([_OUTCOMES_ARRIVE_WITHIN_MS, *self._windows()])

    def only(self, trigger: Trigger, policies: Iterable[str]) -> "RuleSet":
        """One trigger with the named policies and every score: what a case sees."""
        return RuleSet([trigger], self.written_scores.values(), [self.policies[name] for name in policies])

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

    def _index_trigger(self, trigger: Trigger) -> None:
        for number, source in enumerate(trigger.sources):
            if not isinstance(source, Pattern):
                self._index_crossing(f"{trigger.name}#{number}", trigger, source)
                continue
            for name in source.types:
                begins = self._route(name, source).begins
                if begins and begins[-1][0] is trigger:
                    begins[-1][1].append(source)
                else:
                    begins.append((trigger, [source]))
        for number, pattern in enumerate(trigger.unless):
            early = pattern.where is None or "occurrence" not in pattern.where.code.roots
            for name in pattern.types:
                endings = self._route(name, pattern).endings
                if early:
                    endings.append((trigger, number, pattern))
        if trigger.goal is not None:
            for name in trigger.goal.pattern.types:
                self._route(name, trigger.goal.pattern).goals = True

    def _index_crossing(self, name: str, trigger: Trigger, source: Crossing | CountCrossing) -> None:
        if isinstance(source, CountCrossing):
            self.scores[name] = Score(name, source.curve, (Addition(source.pattern, _ONE),))
            source = source.over(name)
        self.levels[name] = LevelRule(name, trigger, source)
        self.levels_of.setdefault(source.score, []).append(self.levels[name])

    def _route(self, event_type: str, pattern: Pattern) -> Route:
        route = self.routes.setdefault(event_type, Route())
        route.reads(pattern)
        return route


def _obeying(trigger: Trigger, policies: Iterable[Policy]) -> Trigger:
    """The trigger with what its policies add: caps, quiet periods and holdouts add up, the smallest expiry holds."""
    for policy in sorted((p for p in policies if _applies(p, trigger)), key=lambda p: p.name):
        held = ((f"policy/{policy.name}", policy.holdout_percent),) if policy.holdout_percent else ()
        trigger = replace(
            trigger,
            caps=trigger.caps + policy.caps,
            quiet=trigger.quiet + policy.quiet,
            holdouts=trigger.holdouts + held,
            expires_ms=min(trigger.expires_ms, policy.expires_ms or trigger.expires_ms),
        )
    return trigger


def _applies(policy: Policy, trigger: Trigger) -> bool:
    """Whether the trigger obeys the policy; a transactional one only where the policy says so by purpose."""
    if trigger.purpose == TRANSACTIONAL and policy.purpose != TRANSACTIONAL:
        return False
    channels = {step.channel for step in trigger.steps if isinstance(step, Send)}
    purpose_fits = policy.purpose is None or policy.purpose == trigger.purpose
    return purpose_fits and (policy.channel is None or policy.channel in channels)
