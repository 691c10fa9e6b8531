"""A backtest as the language tells it: every event in its turn by the general path, on decoded states."""

from collections.abc import Mapping
from operator import attrgetter

from schemas.decisions import Decision
from schemas.events import Event
from schemas.profiles import Profile
from schemas.vocabulary import TRANSACTIONAL, DecisionOutcome
from triggers.cases.backtest import BacktestResult
from triggers.cases.timelines import Order
from triggers.cel.runtime import as_ms
from triggers.engine import segments
from triggers.engine.evaluation import DATE_PLACES, Effects
from triggers.engine.evaluator import Evaluator
from triggers.measures.local_time import iso_week
from triggers.rules.encoding import decode, encode
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import StoredConsent, UserState


class SlowBacktest:
    """Plays events when it is made; `result` is what `backtest` must return, but for its notes."""

    def __init__(
        self, rules: RuleSet, events: list[Event], profiles: Mapping[str, Profile] | None, order: Order
    ) -> None:
        self.evaluator = Evaluator(rules)
        self.profiles = profiles
        self.result = BacktestResult()
        self.decided: list[Decision] = []
        self.waiting = 0
        self.done: list[int] = []
        """How many events were done after each user with events."""
        purposes = {trigger.purpose for trigger in rules.triggers.values()} - {TRANSACTIONAL}
        self.consent = {purpose: StoredConsent(True, 0) for purpose in sorted(purposes)}
        self._play(sorted(events, key=attrgetter("time", "id")) if order == "event_time" else events)

    def _play(self, events: list[Event]) -> None:
        clocks = [max(as_ms(event.time) for event in events[: number + 1]) for number in range(len(events))]
        self.result.events = len(events)
        if events:
            self.result.first_ms, self.result.last_ms = as_ms(events[0].time), clocks[-1]
        users = list(dict.fromkeys(event.user_id for event in events if event.user_id is not None))
        if users and (self.evaluator.rules.clocks or self.evaluator.rules.movers):
            users += [user for user in self.profiles or () if user not in users]
        if without := sum(event.user_id is None for event in events):
            self.result.counts["without_user"] = without
        for user in users:
            own = [(at_ms, event) for at_ms, event in zip(clocks, events, strict=True) if event.user_id == user]
            self._play_user(user, own)
            if own:
                self.done.append(len(own) + sum(self.done[-1:]))

    def _play_user(self, user: str, events: list[tuple[int, Event]]) -> None:
        state, clock = self._first_state(user, self.result.first_ms or 0), 0
        for at_ms, event in events:
            self._fire(state, clock, at_ms - 1)
            clock = at_ms
            self._take(self.evaluator.apply_event(state, event, clock), clock)
        self._fire(state, clock, self.result.last_ms or 0)
        self.result.states[user], due = encode(state)
        self.waiting += due is not None

    def _first_state(self, user: str, now_ms: int) -> UserState:
        state = decode(user, None)
        if self.profiles is None:
            state.consent, state.profiled = dict(self.consent), True
        elif user in self.profiles:
            self.evaluator.start(state, self.profiles[user], now_ms)
        if state.profiled:
            segments.initialize(self.evaluator.evaluation(state, now_ms))
        if (planned := self.evaluator.plan(state, now_ms)) is not None:
            self._take(planned, now_ms)
        return state

    def _fire(self, state: UserState, clock: int, until: int) -> None:
        while (due := state.next_due()) is not None and due <= until:
            clock = max(due, clock)
            self._take(self.evaluator.fire_due(state, clock), clock)

    def _take(self, effects: Effects, at_ms: int) -> None:
        result = self.result
        result.counts.update({name: count for name, count in effects.counts.items() if count})
        result.forgotten.update(effects.bounds)
        if effects.problems:
            result.counts["problems"] += len(effects.problems)
        for problem in effects.problems:
            if problem.place in DATE_PLACES:
                result.unread[problem.trigger, problem.place, problem.detail] += 1
        result.problems = [*result.problems, *effects.problems][:100]
        for decision in effects.decisions:
            self.decided.append(decision)
            result.decisions[decision.trigger, str(decision.outcome), str(decision.reason or "")] += 1
            if decision.outcome is DecisionOutcome.SEND:
                result.sends[decision.trigger, iso_week(at_ms)] += 1
                result.sends_by_day[at_ms // 86_400_000] += 1
