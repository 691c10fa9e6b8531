"""A backtest as the language tells it: everything in its turn by the general path, on decoded states."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from operator import attrgetter

from schemas.decisions import Decision
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.vocabulary import TRANSACTIONAL, DecisionOutcome
from schemas.zones import zone_named
from triggers.cases.backtest import BacktestResult
from triggers.cases.history_records import Order
from triggers.cel.runtime import as_ms
from triggers.engine import segments
from triggers.engine.evaluation import DATE_PLACES, Effects
from triggers.engine.evaluator import Evaluator
from triggers.measures.local_time import iso_week
from triggers.rules.encoding import decode, encode
from triggers.rules.events import stored_event
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import StoredConsent, UserState

TimedProfile = tuple[int | None, Profile]
"""A profile, and from when it holds; None for the beginning."""
_HAPPENINGS = {Event: "apply_event", Profile: "apply_profile", Outcome: "apply_outcome"}


class SlowBacktest:
    """Plays a log when it is made; `result` is what `backtest` must return, but for its notes."""

    def __init__(
        self,
        rules: RuleSet,
        events: list[Event],
        profiles: Mapping[str, Profile] | list[TimedProfile] | None,
        order: Order = "event_time",
        outcomes: Iterable[Outcome] = (),
        until_ms: int | None = None,
        default_zone: str = "UTC",
    ) -> None:
        self.evaluator = Evaluator(rules, default_zone)
        self.default_zone = default_zone
        self.profiles = None if profiles is None else _timed(profiles)
        self.result = BacktestResult()
        self.decided: list[Decision] = []
        self.sent: dict[str, list[tuple[int, str, str]]] = {}
        purposes = {trigger.purpose for trigger in rules.triggers.values()} - {TRANSACTIONAL}
        self.consent = {purpose: StoredConsent(True, 0) for purpose in sorted(purposes)}
        until = 2**63 if until_ms is None else until_ms
        kept = [event for event in events if as_ms(event.time) <= until]
        heard = [outcome for outcome in outcomes if as_ms(outcome.time) <= until]
        known = [each for each in self.profiles or [] if (each[0] or 0) <= until]
        everything = len(events) + len(list(self.profiles or [])) + len(list(outcomes))
        self.result.extent.after_end = everything - len(kept) - len(known) - len(heard)
        if order == "event_time":
            kept.sort(key=attrgetter("time", "id"))
        self._play(kept, known, heard, until_ms)

    def _play(
        self, events: list[Event], profiles: list[TimedProfile], outcomes: list[Outcome], until_ms: int | None
    ) -> None:
        extent, result = self.result.extent, self.result
        clocks = [max(as_ms(event.time) for event in events[: number + 1]) for number in range(len(events))]
        extent.events = len(events)
        if events:
            extent.first_ms, extent.last_ms = as_ms(events[0].time), clocks[-1]
        extent.without_user = sum(event.user_id is None for event in events)
        of_users = (event.type for event in events if event.user_id is not None)
        extent.unheard.update(type_ for type_ in of_users if type_ not in self.evaluator.rules.routes)
        if extent.without_user:
            result.counts["without_user"] = extent.without_user
        if extent.after_end:
            result.counts["after_end"] = extent.after_end
        if extent.events == extent.without_user:
            return
        self.begin_ms = extent.first_ms or 0
        self.end_ms = (extent.last_ms or 0) if until_ms is None else until_ms
        users = {event.user_id for event in events if event.user_id} | {each.user_id for each in outcomes}
        everybody = self.evaluator.rules.clocks or self.evaluator.rules.movers
        for user in sorted(users | {profile.user_id for _, profile in profiles}):
            own = [profile for at, profile in profiles if profile.user_id == user and (at or 0) <= self.begin_ms]
            if own and own[-1].zone and zone_named(own[-1].zone) is None:
                result.wrong_zones[own[-1].zone] += 1
            if user in users or everybody:
                self._play_user(
                    user,
                    own[-1] if own else None,
                    [
                        (clock, 1, event)
                        for clock, event in zip(clocks, events, strict=True)
                        if event.user_id in (user, None)
                    ],
                    [(at, 0, each) for at, each in profiles if each.user_id == user and at and at > self.begin_ms],
                    [each for each in outcomes if each.user_id == user],
                )

    def _play_user(self, user: str, profile, events, profiles, outcomes) -> None:  # type: ignore[no-untyped-def]
        before = len(self.decided)
        state, clock = self._first_state(user, profile), 0
        for outcome in sorted(outcomes, key=attrgetter("time", "id")):
            if as_ms(outcome.time) < self.begin_ms:
                self._take(state, self.evaluator.apply_outcome(state, outcome, self.begin_ms), self.begin_ms)
        later = [(as_ms(each.time), 1, each) for each in outcomes if as_ms(each.time) >= self.begin_ms]
        merged = [*events, *later]
        if later:
            merged.sort(key=lambda each: (each[0], each[2].id))
        for at_ms, _, what in sorted([*profiles, *merged], key=lambda each: each[:2]):
            if at_ms > self.end_ms:
                break
            self._fire(state, clock, at_ms - 1)
            clock = at_ms
            if isinstance(what, Event) and what.user_id is None:
                met = self.evaluator.apply_broadcast(state, stored_event(what), clock)
                self._take(state, met or Effects(), clock)
                continue
            apply = getattr(self.evaluator, _HAPPENINGS[type(what)])
            self._take(state, apply(state, what, clock), clock)
        self._fire(state, clock, self.end_ms)
        self.result.states[user], due = encode(state)
        self.result.users += 1
        self.result.waiting += due is not None
        self.result.without_profile += profile is None and not any(at <= self.end_ms for at, *_ in profiles)
        sent = [each.trigger for each in self.decided[before:] if each.outcome is DecisionOutcome.SEND]
        self.result.reached += bool(sent)
        self.result.reached_by.update(set(sent))

    def _first_state(self, user: str, profile: Profile | None) -> UserState:
        state = decode(user, None)
        if self.profiles is None:
            state.consent, state.profiled = dict(self.consent), True
        elif profile is not None:
            self.evaluator.start(state, profile, self.begin_ms)
        if state.profiled:
            segments.initialize(self.evaluator.evaluation(state, self.begin_ms))
        if (planned := self.evaluator.plan(state, self.begin_ms)) is not None:
            self._take(state, planned, self.begin_ms)
        return state

    def _fire(self, state: UserState, clock: int, until: int) -> None:
        while (due := state.next_due()) is not None and due <= until:
            clock = max(due, clock)
            self._take(state, self.evaluator.fire_due(state, clock), clock)

    def _take(self, state: UserState, effects: Effects, at_ms: int) -> None:
        result = self.result
        result.counts.update({name: count for name, count in effects.counts.items() if count})
        result.forgotten.update(effects.bounds)
        if effects.problems:
            result.counts["problems"] += len(effects.problems)
        for problem in effects.problems:
            if problem.place in DATE_PLACES:
                result.unread[problem.trigger, problem.place, problem.detail] += 1
        result.problems = [*result.problems, *effects.problems][:100]
        zone = zone_named(state.user.zone or "") or zone_named(self.default_zone)
        for decision in effects.decisions:
            self.decided.append(decision)
            result.decisions[decision.trigger, str(decision.outcome), str(decision.reason or "")] += 1
            if decision.outcome is DecisionOutcome.SEND:
                local = datetime.fromtimestamp(at_ms / 1000, zone)
                result.sends[decision.trigger, iso_week(at_ms)] += 1
                result.daily[decision.trigger, at_ms // 86_400_000] += 1
                result.hours[local.weekday() * 24 + local.hour] += 1
                self.sent.setdefault(state.user_id, []).append((at_ms, decision.trigger, decision.step))
            elif decision.reason == "cap":
                limit = decision.gates[-1].limit
                counted = set(decision.inputs.get("counted", ()))
                for trigger in {each.trigger for each in state.reservations if each.command_id in counted}:
                    result.pressure[decision.trigger, trigger] += 1
                result.caps[decision.trigger, f"{limit['max']} per {limit['per']} by {limit['by']}"] += 1


def _timed(profiles: Mapping[str, Profile] | list[TimedProfile]) -> list[TimedProfile]:
    """In the order of their instants."""
    if isinstance(profiles, Mapping):
        return [(None, profile) for profile in profiles.values()]
    return sorted(profiles, key=lambda each: each[0] or 0)
