"""Applies one record or one user's due timers: state in as bytes, new state and outgoing records out.

Knows neither Faust nor a clock: the caller passes the record, the user's state and the instant. State is bytes on both
sides, so a record that fails has changed nothing.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from schemas.broadcasts import broadcast_of
from schemas.codec import DecodeError, decode, encode, require_own_partition
from schemas.deadletters import dead_letter
from schemas.events import Event
from schemas.outcome_records import MAY_WITHHOLD, read_outcome
from schemas.people import is_nobody
from schemas.profile_records import ProfileRemoval, UnreadableProfile, read_profile, unreadable_profile
from schemas.profiles import Profile
from schemas.topics import BROADCASTS, DEAD_LETTERS, OUTCOMES, PROFILES
from schemas.vocabulary import DeadLetterCause
from streams.decisions.counts import DEAD_LETTERED, UNDECIDED, Counts, count
from streams.decisions.update import LARGEST_STATE, InputRecord, Update, require_bounds, state_update, update_of
from streams.runtime.checkpoint import Output
from triggers.cel.conditions import Context
from triggers.cel.runtime import as_ms
from triggers.engine.at_once import AtOnce
from triggers.engine.evaluation import Effects, RuleProblem
from triggers.engine.evaluator import Evaluator
from triggers.engine.fast_path import FastPath
from triggers.rules import encoding
from triggers.rules.events import StoredEvent, stored_event
from triggers.rules.state import UserState

READER = "streams"
log = structlog.get_logger()
Skip = Callable[[UserState, int], Effects]
LARGEST_BROADCAST = 65_536
"""Bytes of an event without a user, which is written once for each partition and for each 100 users whom it meets."""

STATES = "user-state"
"""The table of user states."""


def state_changelog(group: str) -> str:
    """The topic in which the workers of this group keep the states."""
    return f"{group}-{STATES}-changelog"


class Decider:
    """Applies records and due timers to user states under one rule set."""

    def __init__(self, evaluator: Evaluator, counts: Counts | None = None) -> None:
        self.evaluator = evaluator
        self.read_types = frozenset(evaluator.rules.routes)
        """The event types that some rule reads. Events of other types change nothing."""
        self.relevant_context = evaluator.relevant_context
        self._fast_path = FastPath(evaluator.rules)
        self.at_once = AtOnce(evaluator)
        """Decides some events for `decide`; `apply` and replays do without it."""
        self._counts: Counts = Counter() if counts is None else counts

    def apply(self, record: InputRecord, partitions: int, raw_state: bytes | None, now_ms: int) -> Update:
        """Applies one record of a topic with `partitions` partitions.

        A record that cannot be read becomes a dead letter. It changes the user's state only if it refuses consent or
        reports an outcome that stops mail.
        """
        try:
            match record.topic:
                case PROFILES.name:
                    return self._apply_profile(record, partitions, raw_state, now_ms)
                case OUTCOMES.name:
                    return self._apply_outcome(record, partitions, raw_state, now_ms)
                case _:
                    return self._apply_event(record, partitions, raw_state, now_ms)
        except DecodeError as error:
            return Update(outgoing=[self.dead_letter(record, error.cause, error.detail, now_ms)])

    def _apply_event(self, record: InputRecord, partitions: int, raw_state: bytes | None, now_ms: int) -> Update:
        event = decode(Event, record.value)
        if event.user_id is None:
            return self._broadcast(event, len(record.value or b""), partitions)
        require_own_partition(record.key, event.user_id, record.partition, partitions)
        context = self.relevant_context(stored_event(event), now_ms)
        if context is None:
            return Update()
        return self._decide_generally(context, event.user_id, record, raw_state, now_ms)

    def _broadcast(self, event: Event, size: int, partitions: int) -> Update:
        """Writes an event without a user to every partition, if an occurrence may wait for it."""
        if event.anonymous_id is not None:  # a visitor's
            return Update()
        if size > LARGEST_BROADCAST:
            detail = f"an event without a user of {size} bytes; at most {LARGEST_BROADCAST} are allowed"
            raise DecodeError(DeadLetterCause.INVALID, detail)
        if event.type not in self.evaluator.rules.waiting:
            self._counts[UNDECIDED, "unheard"] += 1
            return Update()
        self._counts[UNDECIDED, "broadcast"] += 1
        value = encode(broadcast_of(event))
        return Update(outgoing=[Output(BROADCASTS.name, None, value, number) for number in range(partitions)])

    def meet(
        self, record: InputRecord, raw_state: bytes, event: StoredEvent, now_ms: int, reported: set[str]
    ) -> Update:
        """Applies an event without a user to one user who may wait for it, and whose id is the record's key.

        An exception concerns only this user. What is not `reported` of the record yet becomes a dead letter under the
        user's key, the first with the event: one mistake in it may fail for everybody who waits.
        """
        try:
            state = encoding.decode((record.key or b"").decode(), raw_state)
            effects = self.evaluator.apply_broadcast(state, event, now_ms)
            if effects is None:
                return Update()
            update = self._checked_update(state, effects, record.partition)
            details, applied = [_problem_text(problem) for problem in effects.problems], True
        except Exception as error:  # any error: it concerns only this user
            update, details, applied = Update(), [f"{type(error).__name__}: {error}"], False
            if reported.isdisjoint(details):
                log.error("record_failed", place=record.place, exc_info=error)
        for detail in dict.fromkeys(details):
            if detail not in reported:
                told = record._replace(value=None) if reported else record
                reported.add(detail)
                cause = DeadLetterCause.RULE_ERROR
                update.outgoing.append(self.dead_letter(told, cause, detail, now_ms, applied=applied))
        return update

    def _apply_profile(self, record: InputRecord, partitions: int, raw_state: bytes | None, now_ms: int) -> Update:
        """Applies a profile, a removal (a record without value), or an unreadable profile, which withdraws consent."""
        read = (record.key, record.value, record.partition, partitions)
        profile = read_profile(*read)
        if isinstance(profile, ProfileRemoval):
            self._counts[UNDECIDED, "user_removed"] += 1
            return Update(profile.user_id.encode(), removed=True, running=())
        if isinstance(profile, Profile):
            state = encoding.decode(profile.user_id, raw_state)
            try:
                return self._applied(record, state, self.evaluator.apply_profile(state, profile, now_ms), now_ms)
            except Exception as error:  # after any error: consent from an older profile must not outlive a newer one
                log.error("record_failed", place=record.place, exc_info=error)
                failure = DecodeError(DeadLetterCause.RULE_ERROR, f"{type(error).__name__}: {error}")
                profile = unreadable_profile(failure, *read)
        return self._withdraw_consent(profile, record, raw_state, now_ms)

    def _withdraw_consent(
        self, profile: UnreadableProfile, record: InputRecord, raw_state: bytes | None, now_ms: int
    ) -> Update:
        letter = self.dead_letter(record, profile.error.cause, profile.error.detail, now_ms)
        refused = {purpose: now_ms if at is None else as_ms(at) for purpose, at in profile.refused.items()}
        if profile.owner is None or (raw_state is None and not refused):
            return Update(outgoing=[letter])
        state = encoding.decode(profile.owner, raw_state)
        effects = self.evaluator.withdraw_consent(state, refused, now_ms)
        update = state_update(state, effects, record.partition)
        update.outgoing.append(letter)
        return update

    def _apply_outcome(self, record: InputRecord, partitions: int, raw_state: bytes | None, now_ms: int) -> Update:
        at = datetime.fromtimestamp(now_ms / 1000, UTC)
        outcome, error, in_own_partition = read_outcome(record.key, record.value, record.partition, partitions, at)
        if is_nobody(outcome.user_id):
            return Update()
        update = Update()
        if in_own_partition:
            state = encoding.decode(outcome.user_id, raw_state)
            try:
                update = self._applied(record, state, self.evaluator.apply_outcome(state, outcome, now_ms), now_ms)
            except Exception as failure:  # after any error: an outcome that stops mail must take effect
                if outcome.kind not in MAY_WITHHOLD:
                    raise
                log.error("record_failed", place=record.place, exc_info=failure)
                state = encoding.decode(outcome.user_id, raw_state)
                effects = self.evaluator.apply_suppression(state, outcome, now_ms)
                update = state_update(state, effects, record.partition)
                error = DecodeError(DeadLetterCause.RULE_ERROR, f"{type(failure).__name__}: {failure}")
        if error is not None:
            update.outgoing.append(
                self.dead_letter(record, error.cause, error.detail, now_ms, applied=in_own_partition)
            )
        return update

    def changed_state(self, context: Context, raw_state: bytes | None) -> bytes | None:
        """The user's state after an event that changes nothing but scores and windows; None if `decide` must apply it.

        `context` is what `relevant_context` returned for the event. The user's next timer stays.
        """
        if raw_state is None:
            return None
        event: Any = context.event  # a StoredEvent; expressions know less of it
        changed = self._fast_path.apply(raw_state, event, context, context.now_ms)
        return None if changed is None or len(changed) > LARGEST_STATE else changed

    def decide(
        self, context: Context, user_id: str, record: InputRecord, raw_state: bytes | None, now_ms: int
    ) -> Update:
        """Applies an event that some rule reads, by the context that `relevant_context` returned for it."""
        if raw_state is not None:
            event: Any = context.event  # a StoredEvent; expressions know less of it
            decided = self.at_once.decide(user_id, raw_state, event, context)
            if decided is not None:
                update = update_of(user_id, decided.state, decided.due, decided.effects, record.partition)
                return self._reported(record, self._checked(update, decided.effects), decided.effects, now_ms)
        return self._decide_generally(context, user_id, record, raw_state, now_ms)

    def _decide_generally(
        self, context: Context, user_id: str, record: InputRecord, raw_state: bytes | None, now_ms: int
    ) -> Update:
        """Applies an event by the general path only, as a replay does."""
        state = encoding.decode(user_id, raw_state)
        return self._applied(record, state, self.evaluator.apply_relevant(state, context), now_ms)

    def _applied(self, record: InputRecord, state: UserState, effects: Effects, now_ms: int) -> Update:
        return self._reported(record, self._checked_update(state, effects, record.partition), effects, now_ms)

    def _reported(self, record: InputRecord, update: Update, effects: Effects, now_ms: int) -> Update:
        """Adds a dead letter for each expression that failed."""
        for problem in effects.problems:
            cause = DeadLetterCause.RULE_ERROR
            update.outgoing.append(self.dead_letter(record, cause, _problem_text(problem), now_ms, applied=True))
        return update

    @property
    def plan_version(self) -> str:
        """The version of the rules' schedules, dates and texts that occurrences follow; empty if there are none."""
        return self.evaluator.rules.plan_version

    def plan(self, partition: int, user_id: str, raw_state: bytes, now_ms: int) -> Update | None:
        """Brings a user's state up to date with rules of another `plan_version`; None if that does not concern it.

        After an exception the user has no plans and no occurrence follows, and a dead letter reports it.
        """
        try:
            state = encoding.decode(user_id, raw_state)
            effects = self.evaluator.plan(state, now_ms)
            return None if effects is None else self._checked_update(state, effects, partition)
        except Exception as error:  # noqa: BLE001  # any error: it concerns only this user
            timer = self._timer(partition, user_id, now_ms)
            return self._skip_timer(timer, raw_state, now_ms, error, self.evaluator.skip_planning)

    def fire_due(self, partition: int, user_id: str, raw_state: bytes, due_ms: int, now_ms: int) -> Update:
        """Fires a user's timers that are due at `now_ms`; the first of them is due at `due_ms`.

        After an exception all of them are skipped, and a dead letter reports it.
        """
        try:
            state = encoding.decode(user_id, raw_state)
            return self._checked_update(state, self.evaluator.fire_due(state, now_ms), partition)
        except Exception as error:  # noqa: BLE001  # any error: it concerns only this user
            timer = self._timer(partition, user_id, due_ms)
            return self._skip_timer(timer, raw_state, now_ms, error, self.evaluator.skip_due)

    def _checked_update(self, state: UserState, effects: Effects, partition: int) -> Update:
        return self._checked(state_update(state, effects, partition), effects)

    def _checked(self, update: Update, effects: Effects) -> Update:
        """Raises TooLarge, or counts the effects."""
        require_bounds(update)
        if effects.records or effects.counts or effects.problems or effects.bounds:
            count(effects, self._counts)
        return update

    def _skip_timer(self, timer: InputRecord, raw_state: bytes, now_ms: int, error: Exception, skip: Skip) -> Update:
        """Skips the timers that failed and adds a dead letter.

        If skipping fails too, none of the user's timers is due until the user's next record.
        """
        log.error("timer_failed", place=timer.place, exc_info=error)
        key = timer.key or b""
        try:
            state = encoding.decode(key.decode(), raw_state)
            update = self._checked_update(state, skip(state, now_ms), timer.partition)
        except Exception as again:  # any error: it concerns only this user
            log.error("timer_not_skipped", place=timer.place, exc_info=again)
            update = Update(key, encoding.without_due(raw_state))
        detail = f"a timer of the user: {type(error).__name__}: {error}"
        update.outgoing.append(self.dead_letter(timer, DeadLetterCause.RULE_ERROR, detail, now_ms))
        return update

    @staticmethod
    def _timer(partition: int, user_id: str, at_ms: int) -> InputRecord:
        """A user's timers as a dead letter names them: the table of states, with the instant in ms as the offset."""
        return InputRecord(STATES, partition, max(at_ms, 0), user_id.encode(), None)

    def dead_letter(
        self, record: InputRecord, cause: DeadLetterCause, detail: str, now_ms: int, *, applied: bool = False
    ) -> Output:
        """The record as a dead letter, with its place, its cause and, unless they are too large, its original bytes."""
        self._counts[DEAD_LETTERED, cause] += 1
        letter = dead_letter(
            (record.topic, record.partition, record.offset),
            record.key,
            record.value,
            cause,
            detail,
            reader=READER,
            time=datetime.fromtimestamp(now_ms / 1000, UTC),
            applied=applied,
        )
        return Output(DEAD_LETTERS.name, letter.original_key(), encode(letter), record.partition)


def _problem_text(problem: RuleProblem) -> str:
    return f"{problem.trigger}: {problem.place}: {problem.detail}"
