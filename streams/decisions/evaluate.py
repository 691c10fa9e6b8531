"""One record in, the new state and the records to write out: the trigger core as the stream sees it.

Knows no Faust and no clock: whoever calls passes the record, the user's state as bytes, and the instant. State goes in
and comes out as bytes, so that a record which fails has changed nothing.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from schemas.codec import DecodeError, decode, encode, require_home
from schemas.deadletters import dead_letter
from schemas.events import Event
from schemas.outcome_records import MAY_WITHHOLD, read_outcome
from schemas.plain import PlainEvent, plain_ms
from schemas.profile_records import ProfileRemoval, UnreadableProfile, read_profile, unreadable_profile
from schemas.profiles import Profile
from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, OUTCOMES, PROFILES
from schemas.vocabulary import DeadLetterCause
from streams.decisions.counts import DEAD_LETTERED, UNDECIDED, Counts, count
from streams.runtime.checkpoint import Output
from triggers.cel.runtime import as_ms
from triggers.engine.evaluator import Evaluator, stored_event
from triggers.engine.turn import Effects
from triggers.rules import encoding
from triggers.rules.state import StoredEvent, UserState

READER = "streams"
log = structlog.get_logger()
Skip = Callable[[UserState, int], Effects]

STATES = "user-state"
"""The table of users' states."""
LARGEST_OUTPUT = 900_000
"""Bytes of a record's value: a producer refuses a record of a million, and would do so in every transaction."""
LARGEST_STATE = 250_000
"""Bytes of a user's state: a quarter of a record, for what a timer writes of it is not bounded by itself."""


class TooLarge(ValueError):
    """A record makes a step that no transaction could carry."""


class InputRecord(NamedTuple):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None

    @property
    def place(self) -> str:
        """Where it lies: topic[partition]@offset."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(slots=True)
class StepResult:
    """What one step did: the user's new state (None where it did not change) or its removal, and what to write."""

    key: bytes = b""
    state: bytes | None = None
    removed: bool = False
    next_due_ms: int | None = None
    outgoing: list[Output] = field(default_factory=list)


