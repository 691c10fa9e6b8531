"""Reads the state of partitions before they are processed: a snapshot, if there is one, and the changelog after it.

The order makes it exact: first the group's stable offsets, so that no transaction is open on them; then the changelog,
read_committed, up to its high watermark as it is after that. Reading only up to its last stable offset could miss a
transaction whose offset marker was written first.

All partitions of a table are read at once, with one consumer whose queue is bounded; snapshots one after the other.
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
SILENCE_S = 20.0
"""How long nothing may arrive before a new client continues. After a broker's death, confluent-kafka 2.16 was seen to
fetch nothing any more, without an error. It does no harm if the broker is away."""
MIN_USABLE_S = 600.0
"""Snapshots are not written if they may be used for less than this."""

Entries = dict[bytes, bytes]


class NewerAssignment(Exception):
    """Another rebalance has begun, so this recovery is no longer needed."""


@dataclass(slots=True)
class RecoveredPartition:
    """One partition of a table: its snapshot up to `begin` (0: no snapshot), and the changelog from there to `end`."""

    entries: Entries
    begin: int
    end: int
    saved_s: float = 0.0
    """When the snapshot was made, in seconds since 1970; 0 without a snapshot."""
    origin: Origin | None = None
    """The origin of a new snapshot; None if no snapshots are written."""
    max_age_s: float = 0.0
    """How long a snapshot may be used."""
    removed: int = 0
    """How many tombstones were read after the snapshot, which may have their keys."""


@dataclass(slots=True)
class _Progress:
    """How far one changelog is read."""

    topic: str
    parts: dict[int, RecoveredPartition]
    left: set[int]
    records: int = 0
    began_s: float = field(default_factory=time.monotonic)
    logged_s: float = field(default_factory=time.monotonic)

    def log_progress(self, positions: Mapping[int, int]) -> None:
        """Logs the share of the offsets that is read, and how long the rest takes at this rate."""
        took_s = time.monotonic() - self.began_s
        total = sum(part.end - part.begin for part in self.parts.values())
        to_read = sum(max(0, self.parts[p].end - max(positions[p], self.parts[p].begin)) for p in self.left)
        share = 1 - to_read / total
        left_s = round(took_s * to_read / (total - to_read), 1) if total > to_read else None
        rate = round(self.records / took_s)
        share = round(share, 3)
        log.info("recovering", topic=self.topic, share=share, records=self.records, per_s=rate, left_s=left_s)


class ChangelogReader:
    """Reads the state of changelog partitions. Keeps one consumer, because a new one costs half a second.

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
            fetch_queue_backoff_ms=10,  # by default a partition is not fetched for a second when the queue is full
            fetch_wait_max_ms=50,
        )
        self._consumer: Consumer | None = None

    def read(
        self, topic: str, partitions: Iterable[int], should_continue: Callable[[], bool]
    ) -> dict[int, RecoveredPartition]:
        """The latest value of each key by partition. Blocks; raises NewerAssignment when `should_continue` is False."""
        began_s = time.monotonic()
        try:
            description = self._describe(topic, should_continue)
            ends = self._ends.high_watermarks([TopicPartition(topic, p) for p in sorted(partitions)], should_continue)
        except KafkaException:
            if should_continue():
                raise
            raise NewerAssignment(topic) from None
        found: dict[int, RecoveredPartition] = {}
        for (_, partition), end in ends.items():
            if not should_continue():
                raise NewerAssignment(topic)
            found[partition] = self._from_snapshot(topic, partition, end, description)
        records = self._read_rest(topic, found, should_continue)
        took_s = round(time.monotonic() - began_s, 3)
        snapshots = sum(bool(part.saved_s) for part in found.values())
        log.info("recovered", topic=topic, partitions=len(found), snapshots=snapshots, records=records, took_s=took_s)
        return found

    def close(self) -> None:
        """Closes the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _describe(self, topic: str, should_continue: Callable[[], bool]) -> TopicDescription | None:
        """The topic's description, which decides whether a snapshot may be used; None if snapshots are off.

        Requested before the ends. If the topic is recreated in between, this is the older id, which no snapshot has.
        """
        if self._snapshots is None:
            return None
        try:
            description = describe(self._admin, topic, should_continue)
        except KafkaException as exception:
            if error_of(exception).code() in RETRIABLE_OR_UNKNOWN:
                raise
            remedy = "allow this client to describe the topic and its configuration"
            log.warning("snapshots_off", topic=topic, reason=error_of(exception).str(), next_step=remedy)
            return None
        if _max_age_s(description) < MIN_USABLE_S:
            log.warning(
                "snapshots_off", topic=topic, reason="delete.retention.ms is short", next_step="set it to hours"
            )
            return None
        return description

    def _from_snapshot(
        self, topic: str, partition: int, end: int, description: TopicDescription | None
    ) -> RecoveredPartition:
        if description is None or self._snapshots is None:
            return RecoveredPartition({}, 0, end)
        origin, max_age_s = (
            Origin(self._group, topic, description.id, description.partitions, partition),
            _max_age_s(description),
        )
        snapshot = self._snapshots.find(origin, end, max_age_s)
        if snapshot is None:
            return RecoveredPartition({}, 0, end, 0.0, origin, max_age_s)
        return RecoveredPartition(snapshot.entries, snapshot.offset, end, snapshot.requested_s, origin, max_age_s)

    def _read_rest(self, topic: str, parts: dict[int, RecoveredPartition], should_continue: Callable[[], bool]) -> int:
        """Reads the records after the snapshots; returns their number."""
        progress = _Progress(topic, parts, {p for p, part in parts.items() if part.begin < part.end})
        begins = {p: parts[p].begin or OFFSET_BEGINNING for p in progress.left}
        while progress.left:
            begins = self._read_with_client(progress, begins, should_continue)
            if progress.left:
                log.warning("recovery_reopens", topic=topic, partitions=len(progress.left))
                self.close()
        return progress.records

    def _read_with_client(
        self, progress: _Progress, begins: Mapping[int, int], should_continue: Callable[[], bool]
    ) -> dict[int, int]:
        """Reads until all is read or nothing arrives any more; returns where to continue."""
        if self._consumer is None:
            self._consumer = Consumer(self._config)
        consumer, received_s = self._consumer, time.monotonic()
        consumer.assign([confluent_kafka.TopicPartition(progress.topic, p, begins[p]) for p in progress.left])
        try:
            while progress.left and time.monotonic() - received_s < SILENCE_S:
                if not should_continue():
                    raise NewerAssignment(progress.topic)
                if self._consume(consumer, progress):
                    received_s = time.monotonic()
            positions = consumer.position([confluent_kafka.TopicPartition(progress.topic, p) for p in progress.left])
            return {tp.partition: tp.offset if tp.offset >= 0 else begins[tp.partition] for tp in positions}
        finally:
            consumer.unassign()

    def _consume(self, consumer: Consumer, progress: _Progress) -> bool:
        """Reads what has arrived; returns whether anything has, also an error."""
        parts = progress.parts
        messages = consumer.consume(BATCH, 0.05)
        for message in messages:
            partition = message.partition()
            error = message.error()
            if error is not None:
                self._on_error(error, progress, partition, message.offset())
                continue
            key, value = message.key(), message.value()
            assert key is not None
            assert partition is not None
            progress.records += 1
            if value is None:
                parts[partition].removed += parts[partition].entries.pop(key, None) is not None
            else:
                parts[partition].entries[key] = value
        if progress.records:
            failpoints.reach("in_recovery")
        now_s = time.monotonic()
        if progress.left and now_s - progress.logged_s > PROGRESS_S:
            progress.logged_s = now_s
            positions = consumer.position([confluent_kafka.TopicPartition(progress.topic, p) for p in progress.left])
            progress.log_progress({tp.partition: tp.offset for tp in positions})
        return bool(messages)

    @staticmethod
    def _on_error(error: KafkaError, progress: _Progress, partition: int | None, offset: int | None) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            if partition is not None and offset is not None and offset >= progress.parts[partition].end:
                progress.left.discard(partition)
        elif error.fatal() or error.code() not in RETRIABLE:
            raise KafkaException(error)
        else:
            log.warning("recovery_waits", topic=progress.topic, error=error.str())


def _max_age_s(description: TopicDescription) -> float:
    """How old a snapshot may be: half of the time for which tombstones are kept, to allow for a long recovery."""
    return int(description.config.get("delete.retention.ms", 0)) / 2_000
