"""Backtest: runs rules over past events. Each user's timers fire between the events, by the time of the events."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.decisions import Decision
from schemas.events import Event
from schemas.profiles import Profile
from schemas.vocabulary import TRANSACTIONAL, DecisionOutcome
from schemas.wording import counted, quoted
from schemas.zones import zone_hint, zone_named
from triggers.cases.forgotten import forgotten_notes
from triggers.cases.kept_state import KeptState
from triggers.cases.timelines import Order, Timelines
from triggers.cel.conditions import Context
from triggers.engine import segments
from triggers.engine.evaluation import DATE_PLACES, Effects, RuleProblem
from triggers.engine.evaluator import PROFILE_WAIT_MS
from triggers.engine.fast_path import FastPath
from triggers.measures.local_time import iso_week
from triggers.measures.shapes import MS
from triggers.rules.encoding import decode, encode
from triggers.rules.events import stored_event
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import StoredConsent, UserState

MAX_PROBLEMS = 100
_MAX_TOLD = 10


@dataclass(slots=True)
class BacktestResult:
    """What the rules would have done. Weeks are ISO weeks in UTC. Only the first problems are kept; all are counted."""

    events: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    sends: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (trigger, week)."""
    sends_by_day: Counter[int] = field(default_factory=Counter)
    """By day, counted from 1970-01-01 in UTC."""
    decisions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By (trigger, outcome, reason; the reason may be empty)."""
    counts: Counter[str] = field(default_factory=Counter)
    """Events without a decision: stale, duplicate, clamped, late, reentry, without_user, …"""
    forgotten: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What rules forgot because of bounds on memory, by rule and bound."""
    problems: list[RuleProblem] = field(default_factory=list)
    unread: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Dates that could not be read, by (trigger, place, why)."""
    notes: list[str] = field(default_factory=list)
    states: dict[str, bytes] = field(default_factory=dict)
    """Each user's encoded state at the end, whose timers are still to come."""

    def state(self, user_id: str) -> UserState:
        """A user's state at the end."""
        return decode(user_id, self.states[user_id])

    def by_reason(self) -> Counter[str]:
        """Decisions by outcome and reason."""
        found: Counter[str] = Counter()
        for (_, outcome, reason), count in self.decisions.items():
            found[outcome if not reason else f"{outcome} {reason}"] += count
        return found

    def sends_by_trigger(self) -> Counter[str]:
        """Sends by trigger over the whole time."""
        found: Counter[str] = Counter()
        for (trigger, _), count in self.sends.items():
            found[trigger] += count
        return found


