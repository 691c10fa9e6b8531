"""Replays users: one user's records by one rule set, from an empty state to the end. Pure, and alone of its kind:
users do not affect each other, so this is what runs in as many processes as there are.

Each user's timers fire between the records, at their own instants.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter

from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.vocabulary import TRANSACTIONAL, DecisionOutcome, Reason
from schemas.zones import zone_named
from triggers.cases.backtest_tally import BacktestTally
from triggers.cases.broadcast_index import TIMERS, BroadcastIndex, LogPlace, place_of
from triggers.cases.history_records import HistoryRecord, RecordKind
from triggers.cases.kept_state import KeptState
from triggers.engine import segments
from triggers.engine.evaluation import Effects
from triggers.engine.evaluator import Evaluator
from triggers.engine.fast_path import FastPath
from triggers.rules.encoding import encode, new_state
from triggers.rules.events import StoredEvent
from triggers.rules.state import StoredConsent, User, UserState

Cause = StoredEvent | Profile | Outcome | None
"""What was applied to a state; None for timers."""
Watch = Callable[[Cause, Effects, int], None]
"""Sees everything that is applied, with its effects and its instant."""


@dataclass(frozen=True, slots=True)
class ReplayedSend:
    """One send of a replay."""

    at_ms: int
    trigger: str
    step: str


@dataclass(frozen=True, slots=True)
class ReplaySpan:
    """The time of a backtest: from the first event to its end."""

    begin_ms: int
    end_ms: int


@dataclass(slots=True)
class UserStart:
    """What is known of a user at the beginning of a backtest."""

    user_id: str
    profile: Profile | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    """Outcomes from before the beginning."""
    active: bool = False
    """Whether the user has an event or an outcome."""
    timed: bool = False
    """Whether a profile comes later."""


class UserReplay:
    """Replays users by one rule set, one after the other, and counts in `tally`.

    Without profiles (`assume_consent`), every user is taken to have an empty one, and to consent to everything. `watch`
    does not see what takes the fast path, which has no effects to see; without `fast_path`, nothing takes it.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        span: ReplaySpan,
        fast_path: FastPath | None,
        broadcasts: BroadcastIndex | None = None,
        *,
        assume_consent: bool = True,
        watch: Watch | None = None,
    ) -> None:
        self.tally = BacktestTally()
        self.sent: list[ReplayedSend] = []
        """What the last user got."""
        self._evaluator = evaluator
        self._span = span
        self._assume_consent = assume_consent
        self.watch = watch
        rules = evaluator.rules
        self._consent = {name: StoredConsent(True, 0) for name in consented(evaluator)}
        self._everybody = bool(rules.clocks or rules.movers)
        """Whether something may begin for users who have only a profile."""
        self._fast_path = fast_path
        self._broadcasts = broadcasts
        self._alike = self._alike_state()

    def begin(self, start: UserStart) -> "UserRun | None":
        """Begins a user; None for one to whom nothing can happen."""
        self.sent = []
        if not start.active and not (self._everybody and (start.profile is not None or start.timed)):
            return None
        return UserRun(self, start)

    def first_state(self, user_id: str, profile: Profile | None) -> UserState:
        """A user's state at the beginning. Profiles are known then, for schedules and dates need no event."""
        state, now_ms = new_state(User(user_id)), self._span.begin_ms
        if self._assume_consent:
            state.consent, state.profiled = dict(self._consent), True
        elif profile is not None:
            self._evaluator.start(state, profile, now_ms)
        if state.profiled:
            segments.initialize(self._evaluator.evaluation(state, now_ms))
        if (planned := self._evaluator.plan(state, now_ms)) is not None:
            self.take(None, planned, now_ms, state)
        return state

    def first_bytes(self, start: UserStart) -> bytes:
        """The same, encoded."""
        return self._alike or encode(self.first_state(start.user_id, start.profile))[0]

    def _alike_state(self) -> bytes | None:
        """The encoded state with which every user begins; None if it depends on the user."""
        rules = self._evaluator.rules
        asks_user = any("user" in segment.when.code.roots for segment in rules.segments.values())
        if not self._assume_consent or rules.clocks or asks_user:
            return None
        return encode(self.first_state("", None))[0]

    def apply(self, kept: KeptState, record: HistoryRecord) -> None:
        """Applies a record at its instant."""
        now_ms, kind = record.at_ms, record.kind
        if kind == RecordKind.EVENT:
            self._apply_event(kept, record.event(), now_ms)
        elif kind == RecordKind.OUTCOME:
            self.apply_outcome(kept, record.outcome(), now_ms)
        elif kind == RecordKind.PROFILE:
            profile, state = record.profile(), kept.to_change()
            self.take(profile, self._evaluator.apply_profile(state, profile, now_ms), now_ms, state)

    def _apply_event(self, kept: KeptState, event: StoredEvent, now_ms: int) -> None:
        context = self._evaluator.relevant_context(event, now_ms)
        if context is None:  # another of the rule sets reads it
            return
        fast = self._fast_path
        if fast is not None and event.type in fast.routes:
            changed = fast.apply(kept.encoded(), event, context, now_ms)
            if changed is not None:
                kept.replace(changed)
                return
        state = kept.to_change()
        self.take(event, self._evaluator.apply_relevant(state, context), now_ms, state)

    def apply_outcome(self, kept: KeptState, outcome: Outcome, now_ms: int) -> None:
        """Applies an outcome."""
        state = kept.to_change()
        self.take(outcome, self._evaluator.apply_outcome(state, outcome, now_ms), now_ms, state)

    def pass_time(self, kept: KeptState, after: LogPlace, before: LogPlace) -> None:
        """Lets happen what happens between two places: timers, and events without a user that the user waits for."""
        until = before.at_ms - (before.rank < TIMERS)
        if not self._broadcasts:
            self._fire(kept, after.at_ms, until)
            return
        while True:
            found, due = self._broadcasts.next(kept.to_read(), after, before), kept.next_due()
            if due is not None and due <= (until if found is None else found.at_ms - 1):
                self._fire(kept, after.at_ms, due)
                after = max(after, LogPlace(due, TIMERS))
            elif found is None:
                return
            else:
                state, event = kept.to_change(), found.event()
                effects = self._evaluator.apply_broadcast(state, event, found.at_ms)
                if effects is not None:
                    self.take(event, effects, found.at_ms, state)
                after = place_of(found)

    def _fire(self, kept: KeptState, clock: int, until: int) -> None:
        """Fires each timer at its own instant, or at the clock where it was set for one already past."""
        due = kept.next_due()
        if due is None or due > until:
            return
        state = kept.to_change()
        while due is not None and due <= until:
            clock = max(due, clock)
            self.take(None, self._evaluator.fire_due(state, clock), clock, state)
            due = state.next_due()

    def take(self, cause: Cause, effects: Effects, at_ms: int, state: UserState) -> None:
        """Counts effects, and shows them to the watch."""
        self.tally.take(effects)
        if effects.records:
            zone = self._evaluator.evaluation(state, at_ms).zone()
            for record in effects.records:
                self.tally.take_decision(record, zone)
                if record.outcome is DecisionOutcome.SEND:
                    self.sent.append(ReplayedSend(at_ms, record.trigger, record.step))
                elif record.reason is Reason.CAP:
                    self.tally.take_pressure(record, state.reservations)
        if self.watch is not None:
            self.watch(cause, effects, at_ms)

    @property
    def span(self) -> ReplaySpan:
        """The time of the backtest."""
        return self._span


