"""Numbered records: the numbers of rule manifests and of switches rise over their whole topic.

The next number is above all numbers in the topic and above the number that stream workers have applied: workers never
go back, so a topic that was lost and recreated continues the old numbers. Two simultaneous publishers get two numbers.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from confluent_kafka import Consumer, TopicPartition

from cli.operations.exclusive_writer import ExclusiveWriter, RecordToWrite, WriterFenced
from infra.kafka.client import TIMEOUT_S, client_config
from infra.kafka.retry import retry
from schemas.codec import encode
from schemas.topics import EVENTS, Topic
from schemas.types import Fact
from streams.runtime.checkpoint import OffsetMetadata
from streams.settings import StreamSettings

ATTEMPTS = 10
PAUSE_S = 1.0
"""The longest random wait of a fenced writer: several times as long as publishing, so that two do not collide again."""


class NumberedFact(Protocol):
    """A fact with its number."""

    @property
    def number(self) -> int: ...


N = TypeVar("N", bound=NumberedFact)


def publish_next(
    kafka: str,
    topic: Topic,
    version: str,
    read: Callable[[], Sequence[N]],
    facts: Callable[[int, Sequence[N]], Iterable[tuple[str, Fact]]],
) -> int:
    """Publishes in one transaction what `facts` makes of the next number and of what `read` found; returns the number.

    `version` is the name under which stream workers keep the number. Raises WriterFenced if other writers interrupt all
    attempts.
    """
    for _ in range(ATTEMPTS):
        try:
            with ExclusiveWriter(kafka, f"ebbtide-{topic.name}") as writer:
                found = read()
                number = 1 + max([applied(kafka, version), *(fact.number for fact in found)])
                writer.write(
                    RecordToWrite(topic.name, key.encode(), encode(fact)) for key, fact in facts(number, found)
                )
                return number
        except WriterFenced:
            time.sleep(PAUSE_S * secrets.randbelow(1000) / 1000)
    raise WriterFenced(f"others published on {topic.name} during all {ATTEMPTS} attempts; run this again")


def applied(kafka: str, version: str) -> int:
    """The highest number that stream workers have committed for this version; 0 if there is none."""
    group = StreamSettings().streams_group
    settings: dict[str, str | int | float | bool] = {
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": "read_uncommitted",  # the answer must not wait for an open transaction
    }
    consumer = Consumer(client_config(kafka, **settings))
    try:
        partitions = (
            retry(lambda: consumer.list_topics(EVENTS.name, TIMEOUT_S), TIMEOUT_S).topics[EVENTS.name].partitions
        )
        places = [TopicPartition(EVENTS.name, partition) for partition in partitions]
        answers = retry(lambda: consumer.committed(places, TIMEOUT_S), TIMEOUT_S) if places else []
        return max((OffsetMetadata.decode(answer.metadata).versions.get(version, 0) for answer in answers), default=0)
    finally:
        consumer.close()
