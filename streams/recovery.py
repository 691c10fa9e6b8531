"""State from the changelog, before a partition is processed.

The order is what makes it exact: first the group's stable offsets, so that no transaction is open on them; then the
changelog up to its high watermark as it is after that, read_committed. To stop at its last stable offset could miss
a transaction whose offset marker was written first.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from streams import failpoints
from streams.broker import NOT_YET, Connection, Ends, Place

log = structlog.get_logger()

PROGRESS_S = 2.0

Entries = dict[bytes, bytes]


class Overtaken(Exception):
    """Another rebalance came: what was being recovered is no longer wanted."""


@dataclass(slots=True)
class _Reading:
    """How far one changelog has been read."""

    topic: str
    ends: dict[int, int]
    entries: dict[int, Entries]
    left: set[int]
    records: int = 0
    began_s: float = field(default_factory=time.monotonic)
    said_s: float = field(default_factory=time.monotonic)


class ChangelogReader:
    """Reads changelog partitions whole, over one kept consumer: a new one for each recovery costs half a second.

    For one thread at a time.
    """

    def __init__(self, connection: Connection, group: str, ends: Ends) -> None:
        self._ends = ends
        self._config = connection.client(
            group_id=f"{group}-recovery",  # required by the client; nothing is ever committed
            enable_auto_commit=False,
            enable_partition_eof=True,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            queued_min_messages=200_000,
            fetch_wait_max_ms=50,
        )
        self._consumer: Consumer | None = None

    def read(self, topic: str, partitions: Iterable[int], go_on: Callable[[], bool]) -> dict[int, Entries]:
        """The latest value of each key, by partition; raises Overtaken as soon as `go_on` says no. Blocks."""
        wanted = [Place(topic, partition) for partition in partitions]
        try:
            ends = {p.partition: end for p, end in self._ends.high_watermarks(wanted, go_on).items()}
        except KafkaException:
            if go_on():
                raise
            raise Overtaken(topic) from None
        reading = _Reading(topic, ends, {p: {} for p in ends}, {p for p, end in ends.items() if end > 0})
        consumer = self._assign(topic, reading.left)
        try:
            while reading.left:
                if not go_on():
                    raise Overtaken(topic)
                self._turn(consumer, reading)
        finally:
            consumer.unassign()
        took_s = time.monotonic() - reading.began_s
        log.info("recovered", topic=topic, partitions=len(ends), records=reading.records, took_s=round(took_s, 3))
        return reading.entries

    def close(self) -> None:
        """Ends the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _assign(self, topic: str, partitions: set[int]) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(self._config)
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        return self._consumer

    def _turn(self, consumer: Consumer, reading: _Reading) -> None:
        for message in consumer.consume(10_000, 0.05):
            partition = message.partition()
            error = message.error()
            if error is not None:
                self._on_error(error, reading, partition, message.offset())
                continue
            key, value = message.key(), message.value()
            assert key is not None
            assert partition is not None
            reading.records += 1
            if value is None:
                reading.entries[partition].pop(key, None)
            else:
                reading.entries[partition][key] = value
        if reading.records:
            failpoints.reach("in_recovery")
        self._say(reading)

    @staticmethod
    def _on_error(error: KafkaError, reading: _Reading, partition: int | None, offset: int | None) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            if partition is not None and offset is not None and offset >= reading.ends[partition]:
                reading.left.discard(partition)
        elif error.fatal() or error.code() not in NOT_YET:
            raise KafkaException(error)
        else:
            log.warning("recovery_waits", topic=reading.topic, error=error.str())

    @staticmethod
    def _say(reading: _Reading) -> None:
        now_s = time.monotonic()
        if reading.left and now_s - reading.said_s > PROGRESS_S:
            reading.said_s = now_s
            done = len(reading.ends) - len(reading.left)
            rate = round(reading.records / (now_s - reading.began_s))
            of = len(reading.ends)
            log.info("recovering", topic=reading.topic, done=done, of=of, records=reading.records, per_s=rate)
