"""Reads the topics that tests share, where other tests leave records that nobody can read."""

from collections.abc import Iterator
from typing import TypeVar

from confluent_kafka import Message

from infra.kafka.topic_reader import read_all
from schemas.codec import DecodeError, decode
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.topics import EVENTS, OUTCOMES
from schemas.types import PublishedFact

F = TypeVar("F", bound=PublishedFact)


def readable_events(kafka: str, since_ms: int | None = None) -> Iterator[tuple[Message, Event]]:
    """The records on `events` that can be read, all or those since then, each with its event."""
    return _readable(kafka, EVENTS.name, Event, since_ms)


def readable_outcomes(kafka: str) -> list[Outcome]:
    """The outcomes on `outcomes` that can be read."""
    return [outcome for _, outcome in _readable(kafka, OUTCOMES.name, Outcome, None)]


def _readable(kafka: str, topic: str, model: type[F], since_ms: int | None) -> Iterator[tuple[Message, F]]:
    for message in read_all(kafka, topic, since_ms):
        try:
            fact = decode(model, message.value())
        except DecodeError:
            continue
        yield message, fact
