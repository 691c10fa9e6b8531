"""What one checkpoint holds: outputs, offsets, clocks and history of every partition changed since the last.

Pure: collects what batch steps and ordinary agents did and seals it as one unit. commit.py writes it.

A partition's clock travels in the metadata of its committed offsets, as Kafka Streams keeps its partition time.
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
    """A record to write, serialised. Without a partition, the producer's partitioner chooses it by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] | None = None


@dataclass(frozen=True, slots=True)
class OffsetMetadata:
    """What a partition's committed offsets carry as metadata."""

    clock_ms: int = NO_TIMESTAMP
    number: int = 0
    """Of its last journal record."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """Numbers of what the application applied, such as a rule manifest."""

    def encode(self) -> str:
        """As offset metadata."""
        return orjson.dumps({"clock": self.clock_ms, "number": self.number, "versions": dict(self.versions)}).decode()

    @classmethod
    def decode(cls, metadata: str | None) -> "OffsetMetadata":
        """From offset metadata. What another program wrote there decodes as empty metadata."""
        try:
            found = orjson.loads(metadata or "")
            return cls(
                int(found["clock"]), int(found["number"]), {str(k): int(v) for k, v in found["versions"].items()}
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            return cls()


class OffsetRange(NamedTuple):
    """Successive records of one input, first and last offset included."""

    topic: str
    first: int
    last: int


@dataclass(slots=True)
class JournalSegment:
    """A stretch of a partition's history under one set of versions: what was applied, in order, then the clock."""

    number: int
    applied: list[OffsetRange]
    clock_ms: int
    versions: Mapping[str, int]
    closed: bool = False
    silent: bool = False
    """A tick that did nothing. It is written only if something follows it."""


class Journal(Protocol):
    """Turns history into records."""

    def __call__(self, partition: int, segment: JournalSegment) -> Output: ...


@dataclass(slots=True)
class _Partition:
    """One partition number: the next offset of each of its inputs, and its history since the last checkpoint."""

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
    def touched(self) -> bool:
        return any(not segment.silent for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One checkpoint, ready to be written as often as it takes."""

    outputs: Sequence[Output]
    offsets: Sequence[confluent_kafka.TopicPartition]
    membership: object
    applied: Mapping[TopicPartition, int] = field(default_factory=dict)
    """The number of records of the merged inputs that it covers."""
    counts: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    """What the application counted in `Buffer.counts`."""


class BatchOutOfOrder(RuntimeError):
    """A batch before this one was dropped. To continue would lose its records."""


class NoPartitionsOwned(RuntimeError):
    """A record was sent while no partitions are assigned: no transaction would carry it."""


class Buffer:
    """The work since the last checkpoint, under one assignment."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.outputs: list[Output] = []
        self.counts: Counter[tuple[str, ...]] = Counter()
        """The application's counts by name and labels: observed with the checkpoint, dropped if that is lost."""
        self._journal = journal
        self._partitions: dict[int, _Partition] = {}
        self._singles: dict[TopicPartition, int] = {}
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
        singles: Mapping[TopicPartition, int],
    ) -> None:
        """Starts an assignment: inputs' offsets and metadata by partition number; offsets of other partitions."""
        self.drop()
        self._membership = membership
        for partition, (offsets, mark) in partitions.items():
            self._partitions[partition] = _Partition(dict(offsets), mark.number, mark.clock_ms, mark.versions)
        self._singles.update(singles)

    def drop(self) -> None:
        """Drops everything: the partitions are gone, or this work must be undone."""
        self._membership = None
        self._partitions.clear()
        self._singles.clear()
        self._moved.clear()
        self.outputs.clear()
        self.counts.clear()

    def applied(
        self, batch: Batch[Any], pieces: Iterable[OffsetRange], fired: bool, versions: Mapping[str, int]
    ) -> None:
        """Records that `batch` was applied completely. `fired`: a timer did something; a tick alone changes nothing.

        Raises BatchOutOfOrder where a batch was skipped, KeyError where the partition is not owned.
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

    def acked(self, place: TopicPartition, offset: int) -> None:
        """An ordinary agent has finished with the record at `offset`."""
        if place in self._singles:
            self._singles[place] = max(self._singles[place], offset + 1)
            self._moved.add(place)

    def applied_so_far(self) -> dict[int, tuple[int, int]]:
        """By partition number: the records applied under this assignment, and the clock."""
        return {number: (p.records, p.clock_ms) for number, p in self._partitions.items()}

    def emit(self, output: Output) -> None:
        """Adds a record to the open checkpoint; raises NoPartitionsOwned where none is open."""
        if self._membership is None:
            raise NoPartitionsOwned(
                f"a record for {output.topic} was sent before partitions were assigned, or after a loss"
            )
        self.outputs.append(output)

    def drain(self, changelog: Sequence[Output], proof: bool = False) -> Transaction | None:
        """Takes everything out as one checkpoint. Returns None if there is nothing to write; with `proof`, it then
        writes an unchanged offset instead."""
        if self._membership is None:
            return None
        touched = {number: p for number, p in self._partitions.items() if p.touched}
        if not (touched or self._moved or self.outputs or changelog or proof):
            return None
        outputs = [*changelog, *self.outputs]
        applied = {TopicPartition(topic, n): count for n, p in touched.items() for topic, count in p.uncounted.items()}
        offsets = [confluent_kafka.TopicPartition(*place, self._singles[place]) for place in self._moved]
        for number, partition in touched.items():
            outputs.extend(self._history(number, partition))
            offsets += _offsets_of(number, partition)
        counts = dict(self.counts)
        self.outputs.clear()
        self.counts.clear()
        self._moved.clear()
        return Transaction(outputs, offsets or self._any_offset(), self._membership, applied, counts)

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
        """An unchanged offset for what was sent outside of any partition: without one nothing fences it."""
        for number, partition in self._partitions.items():
            return _offsets_of(number, partition)
        return [confluent_kafka.TopicPartition(*place, at) for place, at in self._singles.items()][:1]


def _offsets_of(number: int, partition: _Partition) -> list[confluent_kafka.TopicPartition]:
    metadata = OffsetMetadata(partition.clock_ms, partition.number, partition.versions).encode()
    offsets = partition.next_offsets.items()
    return [confluent_kafka.TopicPartition(topic, number, offset, metadata) for topic, offset in offsets]


def _extend(applied: list[OffsetRange], piece: OffsetRange) -> None:
    if applied and applied[-1].topic == piece.topic:
        applied[-1] = applied[-1]._replace(last=piece.last)
    else:
        applied.append(piece)
