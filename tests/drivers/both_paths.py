"""Applies events by the general path and, if it takes them, by the fast path, and holds the two against each other."""

from schemas.events import Event
from triggers.engine.evaluation import Effects
from triggers.engine.evaluator import Evaluator
from triggers.engine.fast_path import FastPath
from triggers.rules.encoding import encode
from triggers.rules.events import stored_event
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import UserState


class BothPaths:
    """Counts how many events the fast path took."""

    def __init__(self) -> None:
        self.fast = 0
        self._rules: RuleSet | None = None

    def apply_event(self, evaluator: Evaluator, state: UserState, event: Event, now_ms: int) -> Effects:
        """What `evaluator.apply_event` does. The fast path must give the same bytes, and then there are no effects."""
        if self._rules is not evaluator.rules:
            self._rules, self._path = evaluator.rules, FastPath(evaluator.rules)
        before, due = encode(state)
        stored = stored_event(event)
        context = evaluator.relevant_context(stored, now_ms)
        changed = None if context is None else self._path.apply(before, stored, context, now_ms)
        effects = evaluator.apply_event(state, event, now_ms)
        if changed is not None:
            self.fast += 1
            assert (changed, due) == encode(state)
            assert not any((effects.records, effects.problems, effects.exits, effects.counts, effects.bounds))
        return effects