class UserRun:
    """One user's run through a replay: its records in order, then the end."""

    __slots__ = ("_kept", "_known", "_place", "_replay")

    def __init__(self, replay: UserReplay, start: UserStart) -> None:
        self._replay = replay
        self._place = LogPlace(0, 0)
        self._known = start.profile is not None
        self._kept = KeptState(start.user_id, replay.first_bytes(start))
        for outcome in start.outcomes:
            replay.apply_outcome(self._kept, outcome, replay.span.begin_ms)

    def apply(self, record: HistoryRecord) -> None:
        """Applies a record, after the timers that are due before it."""
        if record.kind == RecordKind.PROFILE:
            self._known = True
        place = place_of(record)
        self._replay.pass_time(self._kept, self._place, place)
        self._place = place
        self._replay.apply(self._kept, record)

    def finish(self) -> bytes:
        """Lets time pass to the end; returns the user's encoded state, whose timers are still to come."""
        replay, tally = self._replay, self._replay.tally
        replay.pass_time(self._kept, self._place, LogPlace(replay.span.end_ms, TIMERS))
        tally.users += 1
        tally.waiting += self._kept.next_due() is not None
        tally.without_profile += not self._known
        if replay.sent:
            tally.reached += 1
            tally.reached_by.update({sent.trigger for sent in replay.sent})
        return self._kept.encoded()


def replay_users(
    replays: Sequence[UserReplay],
    records: Iterable[HistoryRecord],
    finished: Callable[[str, Sequence[bytes | None]], None] | None = None,
) -> None:
    """Replays the users of sorted records by each of the replays. `finished` is called after each user with the states
    at the end, None for a user to whom nothing happened."""
    span = replays[0].span
    for user_id, own in groupby(records, attrgetter("user_id")):
        start, rest = _user_start(user_id, own, span.begin_ms)
        zone = start.profile.zone if start.profile is not None else None
        if zone and zone_named(zone) is None:
            for each in replays:
                each.tally.take_wrong_zone(zone)
        runs = [each.begin(start) for each in replays]
        begun = [each for each in runs if each is not None]
        for record in rest:
            if record.at_ms > span.end_ms:
                break
            for run in begun:
                run.apply(record)
        states = [None if each is None else each.finish() for each in runs]
        if finished is not None:
            finished(user_id, states)


def _user_start(
    user_id: str, records: Iterator[HistoryRecord], begin_ms: int
) -> tuple[UserStart, Iterator[HistoryRecord]]:
    """What is known of a user at the beginning, and the records after it."""
    start = UserStart(user_id)
    after: list[HistoryRecord] = []
    for record in records:
        if record.kind == RecordKind.MARK:
            start.active = True
        elif record.kind == RecordKind.PROFILE and record.at_ms <= begin_ms:
            start.profile = record.profile()
        elif record.kind == RecordKind.OUTCOME and record.at_ms < begin_ms:
            start.active = True
            start.outcomes.append(record.outcome())
        else:
            after.append(record)
            if record.kind != RecordKind.PROFILE:
                start.active = True
                break
            start.timed = True
    return start, chain(after, records)


def consented(evaluator: Evaluator) -> list[str]:
    """The purposes that need consent."""
    return sorted({trigger.consent for trigger in evaluator.rules.triggers.values()} - {TRANSACTIONAL})
