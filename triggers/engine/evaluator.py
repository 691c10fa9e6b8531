"""The evaluator: applies events, profiles and outcomes to a user's state, and fires what is due.

An event first updates scores, metrics and segments, then ends what it ends and continues what waited for it, then
begins what it begins. Timers due before the event fire before it; those due at its instant wait for `fire_due`. What
begins or continues is decided at once if it is due. Schedules and dates are timers too. Same state, same rules, same
input, same clock: same effects.
"""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from schemas.endpoints import WEBHOOK
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.zones import zone_hint, zone_named
from triggers.cel.conditions import Context
from triggers.engine import (
    awaited,
    broadcasts,
    edited_rules,
    entries,
    goals,
    journeys,
    levels,
    metrics,
    outcomes,
    planning,
    profiles,
    segments,
    sequences,
    timers,
    unless_events,
)
from triggers.engine.evaluation import Effects, Evaluation
from triggers.engine.skipping import skip_due
from triggers.rules.events import StoredEvent, stored_event
from triggers.rules.interest import event_context
from triggers.rules.routes import Route
from triggers.rules.ruleset import AHEAD_MS, RuleSet
from triggers.rules.state import Occurrence, UserState

PROFILE_WAIT_MS = 30_000
"""Publishers send a profile and an event together, and Kafka does not order records of two topics."""
_NO_ROUTE = Route()


class Evaluator:
    """Applies events, profiles, outcomes and time to states. `paused` holds scopes such as global or trigger/NAME.

    `profile_wait_ms` is how long a send that needs consent waits for the user's first profile.
    """

    def __init__(
        self,
        rules: RuleSet,
        default_zone: str = "UTC",
        paused: frozenset[str] = frozenset(),
        profile_wait_ms: int = PROFILE_WAIT_MS,
    ) -> None:
        zone = zone_named(default_zone)
        if zone is None:
            raise ValueError(f"default_zone: unknown time zone {default_zone!r}; {zone_hint(default_zone)}")
        self.rules = rules
        self.paused = paused
        self._zone: ZoneInfo = zone
        self._profile_wait_ms = profile_wait_ms

    def evaluation(self, state: UserState, now_ms: int) -> Evaluation:
        """A new evaluation of a state at an instant."""
        return Evaluation(self.rules, state, now_ms, self._zone, self._profile_wait_ms, self.paused)

    def apply_event(self, state: UserState, event: Event, now_ms: int) -> Effects:
        """Applies an event. An event whose id is among the last 64 within 24 h changes nothing.

        An event that no rule reads changes nothing either: its id is not remembered, and no timer fires for it.
        """
        context = self.relevant_context(stored_event(event), now_ms)
        return Effects() if context is None else self.apply_relevant(state, context)

    def relevant_context(self, event: StoredEvent, now_ms: int) -> Context | None:
        """The context of an event that can change a user's state, for `apply_relevant`; None if it changes none.

        For None, the state need not be decoded.
        """
        route = self.rules.routes.get(event.type)
        if route is None:
            return None
        if event.time_ms > now_ms + AHEAD_MS:  # its time will be set to the clock, which may change what it matches
            return event_context(event, now_ms)
        return route.interest.context(event, now_ms)

    def apply_relevant(self, state: UserState, context: Context) -> Effects:
        """Applies the event of a context that `relevant_context` returned."""
        evaluation = self.evaluation(state, context.now_ms)
        self._apply(evaluation, context)
        return evaluation.effects

    def apply_broadcast(self, state: UserState, event: StoredEvent, now_ms: int) -> Effects | None:
        """Applies an event without a user to one user: only to the occurrences that wait for it by `same`.

        None if none does when it comes: then it changes nothing, and no timer fires for it. An event whose id is among
        the user's last 64 within 24 h only fires timers.
        """
        evaluation = self.evaluation(state, now_ms)
        if event.time_ms > now_ms + AHEAD_MS:
            event = replace(event, time_ms=now_ms)
        if not broadcasts.concerns(evaluation, event):
            return None
        timers.fire(evaluation, now_ms, inclusive=False)
        timers.run(evaluation, broadcasts.reach(evaluation, event))
        return evaluation.effects

    def apply_profile(self, state: UserState, profile: Profile, now_ms: int) -> Effects:
        """Replaces the user's profile. Plans schedules, dates and waits again, and decides held sends again if the zone
        changed or no profile was known. An unknown zone is counted, and the project's zone is used (settled case 21).
        """
        evaluation = self.evaluation(state, now_ms)
        timers.fire(evaluation, now_ms, inclusive=False)
        self._forget_windows(state)
        segments.initialize(evaluation)
        before, known = state.user, state.profiled
        moved = profile.zone != before.zone
        profiles.replace_profile(state, profile, now_ms)
        if profile.zone and evaluation.zone_given() is None:
            evaluation.count("unknown_zone")
        moves = segments.at_profile(evaluation, changed=not known or state.user != before, moved=moved)
        begun = timers.begin_moves(evaluation, moves)
        planning.plan(evaluation, moved=moved)
        if moved:
            levels.plan_calendar(evaluation)
        timers.run(evaluation, begun + journeys.apply_profile(evaluation, moved=moved))
        return evaluation.effects

    def withdraw_consent(self, state: UserState, refused: Mapping[str, int], now_ms: int) -> Effects:
        """Applies a profile that cannot be read: no consent counts until a profile can be read.

        `refused` holds the purposes that the profile refuses, each with the instant in milliseconds.
        """
        evaluation = self.evaluation(state, now_ms)
        timers.fire(evaluation, now_ms, inclusive=False)
        profiles.withdraw_consent(state, refused)
        return evaluation.effects

    def start(self, state: UserState, profile: Profile, now_ms: int) -> Evaluation:
        """Sets a profile before anything happens, which begins nothing. Returns the evaluation that fills the state."""
        profiles.replace_profile(state, profile, now_ms)
        return self.evaluation(state, now_ms)

    def apply_outcome(self, state: UserState, outcome: Outcome, now_ms: int) -> Effects:
        """Applies the outcome of a command as an event, then to reservations, suppression and consent.

        Counts `unmatched_outcome` if the command is no longer remembered.
        """
        evaluation = self.evaluation(state, now_ms)
        reservation = outcomes.reservation_of(state, outcome)
        if reservation is None and outcome.channel != WEBHOOK:
            evaluation.count("unmatched_outcome")
        if self._apply(evaluation, event_context(outcomes.outcome_event(outcome, reservation), now_ms)):
            outcomes.apply_suppression(evaluation, outcome, reservation)
        return evaluation.effects

    def apply_suppression(self, state: UserState, outcome: Outcome, now_ms: int) -> Effects:
        """Applies an outcome to reservations, suppression and consent only, not as an event."""
        evaluation = self.evaluation(state, now_ms)
        outcomes.apply_suppression(evaluation, outcome, outcomes.reservation_of(state, outcome))
        return evaluation.effects

    def plan(self, state: UserState, now_ms: int) -> Effects | None:
        """Brings the state up to date with other rules, as of now: plans their schedules and dates, and moves running
        occurrences to the texts that they follow. None if nothing of it concerns the user.

        Every call that applies something to a state does this first. Call it for users without further records.
        """
        evaluation = self.evaluation(state, now_ms)
        return evaluation.effects if edited_rules.adopt(evaluation) else None

    def fire_due(self, state: UserState, now_ms: int) -> Effects:
        """Fires every timer due by now, in the order of `timers`."""
        evaluation = self.evaluation(state, now_ms)
        timers.fire(evaluation, now_ms, inclusive=True)
        return evaluation.effects

    def skip_due(self, state: UserState, now_ms: int) -> Effects:
        """Skips every timer due by now, for a user for whom `fire_due` raises an exception."""
        evaluation = self.evaluation(state, now_ms)
        skip_due(evaluation)
        return evaluation.effects

    def skip_planning(self, state: UserState, now_ms: int) -> Effects:
        """Leaves a user for whom `plan` raises an exception without schedules and dates; everything else continues."""
        evaluation = self.evaluation(state, now_ms)
        planning.clear(evaluation)
        return evaluation.effects

    def _apply(self, evaluation: Evaluation, context: Context) -> bool:
        """Applies the event of a context without a user; returns whether it was new."""
        state, now_ms = evaluation.state, evaluation.now_ms
        event: Any = context.event  # a StoredEvent; expressions know less of it
        if not state.seen.add(event.id, now_ms):
            evaluation.count("duplicate")
            return False
        if event.time_ms > now_ms + AHEAD_MS:
            event.time_ms = now_ms
            evaluation.count("clamped")
        route = self.rules.routes.get(event.type, _NO_ROUTE)
        due = state.next_due()
        if (due is not None and due < now_ms) or state.plan_version != self.rules.plan_version:
            timers.fire(evaluation, now_ms, inclusive=False, fed=levels.fed(route, event), event_ms=event.time_ms)
        self._forget_windows(state)
        evaluation.with_user(context)
        moves = _update(evaluation, route, event, context)
        if state.running:
            journeys.end_by_event(evaluation, event)
        met = awaited.meet(evaluation, route, event) if route.awaited and state.running else ()
        if route.unless_events:
            unless_events.remember(evaluation, route, event, context)
        if route.goals and state.goals:
            goals.reach(evaluation, event, context)
        begun = timers.begin_moves(evaluation, moves) if moves else []
        _begin(evaluation, route, event, context, begun)
        for occurrence in met:
            timers.add_once(begun, occurrence)
        if begun:
            timers.run(evaluation, begun)
        return True

    def _forget_windows(self, state: UserState) -> None:
        """Forgets the windows of metrics that the rules no longer have."""
        if not self.rules.keeps_all(state.windows.keys()):
            state.windows = {key: window for key, window in state.windows.items() if self.rules.keeps(key)}