class _Backtest:
    def __init__(
        self,
        timelines: Timelines,
        profiles: Mapping[str, Profile] | None,
        on_decision: Callable[[Decision], None] | None,
    ) -> None:
        self.evaluator = evaluator = timelines.evaluator
        self.profiles = profiles
        self.on_decision = on_decision
        self.result = BacktestResult(timelines.events, timelines.first_ms, timelines.last_ms)
        if timelines.without_user:
            self.result.counts["without_user"] = timelines.without_user
        self.waiting = 0
        """Users with timers after the last event."""
        rules = evaluator.rules
        self.purposes = sorted({trigger.purpose for trigger in rules.triggers.values()} - {TRANSACTIONAL})
        self.fast_path = FastPath(rules)
        self.alike: bytes | None = None
        """The encoded state with which every user begins; None if it depends on the user."""
        asks_user = any("user" in segment.when.code.roots for segment in rules.segments.values())
        if profiles is None and not rules.clocks and not asks_user:
            self.alike, _ = encode(self.state_of("", self.result.first_ms or 0))

    def play(self, user_id: str, contexts: Iterable[Context]) -> None:
        """Plays one user's events, each at its clock, with timers between them and up to the end of the log."""
        begin_ms, end_ms = self.result.first_ms or 0, self.result.last_ms or 0
        kept = KeptState(user_id, self.alike or encode(self.state_of(user_id, begin_ms))[0])
        fast_types, apply_fast = self.fast_path.routes, self.fast_path.apply
        clock = 0
        for context in contexts:
            now_ms = context.now_ms
            self.fire(kept, clock, now_ms - 1)
            clock = now_ms
            event: Any = context.event  # a StoredEvent; expressions know less of it
            changed = apply_fast(kept.encoded(), event, context, now_ms) if event.type in fast_types else None
            if changed is not None:
                kept.replace(changed)
            else:
                self.take(self.evaluator.apply_relevant(kept.to_change(), context), now_ms)
        self.fire(kept, clock, end_ms)
        self.waiting += kept.next_due() is not None
        self.result.states[user_id] = kept.encoded()

    def state_of(self, user_id: str, now_ms: int) -> UserState:
        """A user's state before the first event of the log. Profiles are there from the beginning, for schedules and
        dates need no event."""
        state = decode(user_id, None)
        if self.profiles is None:
            state.consent = {purpose: StoredConsent(True, 0) for purpose in self.purposes}
            state.profiled = True
        elif user_id in self.profiles:
            self.evaluator.start(state, self.profiles[user_id], now_ms)
        if state.profiled:
            segments.initialize(self.evaluator.evaluation(state, now_ms))
        if (planned := self.evaluator.plan(state, now_ms)) is not None:
            self.take(planned, now_ms)
        return state

    def fire(self, kept: KeptState, clock: int, until: int) -> None:
        """Fires each timer at its own instant, or at the clock where it was set for one already past."""
        due = kept.next_due()
        if due is None or due > until:
            return
        state = kept.to_change()
        while due is not None and due <= until:
            clock = max(due, clock)
            self.take(self.evaluator.fire_due(state, clock), clock)
            due = state.next_due()

    def take(self, effects: Effects, at_ms: int) -> None:
        result = self.result
        for name, count in effects.counts.items():
            result.counts[name] += count
        result.forgotten.update(effects.bounds)
        if effects.problems:
            result.counts["problems"] += len(effects.problems)
            dates = (problem for problem in effects.problems if problem.place in DATE_PLACES)
            result.unread.update((problem.trigger, problem.place, problem.detail) for problem in dates)
            result.problems += effects.problems[: MAX_PROBLEMS - len(result.problems)]
        for record in effects.records:
            result.decisions[record.trigger, str(record.outcome), str(record.reason or "")] += 1
            if record.outcome is DecisionOutcome.SEND:
                result.sends[record.trigger, iso_week(at_ms)] += 1
                result.sends_by_day[at_ms // MS["d"]] += 1
            if self.on_decision is not None:
                self.on_decision(record.decision())


def backtest(
    rules: RuleSet,
    events: Iterable[Event],
    profiles: Mapping[str, Profile] | None = None,
    *,
    order: Order = "event_time",
    default_zone: str = "UTC",
    progress: Callable[[int], None] | None = None,
    every: int = 5_000,
    on_decision: Callable[[Decision], None] | None = None,
) -> BacktestResult:
    """Runs the rules over the events, ordered by time and id or as `given`, and further as `play` does."""
    timelines = Timelines(rules, order, default_zone)
    timelines.read((event.user_id, stored_event(event)) for event in events)
    return play(timelines, profiles, progress=progress, every=every, on_decision=on_decision)


def play(
    timelines: Timelines,
    profiles: Mapping[str, Profile] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    every: int = 5_000,
    on_decision: Callable[[Decision], None] | None = None,
) -> BacktestResult:
    """Runs the rules over the events of timelines, once, and each user's timers up to the last event's time.

    Users do not affect each other, so one after the other is played, which keeps their states near. Schedules, dates
    and segments begin things for everybody with a profile, from the first event on. Without profiles everybody who has
    an event is taken to have an empty one and to consent to everything, which the result's notes say. `progress` is
    called with the number of events done, about every `every` events. `on_decision` sees each decision, by user; the
    result only counts them.
    """
    run = _Backtest(timelines, profiles, on_decision)
    done = reported = 0
    for user_id, timeline in timelines.by_user():
        run.play(user_id, timelines.contexts(timeline))
        done += timeline.events
        if progress is not None and done - reported >= every:
            progress(done)
            reported = done
    rules = timelines.evaluator.rules
    if run.result.states and (rules.clocks or rules.movers):
        for user_id in profiles or ():
            if user_id not in run.result.states:
                run.play(user_id, ())
    run.result.notes = _notes(run, timelines.order, timelines.default_zone)
    return run.result


def _notes(run: _Backtest, order: Order, default_zone: str) -> list[str]:
    texts = ["ordered by event time, then id" if order == "event_time" else "ordered as given"]
    if run.profiles is None:
        texts.append(f"no profiles: consent to {', '.join(run.purposes) or 'nothing'} assumed, zone {default_zone}")
    else:
        without = sum(user_id not in run.profiles for user_id in run.result.states)
        if without:
            texts.append(
                f"{counted(without, 'user')} without a profile: what needs consent waits for one "
                f"({PROFILE_WAIT_MS // MS['s']} s), then drops with profile_unknown"
            )
        texts += _wrong_zones(run.profiles, default_zone)
    texts.append("no outcomes: nobody opens, clicks or unsubscribes, and no reservation is given back")
    if any(trigger.settle_ms for trigger in run.evaluator.rules.triggers.values()):
        texts.append("events arrive at their own time here: settling changes nothing but the instant")
    for (trigger, place, why), number in run.result.unread.most_common(_MAX_TOLD):
        texts.append(f"{trigger}: {counted(number, 'date')} of `{place}` could not be read: {why}")
    texts += forgotten_notes(run.result.forgotten)
    texts.append(f"{counted(run.waiting, 'user')} with timers after the last event")
    return texts


def _wrong_zones(profiles: Mapping[str, Profile], default_zone: str) -> list[str]:
    """The invalid zones of profiles, the most frequent first."""
    wrong = Counter(p.zone for p in profiles.values() if p.zone and zone_named(p.zone) is None)
    instead = f"which is none, so {default_zone} is taken"
    return [
        f"{counted(number, 'user')} with zone {quoted(zone)}, {instead}; {zone_hint(zone)}"
        for zone, number in wrong.most_common(_MAX_TOLD)
    ]
