"""The records of a person on topics."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson
from confluent_kafka import Message

from infra.kafka.topic_reader import read_all
from schemas.broadcasts import Broadcast, broadcast_of
from schemas.codec import DecodeError, decode, encode
from schemas.deadletters import DeadLetter
from schemas.topics import BROADCASTS, DEAD_LETTERS

Told = Callable[[int], None]
"""Is told how many records were read so far."""
TELL_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """A record whose key is the person. Without a value it is a tombstone."""

    topic: str
    partition: int
    offset: int
    appended_at: datetime
    key: str
    value: bytes | None

    def json(self) -> dict[str, Any]:
        """The record as JSON values; bytes that are no JSON as text."""
        return {
            "place": f"{self.topic}[{self.partition}]@{self.offset}",
            "appended_at": self.appended_at,
            "key": self.key,
            "record": None if self.value is None else content(self.value),
        }


def records_of(kafka: str, topic: str, people: Collection[str], told: Told = lambda _: None) -> Iterator[PersonRecord]:
    """The records under these ids, in the partitions where they belong, oldest first in each."""
    keys = {each.encode() for each in people}
    for message in _counted(read_all(kafka, topic, keys=keys), told):
        if message.key() in keys:
            yield record_of(message)


def broadcasts_of(kafka: str, people: Collection[str], told: Told = lambda _: None) -> Iterator[PersonRecord]:
    """The events without a user that name one of these ids among those whom they met, without the other ids."""
    for message in _counted(read_all(kafka, BROADCASTS.name), told):
        try:
            broadcast = decode(Broadcast, message.value())
        except DecodeError:  # not written by a stream worker: it names nobody whom we could know
            continue
        for user in people:
            if user in (broadcast.users or ()):
                yield replace(record_of(message), key=user, value=encode(broadcast_of(broadcast)))


def record_of(message: Message) -> PersonRecord:
    """The message as a record."""
    return PersonRecord(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
        (message.key() or b"").decode(),
        message.value(),
    )


def dead_letters_of(kafka: str, people: Collection[str], told: Told = lambda _: None) -> Iterator[DeadLetter]:
    """The dead letters whose record has one of these ids as its key or as its user."""
    for message in _counted(read_all(kafka, DEAD_LETTERS.name), told):
        if message.value() is None:
            continue
        try:
            letter = decode(DeadLetter, message.value())
        except DecodeError:  # another program's record: it names nobody whom we could know
            continue
        if _concerns(letter, people):
            yield letter


def content(raw: bytes) -> Any:
    """Bytes as JSON values, or as text."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode("utf-8", "backslashreplace")


def _concerns(letter: DeadLetter, people: Collection[str]) -> bool:
    key, value = letter.original_key(), letter.original_value()
    if key is not None and key.decode("utf-8", "backslashreplace") in people:
        return True
    data = None if value is None else content(value)
    return isinstance(data, dict) and any(data.get(name) in people for name in ("user_id", "anonymous_id"))


def _counted(messages: Iterator[Message], told: Told) -> Iterator[Message]:
    for number, message in enumerate(messages, 1):
        if number % TELL_EVERY == 0:
            told(number)
        yield message
