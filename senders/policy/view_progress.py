"""How far the recipients view has read its topics, and as of when it is therefore known.

From time to time the feed asks Kafka where its partitions end. A partition that has been read up to such an end is
known as of the moment of asking, by the database's clock. That moment is the view's freshness, not the age of the last
record: a quiet topic stays fresh.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import Connection

from infra.kafka.topics import TopicPartition
from infra.postgres.columns import RowArrays, statement

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class PartitionProgress:
    """The next offset to read of one partition, and the end that it must reach to be known as of `asked_at`."""

    next_offset: int
    as_of: datetime = NEVER
    end: int | None = None
    asked_at: datetime = NEVER

    def read_to(self, offset: int) -> None:
        """Note that every record before this offset has been read."""
        self.next_offset = max(self.next_offset, offset)

    def written(self) -> bool:
        """Note that everything read is in the database. Returns whether the partition is known as of later."""
        if self.end is None or self.next_offset < self.end:
            return False
        before, self.as_of, self.end = self.as_of, max(self.as_of, self.asked_at), None
        return self.as_of > before


class StoredProgress(NamedTuple):
    """A row of `recipients_progress`."""

    topic: str
    partition: int
    next_offset: int
    as_of: datetime


_PROGRESS = RowArrays[StoredProgress](
    topic=("text", lambda row: row.topic),
    partition=("int", lambda row: row.partition),
    next_offset=("bigint", lambda row: row.next_offset),
    as_of=("timestamptz", lambda row: row.as_of),
)
_STORE = statement(
    """INSERT INTO recipients_progress (topic, partition, next_offset, as_of)
       SELECT topic, partition, next_offset, as_of FROM {new} ORDER BY topic, partition
       ON CONFLICT (topic, partition) DO UPDATE
           SET next_offset = EXCLUDED.next_offset, as_of = EXCLUDED.as_of
           WHERE recipients_progress.as_of <= EXCLUDED.as_of""",
    new=_PROGRESS.unnest("new"),
)


class ViewProgress:
    """The progress of each partition that this feed reads."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, PartitionProgress] = {}

    def get(self, partition: TopicPartition) -> PartitionProgress | None:
        """The progress of a partition, None if this feed does not read it."""
        return self._partitions.get(partition)

    def begin(self, partition: TopicPartition, progress: PartitionProgress) -> None:
        """Follow a partition from here on."""
        self._partitions[partition] = progress

    def end(self, partition: TopicPartition) -> None:
        """Follow a partition no more."""
        self._partitions.pop(partition, None)

    def without_end(self) -> list[TopicPartition]:
        """The partitions whose end must be requested."""
        return [partition for partition, progress in self._partitions.items() if progress.end is None]

    def ends_known(self, ends: Mapping[TopicPartition, int], asked_at: datetime) -> None:
        """Note the ends that Kafka returned to a request made at `asked_at`."""
        for partition, end in ends.items():
            self._partitions[partition].end, self._partitions[partition].asked_at = end, asked_at

    def written(self) -> list[StoredProgress]:
        """Note that everything read is in the database. Returns the partitions that are known as of later."""
        return [
            StoredProgress(*partition, progress.next_offset, progress.as_of)
            for partition, progress in self._partitions.items()
            if progress.written()
        ]


def database_time(connection: Connection[Any]) -> datetime:
    """The time by the database's clock, which dates the view. Hosts of feeds and of workers may differ from it."""
    [[now]] = connection.execute("SELECT clock_timestamp()").fetchall()
    return now  # type: ignore[no-any-return]


def stored(connection: Connection[Any]) -> dict[TopicPartition, PartitionProgress]:
    """The progress that the database holds."""
    rows: Iterable[tuple[str, int, int, datetime]] = connection.execute(
        "SELECT topic, partition, next_offset, as_of FROM recipients_progress"
    )
    return {TopicPartition(topic, number): PartitionProgress(offset, as_of) for topic, number, offset, as_of in rows}


def store(connection: Connection[Any], rows: Sequence[StoredProgress]) -> None:
    """Write progress to the database, unless that holds later progress."""
    connection.execute(_STORE, _PROGRESS.parameters(rows))
