"""Reads Kafka into PostgreSQL in batches: the loop of intake, recipients feed and recorder.

It reads a batch, decodes it, writes it in one transaction, and only then commits the offsets. So a record is written at
least once, and every write is idempotent. A record that makes any step fail, whatever the exception, becomes a dead
letter, and the others are written. One thread owns the consumer.

Rebalances are cooperative: a member that joins or leaves stops only the partitions that move. All members of a group
must be of programs that rebalance so.
"""

from collections.abc import Sequence
from threading import Event, Thread
from time import monotonic
from typing import Any, ClassVar, Generic, TypeVar

import confluent_kafka
import psycopg
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient

from infra.kafka.connection import Connection
from infra.kafka.dead_letters import DeadLetters
from infra.kafka.observer import ReaderObserver
from infra.kafka.offsets import EndOffsets
from infra.kafka.stalls import ENDS_TIMEOUT_S, StallGuard
from infra.kafka.topics import TopicPartition
from infra.postgres.database import Database, Shutdown
from infra.service.faults import Fault, describe, fault_of, fault_of_kafka
from schemas.codec import DecodeError
from schemas.vocabulary import DeadLetterCause

T = TypeVar("T")

BATCH = 500
POLL_S = 0.1
COMMIT_AGAIN_S = 1.0
"""How often a commit that Kafka did not take is tried again while no record comes."""
POLL_WITHIN_MS = 30_000
"""How long a rebalance waits for a member that is alive and busy, as with a database that does not answer. By default
that is five minutes, and no other member gets a partition until then."""
CLOSE_WITHIN_S = 1.5
"""A group that was not left notices after the session's time."""