def _update(evaluation: Evaluation, route: Route, event: StoredEvent, context: Context) -> list[segments.Move]:
    """Updates scores, metrics and segments, then the crossings of windows, which may read those; returns what they
    begin."""
    risen: list[levels.Rise] = []
    moves: list[segments.Move] = []
    before = segments.before_event(evaluation, route) if route.segments else {}
    fed = metrics.feed(evaluation, route, event, context) if route.metrics else []
    if route.additions:
        risen, scores = levels.feed_scores(evaluation, route, event, context)
        fed += scores
    if route.segments and fed:
        moves = segments.at_event(evaluation, route, event, frozenset(fed), before)
    if route.crossings:
        risen += levels.feed_windows(evaluation, route, event, context)
    return [(rule.trigger, entry) for rule, entry in risen] + moves if risen else moves


def _begin(evaluation: Evaluation, route: Route, event: StoredEvent, context: Context, begun: list[Occurrence]) -> None:
    """Begins what the event begins, itself or as the last of a sequence; adds it to `begun`."""
    for rule, last in sequences.feed(evaluation, route, event, context) if route.sequences else ():
        timers.add_once(begun, entries.begin(evaluation, rule.trigger, last, last.time_ms))
    for trigger, patterns in route.begins:
        if begun and any(each.trigger == trigger.name and each.event is event for each in begun):
            continue  # a sequence that the event completed has begun the same
        for pattern in patterns:
            if evaluation.holds(trigger.name, "on", pattern.where, context):
                timers.add_once(begun, entries.begin(evaluation, trigger, event, event.time_ms, context))
                break
