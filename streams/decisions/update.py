"""What one record brings: the record as it was read, and the new state and the records to write."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.topics import COMMANDS, DECISIONS
from streams.runtime.checkpoint import Output
from triggers.engine.evaluation import Effects
from triggers.rules import encoding
from triggers.rules.state import Occurrence, UserState

LARGEST_OUTPUT = 900_000
"""Bytes of a record's value. A producer refuses a record of a million bytes, and would refuse it in every
transaction."""
LARGEST_STATE = 250_000
"""Bytes of a user's state: a quarter of a record, because what a timer writes from it is not bounded otherwise."""


class TooLarge(ValueError):
    """Applying the record would write more than a transaction can carry."""


class InputRecord(NamedTuple):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None

    @property
    def place(self) -> str:
        """The record's address: topic[partition]@offset."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(slots=True)
class Update:
    """What to store and to write: the user's new state (None if it is unchanged) or its removal, and the outputs."""

    key: bytes = b""
    state: bytes | None = None
    removed: bool = False
    next_due_ms: int | None = None
    running: Sequence[Occurrence] | None = None
    """The occurrences that run now; None if they are the same as before."""
    outgoing: list[Output] = field(default_factory=list)


def state_update(state: UserState, effects: Effects, partition: int) -> Update:
    """The user's changed state with the records of the effects."""
    update = update_of(state.user_id, *encoding.encode(state), effects, partition)
    update.running = state.running
    return update


def update_of(user_id: str, state: bytes, due_ms: int | None, effects: Effects, partition: int) -> Update:
    """The user's new state, with the same occurrences running, and the records of the effects."""
    key = user_id.encode()
    update = Update(key, state, next_due_ms=due_ms)
    records = effects.records
    if records:
        update.outgoing = [Output(DECISIONS.name, key, record.decision_json(), partition) for record in records]
        commands = [command for record in records if (command := record.command_json()) is not None]
        update.outgoing += [Output(COMMANDS.name, key, command, partition) for command in commands]
    return update


def require_bounds(update: Update) -> None:
    """Raises TooLarge, before anything has changed, if Kafka would refuse what the update writes."""
    if update.state is not None and len(update.state) > LARGEST_STATE:
        raise TooLarge(f"the user's state would have {len(update.state)} bytes; at most {LARGEST_STATE} are allowed")
    for output in update.outgoing:
        size = len(output.value or b"")
        if size > LARGEST_OUTPUT:
            raise TooLarge(f"a record for {output.topic} would have {size} bytes; at most {LARGEST_OUTPUT} are allowed")
