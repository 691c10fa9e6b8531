"""Reads a topic of one partition from its beginning and follows it: every process has all of it in memory."""

from collections.abc import Callable
from threading import Event
from typing import ClassVar

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.kafka.connection import Connection
from infra.kafka.offsets import EndOffsets
from infra.kafka.stalls import ENDS_TIMEOUT_S, StallGuard

BATCH = 100
POLL_S = 0.1


class TopicFollower:
    """Follows `topic` until the process halts. Subclasses take its records, in their order."""

    topic: ClassVar[str]
    group: ClassVar[str]
    """librdkafka requires one; nothing is committed."""

    def __init__(self, connection: Connection, halt: Event, beat: Callable[[], None] = lambda: None) -> None:
        self.log = structlog.get_logger(type(self).__module__)
        self._beat = beat
        self._halt = halt
        self._consumer = Consumer(
            connection.client(
                group_id=self.group,
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                fetch_wait_max_ms=100,
            )
        )
        self._guard = StallGuard(self._consumer, EndOffsets(AdminClient(connection.client()), ENDS_TIMEOUT_S))

    def take(self, record: Message) -> None:
        """Called with each record."""
        raise NotImplementedError

    def at_end(self) -> None:
        """Called when the topic has been read to its end."""

    def run(self) -> None:
        """Read until the process halts."""
        partitions = [TopicPartition(self.topic, 0, OFFSET_BEGINNING)]
        self._consumer.assign(partitions)
        self._guard.assigned(partitions)
        try:
            while not self._halt.is_set():
                self._beat()
                messages = self._consumer.consume(BATCH, POLL_S)
                for message in messages:
                    self._take(message)
                self._guard.consumed(messages, BATCH)
        finally:
            self._consumer.close()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self.take(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            self.at_end()
        elif error.fatal():
            raise KafkaException(error)
        else:
            self.log.warning("kafka_reader", topic=self.topic, error=error.name())