class BatchReader(Generic[T]):
    """Reads topics as a member of `group` until the process halts. Subclasses decode and write the records."""

    group: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]
    batch: ClassVar[int] = BATCH
    """How many records are written in one transaction, at most."""
    poll_within_ms: ClassVar[int] = POLL_WITHIN_MS
    """A reader whose batch takes longer loses its partitions to others, and joins again after it. Its records are
    written twice, which changes nothing."""
    gather_s: ClassVar[float] = POLL_S
    """How long a batch waits for more records. A longer time makes larger batches, which cost less a record."""

    def __init__(
        self,
        connection: Connection,
        database: Database,
        halt: Event,
        session_timeout_ms: int = 10_000,
        instance: str | None = None,
        observer: ReaderObserver | None = None,
    ) -> None:
        self.database = database
        self.changed_commands = 0
        """How many commands committed batches admitted or ended; for subclasses, which may reset it."""
        self.halt = halt
        self.log = structlog.get_logger(f"senders.{type(self).__name__.lower()}")
        self.dead_letters = DeadLetters(connection, self.group, halt, database.beat, observer)
        static = {} if instance is None else {"group_instance_id": f"{self.group}-{instance}"}
        client = connection.client(
            group_id=self.group,
            enable_auto_commit=False,
            enable_partition_eof=True,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=session_timeout_ms // 5,  # a member learns of a rebalance no sooner
            max_poll_interval_ms=max(self.poll_within_ms, session_timeout_ms),
            partition_assignment_strategy="cooperative-sticky",
            fetch_wait_max_ms=100,
            **static,
        )
        self.consumer = Consumer({**client, "on_commit": self._on_commit})
        self.ends = EndOffsets(AdminClient(connection.client()), ENDS_TIMEOUT_S)
        self._handled: dict[tuple[str, int], int] = {}
        """The offsets behind what is written and not committed yet, by topic and partition."""
        self._committing = False
        self._commit_again_s = 0.0
        self._refusal: KafkaError | None = None
        """The answer to a commit that ends the process."""
        self._guard = StallGuard(self.consumer, self.ends, observer=observer)

    def decode(self, record: Message) -> T | None:
        """The item of a record, or None if this reader does not need it. Raises DecodeError."""
        raise NotImplementedError

    def write(self, connection: psycopg.Connection[Any], items: Sequence[T]) -> int:
        """Write a batch, and return how many commands it admitted or ended.

        Must be idempotent: it may be called again with the same items.
        """
        raise NotImplementedError

    def samples(self) -> Sequence[T]:
        """Valid items that use each statement of `write`. They are written and rolled back, to tell whether a record
        or the process is at fault."""
        raise NotImplementedError

    def instead(self, item: T) -> T | None:  # noqa: ARG002  # for subclasses
        """What to write instead of an item that is set aside; None for nothing."""
        return None

    def assigned(self, partitions: list[confluent_kafka.TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        """Called with partitions that are added, before their first record; with none if the group adds none.

        Returns them, with the offsets to start at.
        """
        return partitions

    def revoked(self, partitions: list[confluent_kafka.TopicPartition]) -> None:
        """Called with partitions that move, before another reader gets them; the others stay."""

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Called when a partition has been read to its end."""

    def prepared(self, items: Sequence[T]) -> Sequence[T]:
        """The items as they are to be written. Called before their transaction, so it may wait for another server."""
        return items

    def written(self, items: Sequence[T]) -> None:
        """Called with items that are durable. One that is read a second time comes here a second time."""

    def after_batch(self) -> None:
        """Called after each batch, also an empty one."""

    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each partition, without those that returned nothing yet. In any thread."""
        return self._guard.positions()

    def run(self) -> None:
        """Read until the process halts. Raises errors of the process, not those of a record or an absent server."""
        self.consumer.subscribe(
            list(self.topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        try:
            while not self.halt.is_set():
                self.database.beat()
                self._one_batch()
        except Shutdown:
            self.log.info("halted_while_waiting", group=self.group)
        finally:
            self._close()
            self.database.close()

    def _close(self) -> None:
        """Leave the group. Does not wait long for a broker that does not answer: the process ends anyway."""
        closing = Thread(target=self.consumer.close, name=f"close-{self.group}", daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)
        if closing.is_alive():
            self.log.warning("group_not_left", group=self.group)

    def _on_assign(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        starts = self.assigned(partitions)
        consumer.incremental_assign(starts)
        self._guard.assigned(starts)

    def _on_revoke(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._guard.revoked(partitions)
        for moved in partitions:
            self._handled.pop((moved.topic, moved.partition), None)
        self.revoked(partitions)
        consumer.incremental_unassign(partitions)

    def _one_batch(self) -> None:
        messages = self.consumer.consume(self.batch, self.gather_s)
        records = [message for message in messages if self._sound(message)]
        batch = [(record, item) for record in records if (item := self._decoded(record)) is not None]
        if batch:
            self._store(batch)
        if records:
            self.dead_letters.flush()
            self._handled |= {(each.topic() or "", each.partition() or 0): (each.offset() or 0) + 1 for each in records}
        if self._refusal is not None:
            raise KafkaException(self._refusal)
        if self._handled and not self._committing and (records or monotonic() >= self._commit_again_s):
            self._commit()
        self._guard.consumed(messages, self.batch)
        self.after_batch()

    def _sound(self, record: Message) -> bool:
        error = record.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self.at_end(record.topic() or "", record.partition() or 0, record.offset() or 0)
        elif fault_of_kafka(error) is Fault.PROCESS:
            raise KafkaException(error)
        else:
            # librdkafka recovers from these itself: it reconnects, rejoins the group, requests metadata again.
            self.log.warning("kafka_reader", group=self.group, error=error.name())
        return False

    def _decoded(self, record: Message) -> T | None:
        try:
            return self.decode(record)
        except DecodeError as error:
            self.dead_letters.put(record, error.cause, error.detail)
        except Exception as error:  # noqa: BLE001  # a decoder that fails on one record must not stop the others
            self.dead_letters.put(record, DeadLetterCause.READER_ERROR, f"it cannot be read: {describe(error)}")
        return None

    def _store(self, batch: list[tuple[Message, T]]) -> None:
        """Write a batch. If that fails, halve it until the record at fault is alone."""
        try:
            self._write([item for _, item in batch])
        except Exception as error:  # noqa: BLE001  # `_refuse` raises what is not the record's fault
            if len(batch) == 1:
                self._refuse(*batch[0], error)
                return
            middle = len(batch) // 2
            self._store(batch[:middle])
            self._store(batch[middle:])

    def _write(self, items: Sequence[T]) -> None:
        items = self.prepared(items)
        self.changed_commands += self.database.run(lambda connection: self.write(connection, items))
        self.written(items)

    def _refuse(self, record: Message, item: T, error: Exception) -> None:
        """Set aside a record that fails alone. Raises `error` if the record is not at fault."""
        cause, fault = DeadLetterCause.INVALID, fault_of(error)
        if fault is Fault.UNCLEAR:
            try:
                self._write([item])  # a statement that a time-out cancelled may succeed now
                return
            except Exception as again:  # noqa: BLE001
                error = again
            self._prove(error)
            cause = DeadLetterCause.READER_ERROR
        self.dead_letters.put(record, cause, f"the database cannot keep it: {describe(error)}")
        try:
            if (instead := self.instead(item)) is not None:
                self._write([instead])
        except Exception as again:  # noqa: BLE001  # samples can be written, so this is the record's fault too
            self.log.error("record_not_replaced", place=_place_of(record), error=describe(again))

    def _prove(self, error: Exception) -> None:
        """Raise `error` if samples cannot be written either: then the process is at fault, not the record."""

        def write(connection: psycopg.Connection[Any], samples: Sequence[T]) -> None:
            with connection.transaction(force_rollback=True):
                self.write(connection, samples)

        try:
            samples = self.prepared(self.samples())
            self.database.run(lambda connection: write(connection, samples))
        except Exception as failure:
            raise error from failure

    def _commit(self) -> None:
        """Ask Kafka to commit the offsets behind what is handled.

        Without waiting: a commit that waits for an absent broker cannot be interrupted, and the process could not end.
        """
        offsets = [confluent_kafka.TopicPartition(*of, end) for of, end in self._handled.items()]
        try:
            self.consumer.commit(offsets=offsets)
            self._committing = True
        except KafkaException as failure:
            self._not_committed(failure.args[0])

    def _on_commit(self, error: KafkaError | None, offsets: list[confluent_kafka.TopicPartition]) -> None:
        """Called while the consumer reads. Offsets that Kafka did not take are committed later."""
        self._committing = False
        error = error or next((each.error for each in offsets if each.error is not None), None)
        if error is not None:
            self._not_committed(error)
            return
        for each in offsets:
            if self._handled.get((each.topic, each.partition)) == each.offset:
                del self._handled[each.topic, each.partition]

    def _not_committed(self, error: KafkaError) -> None:
        if fault_of_kafka(error) is Fault.PROCESS:
            self._refusal = error
            return
        # All is written; the records that another reader reads again change nothing.
        self.log.warning("offsets_not_committed", group=self.group, error=error.name())
        self._commit_again_s = monotonic() + COMMIT_AGAIN_S


def _place_of(record: Message) -> str:
    return f"{record.topic()}[{record.partition()}]@{record.offset()}"
