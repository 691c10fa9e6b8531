"""A backtest in memory: runs rules over past events, profiles and outcomes, and says what it had to assume."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.decisions import Decision
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.wording import counted, quoted
from schemas.zones import zone_hint
from triggers.cases.backtest_tally import BacktestTally
from triggers.cases.broadcast_index import BroadcastIndex
from triggers.cases.forgotten import forgotten_notes
from triggers.cases.history_records import NOBODY, HistoryRecord, LogExtent, Order, RecordMaker, mark
from triggers.cases.unheard import unheard_notes
from triggers.cases.user_replay import Cause, ReplaySpan, UserReplay, consented, replay_users
from triggers.engine.evaluation import Effects
from triggers.engine.evaluator import PROFILE_WAIT_MS, Evaluator
from triggers.engine.fast_path import FastPath
from triggers.measures.shapes import MS
from triggers.rules.encoding import decode
from triggers.rules.events import StoredEvent, stored_event
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import UserState

UserEvent = tuple[str | None, StoredEvent]
"""The id of an event's user, and the event as rules see it."""
TimedProfile = tuple[int | None, Profile]
"""A profile, and the instant from which it holds; None for the beginning."""
Profiles = Mapping[str, Profile] | Sequence[TimedProfile]
"""Profiles that hold from the beginning, or each from its own instant."""
_MAX_TOLD = 10


@dataclass(frozen=True, slots=True)
class BacktestScope:
    """What a backtest was given beside the events."""

    order: Order = "event_time"
    default_zone: str = "UTC"
    profiles: bool = False
    outcomes: bool = False


@dataclass(slots=True)
class BacktestResult(BacktestTally):
    """What the rules would have done, with each user's encoded state at the end, whose timers are still to come."""

    extent: LogExtent = field(default_factory=LogExtent)
    """How many events there were, and from when to when."""
    notes: list[str] = field(default_factory=list)
    states: dict[str, bytes] = field(default_factory=dict)

    def state(self, user_id: str) -> UserState:
        """A user's state at the end."""
        return decode(user_id, self.states[user_id])


def backtest(
    rules: RuleSet,
    events: Iterable[Event],
    profiles: Profiles | None = None,
    outcomes: Iterable[Outcome] | None = None,
    *,
    order: Order = "event_time",
    default_zone: str = "UTC",
    until_ms: int | None = None,
    on_decision: Callable[[Decision], None] | None = None,
) -> BacktestResult:
    """Runs the rules over the events of each user, and each user's timers up to `until_ms`, or to the last event.

    Events and outcomes are ordered by time and id, or as `given`; users by id. A profile without an instant holds from
    the first event on: schedules, dates and segments begin things for everybody who has one. Without profiles everybody
    who has an event is taken to have an empty one and to consent to everything, which the result's notes say.
    `on_decision` sees each decision; the result only counts them.
    """
    read = ((event.user_id, stored_event(event)) for event in events)
    return play(
        Evaluator(rules, default_zone),
        read,
        profiles,
        outcomes,
        scope=BacktestScope(order, default_zone, profiles is not None, outcomes is not None),
        until_ms=until_ms,
        on_decision=on_decision,
    )


def play(
    evaluator: Evaluator,
    events: Iterable[UserEvent],
    profiles: Profiles | None = None,
    outcomes: Iterable[Outcome] | None = None,
    *,
    scope: BacktestScope,
    until_ms: int | None = None,
    on_decision: Callable[[Decision], None] | None = None,
) -> BacktestResult:
    """Does what `backtest` says with events as rules see them."""
    maker = RecordMaker([evaluator], scope.order, until_ms)
    records = _records(maker, events, profiles or (), outcomes or ())
    broadcasts = [record for record in records if record.user_id == NOBODY]
    span = span_of(maker.extent, until_ms)

    def watch(_cause: Cause, effects: Effects, _at_ms: int) -> None:
        assert on_decision is not None
        for record in effects.records:
            on_decision(record.decision())

    watching = None if on_decision is None else watch
    fast_path, index = FastPath(evaluator.rules), BroadcastIndex(evaluator, broadcasts)
    replay = UserReplay(evaluator, span, fast_path, index, assume_consent=profiles is None, watch=watching)
    states: dict[str, bytes] = {}

    def finished(user_id: str, ends: Sequence[bytes | None]) -> None:
        if ends[0] is not None:
            states[user_id] = ends[0]

    if maker.extent.events > maker.extent.without_user:
        replay_users([replay], records[len(broadcasts) :], finished)
    result = result_of(replay.tally, maker.extent, evaluator, scope)
    result.states = states
    return result


