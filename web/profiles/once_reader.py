"""A reader whose records change PostgreSQL exactly once: the offset behind them is written in the same transaction.

Reading begins at the offset in the database. A process that reads a partition after another one, or beside one that was
frozen, passes what that one has written.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Event
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, Message
from psycopg import Connection
from psycopg.errors import QueryCanceled

from infra.kafka.batch_reader import BatchReader
from infra.kafka.connection import Connection as KafkaConnection
from infra.kafka.observer import ReaderObserver
from infra.kafka.topics import TopicPartition
from infra.postgres.database import Database, Shutdown
from infra.service.faults import describe

NOTE_EVERY_S = 1.0
"""How often the progress through records that change nothing is written."""
ASK_EVERY_S = 3.0
"""How often Kafka is asked whether partitions still end where they were read to."""

_STORED = "SELECT partition, next_offset FROM web_progress WHERE reader = %s"
_BEGIN = """INSERT INTO web_progress (reader, partition, next_offset)
    SELECT %(reader)s, * FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[]) AS b (partition, next_offset)
    ORDER BY partition ON CONFLICT (reader, partition) DO NOTHING"""
_FORGET = "DELETE FROM web_progress WHERE reader = %(reader)s AND partition = %(partition)s AND next_offset > %(end)s"
_HOLD = """SELECT partition, next_offset FROM web_progress
    WHERE reader = %(reader)s AND partition = ANY(%(partitions)s::int[]) ORDER BY partition FOR UPDATE"""
_MOVE = """WITH n AS (
        SELECT p.ctid, next, at_end
        FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[], %(at_end)s::bool[]) AS n (number, next, at_end)
        JOIN web_progress AS p ON p.reader = %(reader)s AND p.partition = n.number ORDER BY n.number FOR UPDATE OF p
    ) UPDATE web_progress AS p SET next_offset = greatest(p.next_offset, n.next),
        caught_up = CASE WHEN n.at_end THEN clock_timestamp() ELSE p.caught_up END
    FROM n WHERE p.ctid = n.ctid"""


class Place(NamedTuple):
    """Where a record stands in the topic, and when it was appended, in microseconds since 1970."""

    partition: int
    offset: int
    appended_us: int


SAMPLE = Place(-1, 0, 0)
"""The place of items that are written and rolled back."""


class Placed(Protocol):
    """An item with the place of its record."""

    @property
    def place(self) -> Place:
        """Where its record stands."""


P = TypeVar("P", bound=Placed)
R = TypeVar("R")


class OnceReader(BatchReader[P]):
    """Reads one topic. Subclasses implement `item_of` and `write_once`."""

    reader: ClassVar[str]
    """The name in `web_progress`."""

    def __init__(
        self,
        connection: KafkaConnection,
        database: Database,
        halt: Event,
        session_timeout_ms: int = 10_000,
        instance: str | None = None,
        observer: ReaderObserver | None = None,
    ) -> None:
        super().__init__(connection, database, halt, session_timeout_ms, instance, observer)
        self._next: dict[int, int] = {}
        """The offset after the last record of each partition that was read."""
        self._ends: dict[int, int] = {}
        """The ends of partitions, as of when they were last reached."""
        self._reached: set[int] = set()
        """Partitions whose end was reached since the last note."""
        self._note_at_s = 0.0
        self._ask_at_s = 0.0

    def item_of(self, record: Message, place: Place) -> P | None:
        """The item of a record, or None if this reader does not need it. Raises DecodeError."""
        raise NotImplementedError

    def write_once(self, connection: Connection[Any], items: Sequence[P]) -> None:
        """Write items that were not written before, in their order."""
        raise NotImplementedError

    def first_offsets(self, partitions: Sequence[int]) -> dict[int, int]:
        """Where to begin in partitions of which nothing was read yet."""
        return dict.fromkeys(partitions, OFFSET_BEGINNING)

    def decode(self, record: Message) -> P | None:
        """The item of a record."""
        place = Place(record.partition() or 0, record.offset() or 0, record.timestamp()[1] * 1_000)
        self._next[place.partition] = place.offset + 1
        return self.item_of(record, place)

    def prepared(self, items: Sequence[P]) -> Sequence[P]:
        """The items, once the dead letters before them are on their topic: after a crash none of them is read again."""
        self.dead_letters.flush()
        return items

    def write(self, connection: Connection[Any], items: Sequence[P]) -> int:
        """Write what no transaction has written before."""
        ends = {item.place.partition: item.place.offset + 1 for item in items}
        held = connection.execute(_HOLD, {"reader": self.reader, "partitions": list(ends)}).fetchall()
        known: dict[int, int] = dict(held)
        new = [item for item in items if item.place.offset >= known.get(item.place.partition, 0)]
        if new:
            self.write_once(connection, new)
            self._move(connection, ends, frozenset())
        return 0

    def assigned(self, partitions: list[confluent_kafka.TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        """Begin at the offsets in the database."""
        ends = self.ends.last_stable(TopicPartition(each.topic, each.partition) for each in partitions)
        stored = self._persistent(lambda connection: self._stored(connection, ends))
        first = self.first_offsets([each.partition for each in partitions if each.partition not in stored])
        begin = {"reader": self.reader, "partitions": list(first), "offsets": [max(0, each) for each in first.values()]}
        self._persistent(lambda connection: connection.execute(_BEGIN, begin))
        for each in partitions:
            each.offset = (stored | first)[each.partition]
        return partitions

    def _stored(self, connection: Connection[Any], ends: Mapping[TopicPartition, int]) -> dict[int, int]:
        """The offsets in the database, without those beyond the end of their partition: the topic was made anew."""
        for place, end in ends.items():
            connection.execute(_FORGET, {"reader": self.reader, "partition": place.partition, "end": end})
        return dict(connection.execute(_STORED, [self.reader]).fetchall())

    def at_end(self, topic: str, partition: int, offset: int) -> None:  # noqa: ARG002
        """Note that the partition is read to its end."""
        self._ends[partition] = offset
        self._reached.add(partition)

    def revoked(self, partitions: list[confluent_kafka.TopicPartition]) -> None:
        """Read these partitions no more."""
        for each in partitions:
            self._next.pop(each.partition, None)
            self._ends.pop(each.partition, None)
            self._reached.discard(each.partition)

    def after_batch(self) -> None:
        """Do what is due beside the records. What takes PostgreSQL too long is tried again when it is due again."""
        try:
            self.keep_up()
        except QueryCanceled as error:
            self._timed_out(error)

    def keep_up(self) -> None:
        """Write how far the partitions are read, also through records that change nothing, and which to their end."""
        if time.monotonic() < self._note_at_s:
            return
        self._note_at_s = time.monotonic() + NOTE_EVERY_S
        ends = {partition: end for partition, end in self._ends.items() if end >= self._next.get(partition, 0)}
        at_end = (self._reached & ends.keys()) | self._still_at(ends)
        offsets = self._next | ends
        if offsets:
            self.database.run(lambda connection: self._move(connection, offsets, at_end))
        self._reached.clear()

    def _still_at(self, ends: Mapping[int, int]) -> set[int]:
        """The partitions that Kafka, asked again, says still end there. Their end is told only once."""
        if not ends or time.monotonic() < self._ask_at_s:
            return set()
        self._ask_at_s = time.monotonic() + ASK_EVERY_S
        [topic] = self.topics
        now = self.ends.last_stable(TopicPartition(topic, partition) for partition in ends)
        return {
            partition for partition, end in ends.items() if now.get(TopicPartition(topic, partition), end + 1) <= end
        }

    def _persistent(self, work: Callable[[Connection[Any]], R]) -> R:
        """The result of a transaction without which nothing can be read. Raises Shutdown if the process stops."""
        while not self.halt.is_set():
            try:
                return self.database.run(work)
            except QueryCanceled as error:
                self._timed_out(error)
        raise Shutdown

    def _timed_out(self, error: QueryCanceled) -> None:
        self.log.warning("statement_timed_out", error=describe(error), next_step="tried again")

    def _move(self, connection: Connection[Any], offsets: Mapping[int, int], at_end: Collection[int]) -> None:
        moved = {
            "partitions": list(offsets),
            "offsets": list(offsets.values()),
            "at_end": [partition in at_end for partition in offsets],
        }
        connection.execute(_MOVE, {"reader": self.reader, **moved})
