"""One record in, the new state and the records to write out: the trigger core as the stream sees it.

Knows no Faust and no clock: whoever calls passes the record, the user's state as bytes, and the instant.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from schemas.codec import DecodeError, decode, encode, partition_for
from schemas.deadletters import DeadLetter, b64
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, EVENTS, OUTCOMES, PROFILES
from schemas.vocabulary import DeadLetterCause
from triggers.evaluator import Evaluator
from triggers.state import UserState
from triggers.turn import Effects

READER = "streams"
Input = Event | Profile | Outcome
MODELS: dict[str, type[Input]] = {EVENTS.name: Event, PROFILES.name: Profile, OUTCOMES.name: Outcome}


LARGEST_OUTPUT = 900_000
"""Bytes of a record's value: a producer refuses a record of a million, and would do so in every transaction."""
LARGEST_KEPT = 350_000
"""Bytes of key and value that a dead letter can hold: in base64 and with the key as its own they are 2.3 times that."""
LARGEST_STATE = 250_000
"""Bytes of a user's state: a quarter of a record, for what a timer writes of it is not bounded by itself."""


class TooLarge(ValueError):
    """A record makes a step that no transaction could carry."""


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


@dataclass(slots=True)
class Step:
    """What one step did: the user's new state (None where it did not change) and what to write."""

    user_id: str | None = None
    state: bytes | None = None
    next_due_ms: int | None = None
    outgoing: list[Outgoing] = field(default_factory=list)


class Decider:
    """Applies records and due timers to user state by the current rules."""

    def __init__(self, evaluator: Evaluator, partitions: int) -> None:
        self.evaluator = evaluator
        self.partitions = partitions

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
        step = _step(state, effects)
        for problem in effects.problems:
            detail = f"{problem.trigger}: {problem.place}: {problem.detail}"
            step.outgoing.append(dead_letter(record, DeadLetterCause.RULE_ERROR, detail, now_ms))
        return _within_bounds(step)

    def fire_due(self, user_id: str, raw_state: bytes, now_ms: int) -> Step:
        """The step of a user's timers that are due at `now_ms`."""
        state = UserState.decode(user_id, raw_state)
        return _step(state, self.evaluator.fire_due(state, now_ms))

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


def _within_bounds(step: Step) -> Step:
    """The step as it is; raises TooLarge, with nothing changed yet, where Kafka would not take what it writes."""
    if step.state is not None and len(step.state) > LARGEST_STATE:
        raise TooLarge(f"the user's state would have {len(step.state)} bytes, and may have {LARGEST_STATE}")
    for outgoing in step.outgoing:
        if len(outgoing.value) > LARGEST_OUTPUT:
            size = len(outgoing.value)
            raise TooLarge(f"a record for {outgoing.topic} would have {size} bytes, and may have {LARGEST_OUTPUT}")
    return step


def dead_letter(record: Record, cause: DeadLetterCause, detail: str, now_ms: int) -> Outgoing:
    """The record put aside, with its place, its cause and its original bytes, unless those are too many."""
    size = len(record.key or b"") + len(record.value or b"")
    if size > LARGEST_KEPT:
        record = replace(record, key=None, value=None)
        detail = f"{detail[:1900]}; its {size} bytes are too many for a dead letter: read them at their place"
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
    return Outgoing(DEAD_LETTERS.name, record.key, encode(letter))


def _step(state: UserState, effects: Effects) -> Step:
    key = state.user_id.encode()
    step = Step(state.user_id, state.encode(), state.next_due())
    step.outgoing.extend(Outgoing(DECISIONS.name, key, encode(decision)) for decision in effects.decisions)
    step.outgoing.extend(Outgoing(COMMANDS.name, key, encode(command)) for command in effects.commands)
    return step