def result_of(tally: BacktestTally, extent: LogExtent, evaluator: Evaluator, scope: BacktestScope) -> BacktestResult:
    """The result of a tally, with its notes and without states."""
    result = BacktestResult(extent=extent)
    result.add(tally)
    for name, count in (("without_user", extent.without_user), ("after_end", extent.after_end)):
        if count:
            result.counts[name] += count
    result.notes = _notes(tally, extent, evaluator, scope)
    return result


def _records(
    maker: RecordMaker,
    events: Iterable[UserEvent],
    profiles: Profiles,
    outcomes: Iterable[Outcome],
) -> list[HistoryRecord]:
    """All records in order."""
    made = [maker.event(user_id, event, number) for number, (user_id, event) in enumerate(events)]
    timed = [(None, each) for each in profiles.values()] if isinstance(profiles, Mapping) else profiles
    made += [maker.profile(each, at_ms, number) for number, (at_ms, each) in enumerate(timed)]
    made += [maker.outcome(each, number) for number, each in enumerate(outcomes)]
    made += map(mark, maker.marked)
    return sorted(record for record in made if record is not None)


def span_of(extent: LogExtent, until_ms: int | None) -> ReplaySpan:
    """The time from the first event to the given end, or to the last event."""
    begin_ms = extent.first_ms or 0
    return ReplaySpan(begin_ms, max(begin_ms, extent.last_ms or 0) if until_ms is None else until_ms)


def _notes(tally: BacktestTally, extent: LogExtent, evaluator: Evaluator, scope: BacktestScope) -> list[str]:
    """What a backtest assumed, left out and forgot."""
    texts = ["ordered by event time, then id" if scope.order == "event_time" else "ordered as given"]
    if not scope.profiles:
        needed = ", ".join(consented(evaluator)) or "nothing"
        texts.append(f"no profiles: consent to {needed} assumed, zone {scope.default_zone}")
    elif tally.without_profile:
        texts.append(
            f"{counted(tally.without_profile, 'user')} without a profile: what needs consent waits for one "
            f"({PROFILE_WAIT_MS // MS['s']} s), then drops with profile_unknown"
        )
    texts += unheard_notes(extent.unheard, evaluator.rules.routes, extent.events - extent.without_user)
    texts += _wrong_zones(tally, scope.default_zone)
    if not scope.outcomes:
        texts.append("no outcomes: nobody opens, clicks or unsubscribes, and no reservation is given back")
    if extent.after_end:
        texts.append(f"{counted(extent.after_end, 'record')} after the end left out")
    if any(trigger.settle_ms for trigger in evaluator.rules.triggers.values()):
        texts.append("events arrive at their own time here: settling changes nothing but the instant")
    for (trigger, place, why), number in sorted(tally.unread.items(), key=lambda each: (-each[1], each[0]))[:_MAX_TOLD]:
        texts.append(f"{trigger}: {counted(number, 'date')} of `{place}` could not be read: {why}")
    texts += forgotten_notes(tally.forgotten)
    texts.append(f"{counted(tally.waiting, 'user')} with timers after the end")
    return texts


def _wrong_zones(tally: BacktestTally, default_zone: str) -> list[str]:
    """The invalid zones of profiles, the most frequent first."""
    instead = f"which is none, so {default_zone} is taken"
    return [
        f"{counted(number, 'user')} with zone {quoted(zone)}, {instead}; {zone_hint(zone)}"
        for zone, number in sorted(tally.wrong_zones.items(), key=lambda each: (-each[1], each[0]))[:_MAX_TOLD]
    ]
