"""Applies events by the general path and, where they are taken, by the fast path and at once, and compares the two."""

from typing import Any

from schemas.events import Event
from triggers.engine.at_once import AtOnce
from triggers.engine.evaluation import Effects
from triggers.engine.evaluator import Evaluator
from triggers.engine.fast_path import FastPath
from triggers.rules.encoding import encode
from triggers.rules.events import stored_event
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import UserState


class BothPaths:
    """Counts how many events the fast path took, and how many were decided at once."""

    def __init__(self) -> None:
        self.fast = 0
        self.at_once = 0
        self._evaluator: Evaluator | None = None
        self._rules: RuleSet | None = None

    def apply_event(self, evaluator: Evaluator, state: UserState, event: Event, now_ms: int) -> Effects:
        """What `evaluator.apply_event` does.

        The fast path must give the same bytes, and then there are no effects. What is decided at once must have the
        same bytes and effects.
        """
        if self._evaluator is not evaluator or self._rules is not evaluator.rules:
            self._evaluator, self._rules = evaluator, evaluator.rules
            self._path, self._at_once = FastPath(evaluator.rules), AtOnce(evaluator)
        before, due = encode(state)
        stored = stored_event(event)
        context = evaluator.relevant_context(stored, now_ms)
        changed = None if context is None else self._path.apply(before, stored, context, now_ms)
        decided = None if context is None else self._at_once.decide(state.user_id, before, stored, context)
        effects = evaluator.apply_event(state, event, now_ms)
        if changed is not None:
            self.fast += 1
            assert (changed, due) == encode(state)
            assert not any(_parts(effects))
        if decided is not None:
            self.at_once += 1
            assert (decided.state, decided.due) == encode(state)
            assert _parts(decided.effects) == _parts(effects)
        return effects


def _parts(effects: Effects) -> tuple[Any, ...]:
    records = [(record.decision_json(), record.command_json()) for record in effects.records]
    return records, effects.problems, effects.exits, effects.counts, effects.bounds