class Decider:
    """Applies records and due timers to user state by the current rules."""

    def __init__(self, evaluator: Evaluator, counts: Counts | None = None) -> None:
        self.evaluator = evaluator
        self.read_types = frozenset(evaluator.rules.routes)
        """The types of the events that some rule reads; all others change nothing."""
        self.concerns = evaluator.concerns
        self._counts: Counts = Counter() if counts is None else counts

    def apply(self, record: InputRecord, partitions: int, raw_state: bytes | None, now_ms: int) -> StepResult:
        """The step of one record of a topic of `partitions`. One that cannot be read is a dead letter; of the user it
        changes no more than what is heard of a no."""
        try:
            match record.topic:
                case PROFILES.name:
                    return self._apply_profile(record, partitions, raw_state, now_ms)
                case OUTCOMES.name:
                    return self._apply_outcome(record, partitions, raw_state, now_ms)
                case _:
                    return self._apply_event(record, partitions, raw_state, now_ms)
        except DecodeError as error:
            return StepResult(outgoing=[self.dead_letter(record, error.cause, error.detail, now_ms)])

    def _apply_event(self, record: InputRecord, partitions: int, raw_state: bytes | None, now_ms: int) -> StepResult:
        fact = decode(Event, record.value)
        if fact.user_id is None:  # reaches waiting occurrences only, which no rule of this wave has
            return StepResult()
        require_home(record.key, fact.user_id, record.partition, partitions)
        event = stored_event(fact)
        if not self.concerns(event, now_ms):
            return StepResult()
        return self.decide(event, fact.user_id, record, raw_state, now_ms)

    def _apply_profile(self, record: InputRecord, partitions: int, raw_state: bytes | None, now_ms: int) -> StepResult:
        """A profile; a record without value, which ends the user; or one that cannot be read, which ends consent."""
        place = (record.key, record.value, record.partition, partitions)
        said = read_profile(*place)
        if isinstance(said, ProfileRemoval):
            self._counts[UNDECIDED, "user_removed"] += 1
            return StepResult(said.user_id.encode(), removed=True)
        if isinstance(said, Profile):
            state = encoding.decode(said.user_id, raw_state)
            try:
                return self._taken(record, state, self.evaluator.apply_profile(state, said, now_ms), now_ms)
            except Exception as error:  # whatever it is: an older yes must not outlive a newer profile
                log.error("record_failed", place=record.place, exc_info=error)
                failure = DecodeError(DeadLetterCause.RULE_ERROR, f"{type(error).__name__}: {error}")
                said = unreadable_profile(failure, *place)
        return self._withdraw(said, record, raw_state, now_ms)

    def _withdraw(
        self, said: UnreadableProfile, record: InputRecord, raw_state: bytes | None, now_ms: int
    ) -> StepResult:
        letter = self.dead_letter(record, said.error.cause, said.error.detail, now_ms)
        refused = {purpose: now_ms if at is None else as_ms(at) for purpose, at in said.refused.items()}
        if said.home is None or (raw_state is None and not refused):
            return StepResult(outgoing=[letter])
        state = encoding.decode(said.home, raw_state)
        step = _step(state, self.evaluator.withdraw(state, refused, now_ms), record.partition)
        step.outgoing.append(letter)
        return step

    def _apply_outcome(self, record: InputRecord, partitions: int, raw_state: bytes | None, now_ms: int) -> StepResult:
        at = datetime.fromtimestamp(now_ms / 1000, UTC)
        outcome, error, at_home = read_outcome(record.key, record.value, record.partition, partitions, at)
        step = StepResult()
        if at_home:
            state = encoding.decode(outcome.user_id, raw_state)
            try:
                step = self._taken(record, state, self.evaluator.apply_outcome(state, outcome, now_ms), now_ms)
            except Exception as failure:  # whatever it is: the user's no must be heard
                if outcome.kind not in MAY_WITHHOLD:
                    raise
                log.error("record_failed", place=record.place, exc_info=failure)
                state = encoding.decode(outcome.user_id, raw_state)
                step = _step(state, self.evaluator.heed(state, outcome, now_ms), record.partition)
                error = DecodeError(DeadLetterCause.RULE_ERROR, f"{type(failure).__name__}: {failure}")
        if error is not None:
            step.outgoing.append(self.dead_letter(record, error.cause, error.detail, now_ms, applied=at_home))
        return step

    def decide(
        self, event: StoredEvent, user_id: str, record: InputRecord, raw_state: bytes | None, now_ms: int
    ) -> StepResult:
        """The step of an event that concerns some rule; what does not concern any has no step."""
        state = encoding.decode(user_id, raw_state)
        return self._taken(record, state, self.evaluator.apply_stored(state, event, now_ms), now_ms)

    def _taken(self, record: InputRecord, state: UserState, effects: Effects, now_ms: int) -> StepResult:
        step = self._counted(state, effects, record.partition)
        for problem in effects.problems:
            detail = f"{problem.trigger}: {problem.place}: {problem.detail}"
            cause = DeadLetterCause.RULE_ERROR
            step.outgoing.append(self.dead_letter(record, cause, detail, now_ms, applied=True))
        return step

    @property
    def plan_version(self) -> str:
        """A name for the schedules and dates of the rules; empty where there are none."""
        return self.evaluator.rules.plan_version

    def plan(self, partition: int, user_id: str, raw_state: bytes, now_ms: int) -> StepResult | None:
        """The step that plans schedules and dates which are new to a user; None where they are not. Where that raises
        an exception the user has none of them, and a dead letter says so."""
        try:
            state = encoding.decode(user_id, raw_state)
            effects = self.evaluator.plan(state, now_ms)
            return None if effects is None else self._counted(state, effects, partition)
        except Exception as error:  # noqa: BLE001  # whatever it is: it is this user's alone
            timer = self._timer(partition, user_id, now_ms)
            return self._skip_timer(timer, raw_state, now_ms, error, self.evaluator.skip_planning)

    def fire_due(self, partition: int, user_id: str, raw_state: bytes, now_ms: int) -> StepResult:
        """The step of a user's timers that are due at `now_ms`. Where firing them raises an exception, all of them
        are skipped, and a dead letter says so."""
        try:
            state = encoding.decode(user_id, raw_state)
            return self._counted(state, self.evaluator.fire_due(state, now_ms), partition)
        except Exception as error:  # noqa: BLE001  # whatever it is: it is this user's alone
            due_ms = encoding.due_of(raw_state)
            timer = self._timer(partition, user_id, now_ms if due_ms is None else due_ms)
            return self._skip_timer(timer, raw_state, now_ms, error, self.evaluator.skip_due)

    def _counted(self, state: UserState, effects: Effects, partition: int) -> StepResult:
        step = _step(state, effects, partition)
        _require_bounds(step)
        if effects.records or effects.counts or effects.problems or effects.bounds:
            count(effects, self._counts)
        return step

    def _skip_timer(
        self, timer: InputRecord, raw_state: bytes, now_ms: int, error: Exception, skip: Skip
    ) -> StepResult:
        """The step that skips what failed, with a dead letter. Where skipping fails too, no timer of the user is due
        until the user's next record."""
        log.error("timer_failed", place=timer.place, exc_info=error)
        key = timer.key or b""
        try:
            state = encoding.decode(key.decode(), raw_state)
            step = self._counted(state, skip(state, now_ms), timer.partition)
        except Exception as again:  # whatever it is: it is this user's alone
            log.error("timer_not_skipped", place=timer.place, exc_info=again)
            step = StepResult(key, encoding.without_due(raw_state))
        detail = f"a timer of the user: {type(error).__name__}: {error}"
        step.outgoing.append(self.dead_letter(timer, DeadLetterCause.RULE_ERROR, detail, now_ms))
        return step

    @staticmethod
    def _timer(partition: int, user_id: str, at_ms: int) -> InputRecord:
        """What names a user's timers in a dead letter: the table of states, and as offset the instant in ms."""
        return InputRecord(STATES, partition, max(at_ms, 0), user_id.encode(), None)

    def dead_letter(
        self, record: InputRecord, cause: DeadLetterCause, detail: str, now_ms: int, *, applied: bool = False
    ) -> Output:
        """The record as a dead letter, with its place, its cause and its original bytes, unless those are too many."""
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


