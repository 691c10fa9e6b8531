"""State from the changelog, before a partition is processed; from a snapshot and the rest of it where there is one.

The order is what makes it exact: first the group's stable offsets, so that no transaction is open on them; then the
changelog up to its high watermark as it is after that, read_committed. To stop at its last stable offset could miss
a transaction whose offset marker was written first.

All partitions of a table are read at once, over one consumer whose queue is bounded; snapshots one after the other.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import confluent_kafka
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from infra.kafka.connection import Connection
from infra.kafka.offsets import EndOffsets
from infra.kafka.retry import RETRIABLE, RETRIABLE_OR_UNKNOWN, error_of
from infra.kafka.topics import TopicDescription, TopicPartition, describe
from streams.runtime import failpoints
from streams.runtime.snapshot import Origin, SnapshotFolder

log = structlog.get_logger()

PROGRESS_S = 2.0
BATCH = 10_000
QUIET_S = 20.0
"""How long nothing at all may come before another client goes on: after a broker's death confluent-kafka 2.16 was seen
to fetch nothing any more, and to say nothing of it. With a broker that is away it does no harm."""
MIN_AGE_S = 600.0
"""A snapshot that may not be used for longer is not worth making."""

Entries = dict[bytes, bytes]


class NewerAssignment(Exception):
    """Another rebalance came: what was being recovered is no longer wanted."""


@dataclass(slots=True)
class RecoveredPartition:
    """One partition of a table, from a snapshot that goes to `begin` (0: there is none) and the changelog to `end`."""

    entries: Entries
    begin: int
    end: int
    saved_s: float = 0.0
    """When the snapshot was made, in seconds since 1970; 0 where there is none."""
    origin: Origin | None = None
    """What a new snapshot would stand for; None where snapshots are not made."""
    max_age_s: float = 0.0
    """How long that may be used."""


@dataclass(slots=True)
class _Reading:
    """How far one changelog has been read."""

    topic: str
    parts: dict[int, RecoveredPartition]
    left: set[int]
    records: int = 0
    began_s: float = field(default_factory=time.monotonic)
    said_s: float = field(default_factory=time.monotonic)

    def say(self, positions: Mapping[int, int]) -> None:
        """The progress line: which share of the offsets is read, and how long the rest takes at this rate."""
        took_s = time.monotonic() - self.began_s
        total = sum(part.end - part.begin for part in self.parts.values())
        to_read = sum(max(0, self.parts[p].end - max(positions[p], self.parts[p].begin)) for p in self.left)
        share = 1 - to_read / total
        left_s = round(took_s * to_read / (total - to_read), 1) if total > to_read else None
        rate = round(self.records / took_s)
        share = round(share, 3)
        log.info("recovering", topic=self.topic, share=share, records=self.records, per_s=rate, left_s=left_s)


class ChangelogReader:
    """Reads the state of changelog partitions, over one kept consumer: a new one each time costs half a second.

    For one thread at a time.
    """

    def __init__(
        self, connection: Connection, group: str, admin: AdminClient, ends: EndOffsets, snapshots: SnapshotFolder | None
    ) -> None:
        self._group = group
        self._admin = admin
        self._ends = ends
        self._snapshots = snapshots
        self._config = connection.client(
            group_id=f"{group}-recovery",  # required by the client; nothing is ever committed
            enable_auto_commit=False,
            enable_partition_eof=True,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            queued_min_messages=200_000,
            queued_max_messages_kbytes=16 * 1024,  # in all; each record takes as much again outside of this count
            fetch_queue_backoff_ms=10,  # by default a partition is left alone for a second when the queue is full
            fetch_wait_max_ms=50,
        )
        self._consumer: Consumer | None = None

    def read(
        self, topic: str, partitions: Iterable[int], should_continue: Callable[[], bool]
    ) -> dict[int, RecoveredPartition]:
        """The latest value of each key by partition. Blocks; raises NewerAssignment once `should_continue` is False."""
        began_s = time.monotonic()
        try:
            facts = self._describe(topic, should_continue)
            ends = self._ends.high_watermarks([TopicPartition(topic, p) for p in sorted(partitions)], should_continue)
        except KafkaException:
            if should_continue():
                raise
            raise NewerAssignment(topic) from None
        found: dict[int, RecoveredPartition] = {}
        for (_, partition), end in ends.items():
            if not should_continue():
                raise NewerAssignment(topic)
            found[partition] = self._from_snapshot(topic, partition, end, facts)
        records = self._read_on(topic, found, should_continue)
        took_s = round(time.monotonic() - began_s, 3)
        snapshots = sum(bool(part.saved_s) for part in found.values())
        log.info("recovered", topic=topic, partitions=len(found), snapshots=snapshots, records=records, took_s=took_s)
        return found

    def close(self) -> None:
        """Ends the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _describe(self, topic: str, should_continue: Callable[[], bool]) -> TopicDescription | None:
        """What decides whether a snapshot may be used; None where none may, or be made. Asked before the ends: of a
        topic that is made again between, this is the older id, and no snapshot has it."""
        if self._snapshots is None:
            return None
        try:
            facts = describe(self._admin, topic, should_continue)
        except KafkaException as exception:
            if error_of(exception).code() in RETRIABLE_OR_UNKNOWN:
                raise
            remedy = "allow this client to describe the topic and its configuration"
            log.warning("snapshots_off", topic=topic, reason=error_of(exception).str(), next_step=remedy)
            return None
        if _max_age_s(facts) < MIN_AGE_S:
            log.warning("snapshots_off", topic=topic, reason="delete.retention.ms is short", next_step="make it hours")
            return None
        return facts

    def _from_snapshot(
        self, topic: str, partition: int, end: int, facts: TopicDescription | None
    ) -> RecoveredPartition:
        if facts is None or self._snapshots is None:
            return RecoveredPartition({}, 0, end)
        origin, max_age_s = Origin(self._group, topic, facts.id, facts.partitions, partition), _max_age_s(facts)
        snapshot = self._snapshots.find(origin, end, max_age_s)
        if snapshot is None:
            return RecoveredPartition({}, 0, end, 0.0, origin, max_age_s)
        return RecoveredPartition(snapshot.entries, snapshot.offset, end, snapshot.asked_s, origin, max_age_s)

    def _read_on(self, topic: str, parts: dict[int, RecoveredPartition], should_continue: Callable[[], bool]) -> int:
        """Reads what came after the snapshots; returns how many records that were."""
        reading = _Reading(topic, parts, {p for p, part in parts.items() if part.begin < part.end})
        begins = {p: parts[p].begin or OFFSET_BEGINNING for p in reading.left}
        while reading.left:
            begins = self._follow(reading, begins, should_continue)
            if reading.left:
                log.warning("recovery_reopens", topic=topic, partitions=len(reading.left))
                self.close()
        return reading.records

    def _follow(
        self, reading: _Reading, begins: Mapping[int, int], should_continue: Callable[[], bool]
    ) -> dict[int, int]:
        """Until all is read, or nothing comes any more; returns where to go on."""
        if self._consumer is None:
            self._consumer = Consumer(self._config)
        consumer, heard_s = self._consumer, time.monotonic()
        consumer.assign([confluent_kafka.TopicPartition(reading.topic, p, begins[p]) for p in reading.left])
        try:
            while reading.left and time.monotonic() - heard_s < QUIET_S:
                if not should_continue():
                    raise NewerAssignment(reading.topic)
                if self._turn(consumer, reading):
                    heard_s = time.monotonic()
            places = consumer.position([confluent_kafka.TopicPartition(reading.topic, p) for p in reading.left])
            return {place.partition: place.offset if place.offset >= 0 else begins[place.partition] for place in places}
        finally:
            consumer.unassign()

    def _turn(self, consumer: Consumer, reading: _Reading) -> bool:
        """Reads what has come; whether anything has, be it an error."""
        parts = reading.parts
        messages = consumer.consume(BATCH, 0.05)
        for message in messages:
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
                parts[partition].entries.pop(key, None)
            else:
                parts[partition].entries[key] = value
        if reading.records:
            failpoints.reach("in_recovery")
        now_s = time.monotonic()
        if reading.left and now_s - reading.said_s > PROGRESS_S:
            reading.said_s = now_s
            places = consumer.position([confluent_kafka.TopicPartition(reading.topic, p) for p in reading.left])
            reading.say({place.partition: place.offset for place in places})
        return bool(messages)

    @staticmethod
    def _on_error(error: KafkaError, reading: _Reading, partition: int | None, offset: int | None) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            if partition is not None and offset is not None and offset >= reading.parts[partition].end:
                reading.left.discard(partition)
        elif error.fatal() or error.code() not in RETRIABLE:
            raise KafkaException(error)
        else:
            log.warning("recovery_waits", topic=reading.topic, error=error.str())


def _max_age_s(facts: TopicDescription) -> float:
    """How old a snapshot may be: half of the time for which tombstones are kept, for clocks and a long recovery."""
    return int(facts.config.get("delete.retention.ms", 0)) / 2_000
