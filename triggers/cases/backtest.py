"""Backtest: runs rules over past events. Each user's timers fire between the events, by the time of the events."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from schemas.decisions import Decision
from schemas.events import Event
from schemas.profiles import Profile
from schemas.vocabulary import TRANSACTIONAL, DecisionOutcome
from schemas.wording import counted, quoted
from schemas.zones import zone_hint, zone_named
from triggers.cases.forgotten import forgotten_notes
from triggers.cel.runtime import as_ms
from triggers.engine import segments
from triggers.engine.evaluation import DATE_PLACES, Effects, RuleProblem
from triggers.engine.evaluator import PROFILE_WAIT_MS, Evaluator
from triggers.measures.local_time import iso_week
from triggers.measures.shapes import MS
from triggers.rules.encoding import decode
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import StoredConsent, UserState

Order = Literal["event_time", "given"]
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
    states: dict[str, UserState] = field(default_factory=dict)
    """Each user's state at the end, whose timers are still to come."""

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
        evaluator: Evaluator,
        profiles: Mapping[str, Profile] | None,
        on_decision: Callable[[Decision], None] | None,
    ) -> None:
        self.evaluator = evaluator
        self.profiles = profiles
        self.on_decision = on_decision
        self.result = BacktestResult()
        triggers = evaluator.rules.triggers.values()
        self.purposes = sorted({trigger.purpose for trigger in triggers} - {TRANSACTIONAL})

    def play(self, user_id: str, timeline: list[tuple[int, Event]], begin_ms: int, end_ms: int) -> None:
        """One user's events, each at its clock, with timers between them and up to the end. Profiles are there from
        the beginning, for schedules and dates need no event."""
        state = self.state_of(user_id, begin_ms)
        clock = 0
        for now_ms, event in timeline:
            self.fire(state, clock, now_ms - 1)
            clock = now_ms
            self.take(self.evaluator.apply_event(state, event, now_ms), now_ms)
        self.fire(state, clock, end_ms)

    def state_of(self, user_id: str, now_ms: int) -> UserState:
        state = self.result.states[user_id] = decode(user_id, None)
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

    def fire(self, state: UserState, clock: int, until: int) -> None:
        """Fires each timer at its own instant, or at the clock where it was set for one already past."""
        while (due := state.next_due()) is not None and due <= until:
            clock = max(due, clock)
            self.take(self.evaluator.fire_due(state, clock), clock)

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
    """Runs the rules over the events, and each user's timers up to the last event's time.

    `order`: by (time, id), or as `given`, where the clock stands at the latest time met so far. Users do not affect
    each other, so one after the other is played, which keeps their states near. Schedules, dates and segments begin
    things for everybody with a profile, from the first event on. Without profiles everybody who has an event is taken
    to have an empty one and to consent to everything, which the result's notes say. `progress` is called with the
    number of events done, about every `every` events. `on_decision` sees each decision, by user; the result only counts
    them.
    """
    run = _Backtest(Evaluator(rules, default_zone), profiles, on_decision)
    timelines = _timelines(events, order, run.result)
    if timelines and (run.evaluator.rules.clocks or run.evaluator.rules.movers):
        timelines |= {user_id: [] for user_id in profiles or () if user_id not in timelines}
    done = reported = 0
    for user_id, timeline in timelines.items():
        run.play(user_id, timeline, run.result.first_ms or 0, run.result.last_ms or 0)
        done += len(timeline)
        if progress is not None and done - reported >= every:
            progress(done)
            reported = done
    run.result.notes = _notes(run, order, default_zone)
    return run.result


def _timelines(events: Iterable[Event], order: Order, result: BacktestResult) -> dict[str, list[tuple[int, Event]]]:
    """Each user's events with the clock at which each is applied, in order."""
    stamped = [(as_ms(event.time), event) for event in events]
    if order == "event_time":
        stamped.sort(key=lambda each: (each[0], each[1].id))
    timelines: dict[str, list[tuple[int, Event]]] = {}
    clock = stamped[0][0] if stamped else None
    result.events, result.first_ms = len(stamped), clock
    for at_ms, event in stamped:
        clock = max(clock or at_ms, at_ms)
        if event.user_id is None:
            result.counts["without_user"] += 1
        else:
            timelines.setdefault(event.user_id, []).append((clock, event))
    result.last_ms = clock
    return timelines


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
    waiting = sum(state.next_due() is not None for state in run.result.states.values())
    texts.append(f"{counted(waiting, 'user')} with timers after the last event")
    return texts


def _wrong_zones(profiles: Mapping[str, Profile], default_zone: str) -> list[str]:
    """The invalid zones of profiles, the most frequent first."""
    wrong = Counter(p.zone for p in profiles.values() if p.zone and zone_named(p.zone) is None)
    instead = f"which is none, so {default_zone} is taken"
    return [
        f"{counted(number, 'user')} with zone {quoted(zone)}, {instead}; {zone_hint(zone)}"
        for zone, number in wrong.most_common(_MAX_TOLD)
    ]
