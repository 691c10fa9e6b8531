"""Decides an event that begins one trigger which sends at once, without an occurrence in the state.

Of the general path (`triggers/engine/evaluator.py`), such an event needs only the change of scores and windows, as on
the fast path, and the decision. Most decisions are drops. A drop changes nothing of a state but its hot part, so the
rest stays encoded. If an event does more (a timer is due, a level rises, the send is deferred), `decide` returns None
and has changed nothing; the general path then applies the event from the beginning.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from msgspec import Struct

from schemas.vocabulary import DecisionOutcome
from triggers.cel.conditions import Condition, Context
from triggers.cel.runtime import EvaluationError
from triggers.engine.entries import MAX_RUNNING
from triggers.engine.evaluation import Effects, Evaluation
from triggers.engine.evaluator import Evaluator
from triggers.engine.fast_path import FastRoute, NotFast, changed, fast_route, reads_only_event
from triggers.engine.sending import send
from triggers.rules.encoding import HotState, decode_rest, encode, encode_hot
from triggers.rules.events import StoredEvent
from triggers.rules.routes import Route
from triggers.rules.rule import Pattern, Send, Trigger
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import Occurrence, occurrence_id


class Decided(Struct, gc=False):
    """The encoded state after the event, when its next timer is due, and the effects."""

    state: bytes
    due: int | None
    effects: Effects


@dataclass(frozen=True, slots=True)
class _Begin:
    """A trigger that events of one type begin if `where` is true, and its only step; None if it does more than send."""

    where: Condition | None
    trigger: Trigger
    step: Send | None


@dataclass(frozen=True, slots=True)
class _Route:
    begins: tuple[_Begin, ...]
    changes: FastRoute
    """What else the events change."""

    def begun(self, context: Context) -> _Begin | None:
        """What the event begins; None if it is not exactly one trigger, or a `where` fails."""
        found: _Begin | None = None
        try:
            for each in self.begins:
                if each.where is None or each.where.holds(context):
                    if found is not None:
                        return None
                    found = each
        except EvaluationError:
            return None
        return found


class AtOnce:
    """Decides by one evaluator the events of those types that may begin a trigger which sends at once."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        rules = evaluator.rules
        self._routes = {name: found for name, route in rules.routes.items() if (found := _route(rules, name, route))}

    def decide(self, user_id: str, raw: bytes, event: StoredEvent, context: Context) -> Decided | None:
        """What the event does; None if the general path must apply it. `context` is the event's, without a user."""
        route, now_ms = self._routes.get(event.type), context.now_ms
        if route is None or (begin := route.begun(context)) is None or begin.step is None:
            return None
        if not now_ms - begin.trigger.max_age_ms <= event.time_ms <= now_ms:
            return None
        hot = changed(self._evaluator.rules, route.changes, raw, event, context, now_ms)
        if hot is None:
            return None
        state = decode_rest(user_id, hot)
        if state.unless_events or len(state.running) >= MAX_RUNNING:
            return None
        return _decided(self._evaluator.evaluation(state, now_ms), hot, begin.trigger, begin.step, event)


def _decided(evaluation: Evaluation, hot: HotState, trigger: Trigger, step: Send, event: StoredEvent) -> Decided | None:
    at = event.time_ms
    occurrence = Occurrence(
        trigger.name, trigger.rule_hash, occurrence_id(None, event.id), None, None, event.id, event, at, None, 0, at, at
    )
    if not send(evaluation, trigger, occurrence, step):
        return None
    effects = evaluation.effects
    if effects.records[0].outcome is DecisionOutcome.DROP:
        return Decided(encode_hot(hot), hot.due, effects)
    return Decided(*encode(evaluation.state), effects)


def _route(rules: RuleSet, event_type: str, route: Route) -> _Route | None:
    """What events of the type may do; None if none of them begins a trigger that sends at once."""
    begins = tuple(_Begin(each.where, trigger, _only_send(trigger)) for trigger, each in _patterns(route))
    if all(each.step is None for each in begins):
        return None
    if not all(each.where is None or reads_only_event(each.where) for each in begins):
        return None
    try:
        return _Route(begins, fast_route(rules, event_type, replace(route, begins=[])))
    except NotFast:
        return None


def _patterns(route: Route) -> Iterator[tuple[Trigger, Pattern]]:
    for trigger, patterns in route.begins:
        for pattern in patterns:
            yield trigger, pattern


def _only_send(trigger: Trigger) -> Send | None:
    """The trigger's only step, if nothing comes before it or between it and the event."""
    match trigger.steps:
        case (Send() as step,) if not trigger.key and not trigger.settle_ms and trigger.experiment is None:
            return step
    return None
