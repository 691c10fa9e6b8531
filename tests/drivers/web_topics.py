"""The topics of web as its tests see them: what was written since the test began, and readers that begin there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from threading import Event, Thread
from typing import Any

import psycopg
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from drivers.running_senders import have_topics, wait_until

import infra.kafka.topics
from infra.kafka.batch_reader import BatchReader
from infra.kafka.offsets import EndOffsets
from schemas.codec import PARTITIONER


class WrittenRecords:
    """The records of a topic since this was made, read as `read_committed` readers see them."""

    def __init__(self, kafka: str, topic: str) -> None:
        self.partitions = have_topics(kafka)
        self.topic = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "never-committed",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        places = [infra.kafka.topics.TopicPartition(topic, number) for number in range(self.partitions)]
        ends = EndOffsets(AdminClient({"bootstrap.servers": kafka})).high_watermarks(places, keep_trying=lambda: True)
        self.begin = {place.partition: end for place, end in ends.items()}
        self._consumer.assign([TopicPartition(topic, number, offset) for number, offset in self.begin.items()])
        self._read: list[Message] = []

    def begin_reader(self, url: str, reader: str) -> None:
        """Lets a reader of the database begin where this one began."""
        with closing(psycopg.connect(url)) as connection, connection:
            connection.cursor().executemany(
                "INSERT INTO web_progress (reader, partition, next_offset) VALUES (%s, %s, %s)",
                [(reader, partition, offset) for partition, offset in self.begin.items()],
            )

    def of(self, key: str) -> list[Message]:
        """The records with this key so far, in their order."""
        while (record := self._consumer.poll(0.05)) is not None:
            if record.error() is None:
                self._read.append(record)
        return [record for record in self._read if record.key() == key.encode()]

    def await_last(self, key: str, condition: Callable[[Message], bool], what: str) -> Message:
        """The last record with this key, once it fulfils the condition."""

        def last() -> Message | None:
            records = self.of(key)
            return records[-1] if records and condition(records[-1]) else None

        found = wait_until(last, what)
        assert found is not None
        return found

    def await_count(self, key: str, count: int) -> Message:
        """The last record with this key, once there are so many."""
        wait_until(lambda: len(self.of(key)) >= count, f"{count} records of {key}")
        return self.of(key)[-1]

    def close(self) -> None:
        """Disconnects."""
        self._consumer.close()


def publish(kafka: str, topic: str, records: Sequence[tuple[str, bytes | None, list[tuple[str, bytes]]]]) -> None:
    """Writes records as a backend does."""
    producer = Producer({"bootstrap.servers": kafka, "partitioner": PARTITIONER})
    for key, value, headers in records:
        producer.produce(topic, value, key.encode(), headers=headers)
    assert producer.flush(30) == 0


def reading(reader: BatchReader[Any]) -> Iterator[None]:
    """Runs a reader in a thread; the reader's `halt` ends it."""
    thread = Thread(target=reader.run, name=type(reader).__name__)
    thread.start()
    try:
        yield
    finally:
        halt: Event = reader.halt
        halt.set()
        thread.join(30)
        assert not thread.is_alive()
