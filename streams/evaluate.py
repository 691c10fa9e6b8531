"""One record in, the new state and the records to write out: the trigger core as the stream sees it.

Knows no Faust and no clock: whoever calls passes the record, the user's state as bytes, and the instant.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schemas.codec import DecodeError, decode, encode, partition_for
from schemas.deadletters import DeadLetter, b64
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, EVENTS, OUTCOMES, PROFILES
from schemas.vocabulary import DeadLetterCause
from streams.counts import Counts, count
from triggers.evaluator import Evaluator
from triggers.state import UserState
from triggers.turn import Effects

READER = "streams"
Input = Event | Profile | Outcome
MODELS: dict[str, type[Input]] = {EVENTS.name: Event, PROFILES.name: Profile, OUTCOMES.name: Outcome}


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to write; its partition follows from its key."""

    topic: str
    key: bytes | None
    value: bytes
    cause: DeadLetterCause | None = None
    """Of a dead letter."""


@dataclass(slots=True)
class Step:
    """What one step did: the user's new state (None where it did not change) and what to write."""

    user_id: str | None = None
    state: bytes | None = None
    next_due_ms: int | None = None
    outgoing: list[Outgoing] = field(default_factory=list)


class Decider:
    """Applies records and due timers to user state by the current rules."""

    def __init__(self, evaluator: Evaluator, partitions: int, counts: Counts | None = None) -> None:
        self.evaluator = evaluator
        self.partitions = partitions
        self._counts: Counts = Counter() if counts is None else counts

    def apply(self, record: Record, raw_state: bytes | None, now_ms: int) -> Step:
        """The step of one record. A record that cannot be read is a dead letter and changes nothing."""
        try:
            fact = self._read(record)
        except DecodeError as error:
            return Step(outgoing=[dead_letter(record, error.cause, error.detail, now_ms)])
        if fact.user_id is None:  # reaches waiting occurrences only, which no rule of this wave has
            return Step()
        state = UserState.decode(fact.user_id, raw_state)
        match fact:
            case Event():
                effects = self.evaluator.apply_event(state, fact, now_ms)
            case Profile():
                effects = self.evaluator.apply_profile(state, fact, now_ms)
            case Outcome():
                effects = self.evaluator.apply_outcome(state, fact, now_ms)
        if effects.records or effects.counts:
            count(effects, self._counts)
        step = _step(state, effects)
        for problem in effects.problems:
            detail = f"{problem.trigger}: {problem.place}: {problem.detail}"
            step.outgoing.append(dead_letter(record, DeadLetterCause.RULE_ERROR, detail, now_ms))
        return step

    def fire_due(self, user_id: str, raw_state: bytes, now_ms: int) -> Step:
        """The step of a user's timers that are due at `now_ms`."""
        state = UserState.decode(user_id, raw_state)
        effects = self.evaluator.fire_due(state, now_ms)
        if effects.records or effects.counts:
            count(effects, self._counts)
        return _step(state, effects)

    def _read(self, record: Record) -> Input:
        fact: Input = decode(MODELS[record.topic], record.value)
        if fact.user_id is None:
            return fact
        key = fact.user_id.encode()
        if record.key != key:
            raise DecodeError(DeadLetterCause.INVALID, "the record's key is not its user_id")
        expected = partition_for(key, self.partitions)
        if expected != record.partition:
            detail = f"belongs in partition {expected}; publish with partitioner=murmur2_random"
            raise DecodeError(DeadLetterCause.MISROUTED, detail)
        return fact


def dead_letter(record: Record, cause: DeadLetterCause, detail: str, now_ms: int) -> Outgoing:
    """The record put aside, with its place, its cause and its original bytes."""
    letter = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        cause=cause,
        detail=detail[:2048],
        reader=READER,
        time=datetime.fromtimestamp(now_ms / 1000, UTC),
        key=b64(record.key),
        value=b64(record.value),
    )
    return Outgoing(DEAD_LETTERS.name, record.key, encode(letter), cause)


def _step(state: UserState, effects: Effects) -> Step:
    key = state.user_id.encode()
    step = Step(state.user_id, state.encode(), state.next_due())
    step.outgoing.extend(Outgoing(DECISIONS.name, key, encode(decision)) for decision in effects.decisions)
    step.outgoing.extend(Outgoing(COMMANDS.name, key, encode(command)) for command in effects.commands)
    return step
