"""A topic followed for the records of a person: read whole once, and from then on only what is new."""

from collections.abc import Collection
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from cli.privacy.topic_records import PersonRecord, record_of
from infra.kafka.topic_reader import read_to_ends, reader_config, watermarks
from schemas.codec import partition_for


class PersonTopic:
    """The records under these ids, in the partitions where they belong. Without the topic there are none."""

    def __init__(self, kafka: str, topic: str, ids: Collection[str]) -> None:
        self.topic = topic
        self.records: list[PersonRecord] = []
        self._keys = {each.encode() for each in ids}
        self._consumer = Consumer(reader_config(kafka, "ebbtide-reader"))
        low = watermarks(self._consumer, topic).low
        self.partitions = len(low)
        self._next = {p: low[p] for p in {partition_for(key, len(low)) for key in self._keys}} if low else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._consumer.close()

    @property
    def own_partitions(self) -> Collection[int]:
        """The partitions in which the ids belong."""
        return self._next.keys()

    def read(self) -> Self:
        """Reads what came since the last call."""
        if self._next:
            self._consumer.assign([TopicPartition(self.topic, p, offset) for p, offset in self._next.items()])
        for message in read_to_ends(self._consumer, {(self.topic, p) for p in self._next}):
            self._next[message.partition() or 0] = (message.offset() or 0) + 1
            if message.key() in self._keys:
                self.records.append(record_of(message))
        return self

    @property
    def values(self) -> list[PersonRecord]:
        """The records that have a value: what tombstones must overwrite, and compaction take away."""
        return [each for each in self.records if each.value is not None]

    @property
    def alive(self) -> set[str]:
        """The ids whose last record has a value."""
        last = {each.key: each.value for each in self.records}
        return {key for key, value in last.items() if value is not None}
