"""Makes compacted topics forget what a tombstone has overwritten, now instead of within a day.

Kafka never compacts the segment that it writes to, and closes that only when a record comes (KAFKA-20664). So a rolling
record follows the tombstone in each partition: a tombstone itself, of nobody, which changes nothing for any reader.
Meanwhile the topic has hasty settings. They are put back to those declared in `schemas.topics`, also by the next run if
this one is killed.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from cli.privacy.topic_records import PersonRecord
from infra.kafka.client import TIMEOUT_S, client_config
from infra.kafka.publisher import Publisher
from infra.kafka.retry import error_of
from infra.kafka.topic_reader import reader_config
from infra.kafka.topics import describe
from schemas.codec import partition_for
from schemas.people import NOBODY
from schemas.topics import FORGETTING

HASTY: Mapping[str, str] = {"segment.ms": "1000", "max.compaction.lag.ms": "1000", "min.cleanable.dirty.ratio": "0.01"}
_OURS = tuple({**HASTY, **FORGETTING})
ROLL_AFTER_S = 1.5
"""A record closes the segment only if the segment's first record is older than `segment.ms`."""
_DENIED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


def nobody_in(partition: int, partitions: int) -> bytes:
    """The key of a rolling record: of nobody, and at home in the partition."""
    return next(key for n in count() if partition_for(key := f"{NOBODY}-{n}".encode(), partitions) == partition)


@contextmanager
def hasty(kafka: str, topics: Sequence[str]) -> Iterator[bool]:
    """Gives topics hasty settings while the block runs; tells whether Kafka allowed it."""
    admin = AdminClient(client_config(kafka))
    allowed = _alter(admin, topics, {**FORGETTING, **HASTY})
    try:
        yield allowed
    finally:
        if allowed:
            _alter(admin, topics, FORGETTING)


def put_back(kafka: str, topics: Sequence[str]) -> None:
    """Puts the settings back that a run which was killed has left hasty. Only for who holds the lock of erasures."""
    admin = AdminClient(client_config(kafka))
    left = [topic for topic in topics if live_settings(kafka, topic).get("segment.ms") == HASTY["segment.ms"]]
    _alter(admin, left, FORGETTING)


def roll(kafka: str, partitions: Mapping[tuple[str, int], int]) -> None:
    """Writes a rolling record to each (topic, partition); the values are the partition counts of the topics."""
    with Publisher(kafka) as publisher:
        for (topic, partition), total in partitions.items():
            publisher.send(topic, nobody_in(partition, total), None, partition)


def wait_until_gone(kafka: str, records: Sequence[PersonRecord], until_s: float) -> list[PersonRecord]:
    """Waits until Kafka has compacted these records away; returns those that are still there at `until_s`."""
    consumer = Consumer(reader_config(kafka, "ebbtide-reader"))
    left = [*records]
    try:
        while left := [each for each in left if _is_there(consumer, each)]:
            if time.monotonic() >= until_s:
                break
            time.sleep(1.0)
    finally:
        consumer.close()
    return left


def live_settings(kafka: str, topic: str) -> Mapping[str, str]:
    """The settings of a topic as Kafka has them."""
    admin = AdminClient(client_config(kafka))
    end_s = time.monotonic() + TIMEOUT_S
    return describe(admin, topic, lambda: time.monotonic() < end_s).config


def _is_there(consumer: Consumer, record: PersonRecord) -> bool:
    """Whether the record still stands at its offset: compaction leaves offsets as they are."""
    consumer.assign([TopicPartition(record.topic, record.partition, record.offset)])
    end_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end_s:
        message = consumer.poll(0.2)
        if message is None:
            continue
        error = message.error()
        if error is None:
            return message.offset() == record.offset
        if error.code() == KafkaError._PARTITION_EOF:
            return False
        if error.fatal():
            raise KafkaException(error)
    return True


def _alter(admin: AdminClient, topics: Sequence[str], settings: Mapping[str, str]) -> bool:
    """Sets these of our settings, and takes back the others. Returns False if Kafka does not allow it."""
    entries = [_entry(name, settings.get(name)) for name in _OURS]
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries) for topic in topics]
    try:
        for future in admin.incremental_alter_configs(resources).values() if resources else ():
            future.result(TIMEOUT_S)
    except KafkaException as exception:
        if error_of(exception).code() in _DENIED:
            return False
        raise
    return True


def _entry(name: str, value: str | None) -> ConfigEntry:
    if value is None:
        return ConfigEntry(name, "", incremental_operation=AlterConfigOpType.DELETE)
    return ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
