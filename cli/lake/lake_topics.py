"""Reads what a lake has not exported yet: the records of `decisions` and `outcomes` from its offsets on."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition

from cli.lake.lake_folder import LakeProblem, Offsets
from infra.kafka.topic_reader import Watermarks, read_to_ends, reader_config, watermarks
from schemas.codec import DecodeError, decode
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.topics import DECISIONS, OUTCOMES

TOGETHER = 100_000
"""Records in one commit of the lake."""
_MODELS: dict[str, type[Decision] | type[Outcome]] = {DECISIONS.name: Decision, OUTCOMES.name: Outcome}


@dataclass(slots=True)
class TopicBatch:
    """Facts, the offsets after them, and how many records could not be read."""

    facts: list[Decision | Outcome] = field(default_factory=list)
    offsets: Offsets = field(default_factory=dict)
    unreadable: int = 0
    records: int = 0


class PartitionEnds(NamedTuple):
    """The first and the next offset of a partition."""

    topic: str
    partition: int
    low: int
    high: int

    def begin(self, at: int | None, *, accept_gaps: bool) -> int:
        """Where an export goes on whose next offset is `at`, None for a first one. Raises LakeProblem."""
        place = f"topic {self.topic}, partition {self.partition}"
        if at is not None and at > self.high:
            raise LakeProblem(
                f"{place}: it ends at {self.high}, before {at}, the next to export; it was made anew: "
                "export to a new folder"
            )
        if at is not None and at < self.low and not accept_gaps:
            raise LakeProblem(
                f"{place}: {self.low - at:,} offsets were deleted before they were exported; --accept-gaps goes on "
                "without them"
            )
        return max(self.low, at or 0)


class LakeTopics:
    """The topics of a lake, from its offsets to their ends at the time of the call."""

    def __init__(self, kafka: str, topics: Sequence[str], offsets: Offsets, *, accept_gaps: bool) -> None:
        """Raises LakeProblem where records are gone before they were exported, unless gaps are accepted."""
        self._consumer = Consumer(reader_config(kafka, "ebbtide-lake"))
        self._offsets = {topic: dict(each) for topic, each in offsets.items()}
        self._left: set[tuple[str, int]] = set()
        self.total = 0
        """Offsets to read: records, and the markers of transactions."""
        try:
            for topic in topics:
                self._begin(topic, watermarks(self._consumer, topic), accept_gaps=accept_gaps)
        except BaseException:
            self._consumer.close()
            raise

    def _begin(self, topic: str, span: Watermarks, *, accept_gaps: bool) -> None:
        next_offsets = self._offsets.setdefault(topic, {})
        for partition, high in span.high.items():
            ends = PartitionEnds(topic, partition, span.low[partition], high)
            begin = next_offsets[partition] = ends.begin(next_offsets.get(partition), accept_gaps=accept_gaps)
            if begin < high:
                self._left.add((topic, partition))
                self.total += high - begin

    def batches(self) -> Iterator[TopicBatch]:
        """The facts in batches of at most TOGETHER records; the last may have none, and only offsets."""
        with closing(self._consumer):
            starts = [TopicPartition(topic, p, self._offsets[topic][p]) for topic, p in sorted(self._left)]
            if not starts:
                return
            self._consumer.assign(starts)
            batch, ends = TopicBatch(), dict[tuple[str, int], int]()
            for message in read_to_ends(self._consumer, self._left, ends):
                self._take(message, batch)
                if batch.records >= TOGETHER:
                    yield self._ended(batch)
                    batch = TopicBatch()
            for (topic, partition), end in ends.items():  # behind markers too, which retention deletes with records
                self._offsets[topic][partition] = end
            yield self._ended(batch)

    def _take(self, message: Message, batch: TopicBatch) -> None:
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        batch.records += 1
        self._offsets[topic][partition] = offset + 1
        try:
            batch.facts.append(decode(_MODELS[topic], message.value()))
        except DecodeError:
            batch.unreadable += 1

    def _ended(self, batch: TopicBatch) -> TopicBatch:
        batch.offsets = {topic: dict(each) for topic, each in self._offsets.items()}
        return batch
