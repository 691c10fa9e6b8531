"""The content of a checkpoint: outputs, offsets, clocks and history of each partition that changed since the last one.

Pure: collects what the batch processor and ordinary agents did, and returns it as one transaction. commit.py writes it.

A partition's clock is in the metadata of its committed offsets, where Kafka Streams keeps its partition time too.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import confluent_kafka
import orjson

from infra.kafka.topics import TopicPartition
from streams.runtime.clock import NO_TIMESTAMP, Batch


class Output(NamedTuple):
    """A serialised record to write. Without a partition, the producer's partitioner chooses one by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] | None = None


class TableChanges(NamedTuple):
    """What changed in one partition of a table since the last checkpoint, as the records of its changelog.

    Pairs of key and value instead of outputs: where each record changes a key, an `Output` for each is noticeable.
    """

    topic: str
    partition: int
    records: Sequence[tuple[bytes, bytes | None]]


@dataclass(frozen=True, slots=True)
class OffsetMetadata:
    """The metadata of a partition's committed offsets."""

    clock_ms: int = NO_TIMESTAMP
    number: int = 0
    """The number of its last journal record."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """The version numbers that the application applied, such as that of the rule manifest."""

    def encode(self) -> str:
        """The metadata as text."""
        return orjson.dumps({"clock": self.clock_ms, "number": self.number, "versions": dict(self.versions)}).decode()

    @classmethod
    def decode(cls, metadata: str | None) -> "OffsetMetadata":
        """Decodes the text. Text of another program decodes as empty metadata."""
        try:
            found = orjson.loads(metadata or "")
            return cls(
                int(found["clock"]), int(found["number"]), {str(k): int(v) for k, v in found["versions"].items()}
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            return cls()


class OffsetRange(NamedTuple):
    """Consecutive records of one input, including the first and the last offset."""

    topic: str
    first: int
    last: int


@dataclass(slots=True)
class JournalSegment:
    """A part of a partition's history under one set of versions: what was applied, in order, then the clock."""

    number: int
    applied: list[OffsetRange]
    clock_ms: int
    versions: Mapping[str, int]
    closed: bool = False
    silent: bool = False
    """Whether it is only a tick that did nothing. It is written only if something follows it."""


class Journal(Protocol):
    """Encodes history as records."""

    def __call__(self, partition: int, segment: JournalSegment) -> Output: ...