def plainly_stored(event: PlainEvent, raw: bytes) -> StoredEvent | None:
    """A plain event as rules see it, without its model; None where the model must be asked."""
    own_ms = plain_ms(event, raw)
    return (
        None
        if own_ms is None
        else StoredEvent(event.id, event.type, own_ms, event.source or "", event.properties or {})
    )


def _require_bounds(step: StepResult) -> None:
    """Raises TooLarge, with nothing changed yet, where Kafka would not take what the step writes."""
    if step.state is not None and len(step.state) > LARGEST_STATE:
        raise TooLarge(f"the user's state would have {len(step.state)} bytes, and may have {LARGEST_STATE}")
    for output in step.outgoing:
        size = len(output.value or b"")
        if size > LARGEST_OUTPUT:
            raise TooLarge(f"a record for {output.topic} would have {size} bytes, and may have {LARGEST_OUTPUT}")


def _step(state: UserState, effects: Effects, partition: int) -> StepResult:
    key = state.user_id.encode()
    raw, due_ms = encoding.encode_with_due(state)
    step = StepResult(key, raw, next_due_ms=due_ms)
    records = effects.records
    if records:
        step.outgoing = [Output(DECISIONS.name, key, record.decision_json(), partition) for record in records]
        commands = [command for record in records if (command := record.command_json()) is not None]
        step.outgoing += [Output(COMMANDS.name, key, command, partition) for command in commands]
    return step