@dataclass(slots=True)
class _Partition:
    """One partition number: the next offset of each input, and the history since the last checkpoint."""

    next_offsets: dict[str, int]
    number: int
    clock_ms: int
    versions: Mapping[str, int]
    segments: list[JournalSegment] = field(default_factory=list)
    batches: int = 0
    records: int = 0
    """Records applied under this assignment."""
    uncounted: Counter[str] = field(default_factory=Counter)
    """Records applied since the last checkpoint, by input."""

    @property
    def changed(self) -> bool:
        return any(not segment.silent for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Transaction:
    """The content of one checkpoint, which may be written more than once until it commits."""

    outputs: Sequence[Output]
    offsets: Sequence[confluent_kafka.TopicPartition]
    membership: object
    applied: Mapping[TopicPartition, int] = field(default_factory=dict)
    """The number of applied records, by partition of the merged inputs."""
    counts: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    """The application's counts from `Buffer.counts`."""
    changes: Sequence[TableChanges] = ()
    """The changelog's records. They are written before `outputs`."""

    def records_by_topic(self) -> Counter[str]:
        """The number of records by topic."""
        counted = Counter(output.topic for output in self.outputs)
        for changed in self.changes:
            counted[changed.topic] += len(changed.records)
        return counted


class BatchOutOfOrder(RuntimeError):
    """The batch before this one was dropped. To continue would lose its records."""


class NoPartitionsOwned(RuntimeError):
    """A record was sent while no partitions are assigned, so no transaction would contain it."""


class Buffer:
    """The work since the last checkpoint, under one assignment."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.outputs: list[Output] = []
        self.counts: Counter[tuple[str, ...]] = Counter()
        """The application's counts by name and labels. They are dropped if the checkpoint is lost."""
        self._journal = journal
        self._partitions: dict[int, _Partition] = {}
        self._other_offsets: dict[TopicPartition, int] = {}
        self._moved: set[TopicPartition] = set()
        self._membership: object | None = None

    @property
    def owned(self) -> bool:
        """Whether there are partitions to commit for."""
        return self._membership is not None

    def begin(
        self,
        membership: object,
        partitions: Mapping[int, tuple[Mapping[str, int], OffsetMetadata]],
        other_offsets: Mapping[TopicPartition, int],
    ) -> None:
        """Starts an assignment: inputs' offsets and metadata by partition number, and offsets of other partitions."""
        self.drop()
        self._membership = membership
        for partition, (offsets, metadata) in partitions.items():
            self._partitions[partition] = _Partition(
                dict(offsets), metadata.number, metadata.clock_ms, metadata.versions
            )
        self._other_offsets.update(other_offsets)

    def drop(self) -> None:
        """Drops everything: the partitions are gone, or this work must be undone."""
        self._membership = None
        self._partitions.clear()
        self._other_offsets.clear()
        self._moved.clear()
        self.outputs.clear()
        self.counts.clear()

    def applied(
        self, batch: Batch[Any], pieces: Iterable[OffsetRange], fired: bool, versions: Mapping[str, int]
    ) -> None:
        """Records that `batch` was applied completely. `fired`: a timer did something; a tick alone changes nothing.

        Raises BatchOutOfOrder if a batch was skipped, and KeyError if the partition is not owned.
        """
        partition = self._partitions[batch.partition]
        partition.batches += 1
        if batch.number != partition.batches:
            raise BatchOutOfOrder(
                f"partition {batch.partition}: batch {batch.number} came after batch {partition.batches - 1}"
            )
        silent = batch.is_tick and not fired
        segment = self._segment(partition, versions, silent)
        partition.records += len(batch)
        for taken in batch.pieces:
            partition.uncounted[taken.topic] += len(taken.records)
        for piece in pieces:
            partition.next_offsets[piece.topic] = piece.last + 1
            _extend(segment.applied, piece)
        segment.clock_ms = partition.clock_ms = batch.clock_ms
        segment.closed = batch.is_tick

    def _segment(self, partition: _Partition, versions: Mapping[str, int], silent: bool) -> JournalSegment:
        last = partition.segments[-1] if partition.segments else None
        if silent and last is not None and last.silent and last.versions == versions:
            return last
        if last is None or last.closed or last.versions != versions:
            last = JournalSegment(0, [], partition.clock_ms, dict(versions), silent=silent)
            partition.segments.append(last)
            partition.versions = last.versions
        last.silent = last.silent and silent
        return last

    def acked(self, partition: TopicPartition, offset: int) -> None:
        """Records that an ordinary agent finished the record at `offset`."""
        if partition in self._other_offsets:
            self._other_offsets[partition] = max(self._other_offsets[partition], offset + 1)
            self._moved.add(partition)

    def applied_so_far(self) -> dict[int, tuple[int, int]]:
        """The number of records applied under this assignment and the clock, by partition number."""
        return {number: (p.records, p.clock_ms) for number, p in self._partitions.items()}

    def emit(self, output: Output) -> None:
        """Adds a record to the open checkpoint; raises NoPartitionsOwned if there is none.

        It keeps a copy of the value: bytes of orjson take 8 KiB each as long as they are kept.
        """
        topic, key, value, partition, headers = output
        if self._membership is None:
            raise NoPartitionsOwned(f"a record for {topic} was sent before partitions were assigned, or after a loss")
        self.outputs.append(Output(topic, key, None if value is None else b"%b" % value, partition, headers))

    def drain(self, changes: Sequence[TableChanges], force: bool = False) -> Transaction | None:
        """Removes everything and returns it as one transaction, or None if there is nothing to write.

        With `force`, an empty transaction contains an unchanged offset.
        """
        if self._membership is None:
            return None
        changed = {number: p for number, p in self._partitions.items() if p.changed}
        if not (changed or self._moved or self.outputs or changes or force):
            return None
        outputs = [*self.outputs]
        applied = {TopicPartition(topic, n): count for n, p in changed.items() for topic, count in p.uncounted.items()}
        offsets = [confluent_kafka.TopicPartition(*tp, self._other_offsets[tp]) for tp in self._moved]
        for number, partition in changed.items():
            outputs.extend(self._history(number, partition))
            offsets += _offsets_of(number, partition)
        counts = dict(self.counts)
        self.outputs.clear()
        self.counts.clear()
        self._moved.clear()
        return Transaction(outputs, offsets or self._any_offset(), self._membership, applied, counts, changes)

    def _history(self, number: int, partition: _Partition) -> list[Output]:
        records = []
        for segment in partition.segments:
            partition.number += 1
            segment.number = partition.number
            if self._journal is not None:
                records.append(self._journal(number, segment))
        partition.segments.clear()
        partition.uncounted.clear()
        return records

    def _any_offset(self) -> list[confluent_kafka.TopicPartition]:
        """An unchanged offset, for outputs that belong to no partition: without an offset nothing fences them."""
        for number, partition in self._partitions.items():
            return _offsets_of(number, partition)
        return [confluent_kafka.TopicPartition(*tp, offset) for tp, offset in self._other_offsets.items()][:1]


def _offsets_of(number: int, partition: _Partition) -> list[confluent_kafka.TopicPartition]:
    metadata = OffsetMetadata(partition.clock_ms, partition.number, partition.versions).encode()
    offsets = partition.next_offsets.items()
    return [confluent_kafka.TopicPartition(topic, number, offset, metadata) for topic, offset in offsets]


def _extend(applied: list[OffsetRange], piece: OffsetRange) -> None:
    if applied and applied[-1].topic == piece.topic:
        applied[-1] = applied[-1]._replace(last=piece.last)
    else:
        applied.append(piece)
