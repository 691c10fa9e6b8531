"""Finds partitions that the client silently stopped fetching, and makes it fetch them again.

After a broker was killed and restarted, confluent-kafka 2.16 was seen to fetch nothing from a partition that it holds,
for ever and without an error (librdkafka's issues 4492 and 5153 are of this kind). So positions are compared with the
end offsets that a read_committed reader can reach. Only partitions that did not move since the last check are compared.
Checks are counted, not seconds, because time also passes for a stopped process.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import confluent_kafka
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message

from infra.kafka.observer import ReaderObserver
from infra.kafka.offsets import EndOffsets
from infra.kafka.topics import TopicPartition

CHECK_INTERVAL_S = 3.0
SEEK_AFTER = 5
"""When this many checks in a row find a partition stalled, the client seeks to its position."""
FAIL_AFTER = 25
"""After this many the process ends, because a new process has a new client. Longer than the minute after which
librdkafka gives up a request on a connection that died unnoticed, and sends it again."""
ENDS_TIMEOUT_S = 1.0
"""For the request of a check, which takes at most three times as long: a reader has five seconds to stop."""
COMMITTED_TIMEOUT_S = 2.0


class StallCounter:
    """Counts the checks in a row that find a partition at one position before its end. Pure."""

    def __init__(self) -> None:
        self._positions: Mapping[TopicPartition, int] = {}
        self._counts: Mapping[TopicPartition, int] = {}

    def reset(self) -> None:
        """Start all counts again."""
        self._positions, self._counts = {}, {}

    def unmoved(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The positions that have not changed since the last check. The others start their count again."""
        before, self._positions = self._positions, positions
        return {tp: at for tp, at in positions.items() if before.get(tp) == at}

    def count(
        self, unmoved: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """How many checks in a row have found each partition stalled. One without a known end is not stalled."""
        self._counts = {
            tp: self._counts.get(tp, 0) + 1 for tp, position in unmoved.items() if tp in ends and ends[tp] > position
        }
        return dict(self._counts)


class FetchStalled(RuntimeError):
    """The client fetches nothing from a partition, even after a seek: only another client helps."""


class StallGuard:
    """Guards the partitions of one consumer. Used by the thread that owns the consumer."""

    def __init__(
        self,
        consumer: Consumer,
        ends: EndOffsets,
        clock: Callable[[], float] = time.monotonic,
        observer: ReaderObserver | None = None,
    ) -> None:
        self._consumer = consumer
        self._ends = ends
        self._observer = observer or ReaderObserver()
        self._clock = clock
        self._counter = StallCounter()
        self._positions: dict[TopicPartition, int] = {}
        """Negative if the partition has returned nothing yet and starts at the committed offset or the beginning."""
        self._excused: set[TopicPartition] = set()
        """Partitions that had an error since the last check."""
        self._drained = False
        """Whether a call since the last check returned all that the client had."""
        self._check_at = clock() + CHECK_INTERVAL_S
        self._log = structlog.get_logger("infra.kafka.stalls")

    def assigned(self, partitions: Iterable[confluent_kafka.TopicPartition]) -> None:
        """Guard these partitions too, from the offsets at which the consumer starts."""
        self._counter.reset()
        self._positions |= {TopicPartition(p.topic, p.partition): p.offset for p in partitions}

    def revoked(self, partitions: Iterable[confluent_kafka.TopicPartition]) -> None:
        """Stop guarding these partitions."""
        for partition in partitions:
            self._positions.pop(TopicPartition(partition.topic, partition.partition), None)

    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each guarded partition, without those that returned nothing yet. In any thread."""
        return {tp: at for tp, at in self._positions.copy().items() if at >= 0}

    def consumed(self, messages: Sequence[Message], limit: int) -> None:
        """Note what a call of `consume` with this limit returned, errors too, and check when it is time.

        Call it when the messages are processed. Raises FetchStalled.
        """
        self._drained |= len(messages) < limit
        for message in messages:
            self._note(message)
        if self._clock() >= self._check_at:
            self.check()
            self._check_at = self._clock() + CHECK_INTERVAL_S

    def _note(self, message: Message) -> None:
        tp = TopicPartition(message.topic() or "", message.partition() or 0)
        if tp not in self._positions:
            return
        error, offset = message.error(), message.offset() or 0
        if error is None:
            self._positions[tp] = max(self._positions[tp], offset + 1)
        elif error.code() == KafkaError._PARTITION_EOF:  # behind markers and aborted records, which no call returns
            self._positions[tp] = max(self._positions[tp], offset)
        else:
            self._excused.add(tp)

    def check(self) -> None:
        """Checks once. Seeks if a partition is stalled; raises FetchStalled if that did not help."""
        positions = {tp: at for tp, at in self._positions.items() if tp not in self._excused}
        drained, self._drained, self._excused = self._drained, False, set()
        if not drained:  # records may wait in the client behind those of other partitions
            self._counter.reset()
            return
        unmoved = self._counter.unmoved(positions)
        ends = self._ends.last_stable(list(unmoved)) if unmoved else {}
        for tp, count in self._counter.count(unmoved, ends).items():
            if count == SEEK_AFTER:
                self._seek(tp, unmoved[tp], ends[tp])
            elif count >= FAIL_AFTER:
                raise FetchStalled(
                    f"{tp} is at offset {unmoved[tp]} of {ends[tp]}, and the client fetches nothing from it, "
                    "even after a seek; start the process again"
                )

    def _seek(self, tp: TopicPartition, position: int, end: int) -> None:
        """Drop what the client holds of the partition and fetch it from its position: nothing is lost or read twice."""
        refused = None
        try:
            start = self._start(tp, position)
            self._consumer.resume([confluent_kafka.TopicPartition(*tp)])  # a seek alone does not wake a paused one
            self._consumer.seek(confluent_kafka.TopicPartition(*tp, start))
        except KafkaException as exception:  # the checks continue, and end the process
            refused = str(exception)
        self._log.warning("fetch_stalled", place=str(tp), at=position, end=end, refused=refused)
        self._observer.stalled(tp)

    def _start(self, tp: TopicPartition, position: int) -> int:
        """Where to fetch from, also if a partition has returned nothing yet."""
        if position >= 0 or position == OFFSET_BEGINNING:
            return position
        [committed] = self._consumer.committed([confluent_kafka.TopicPartition(*tp)], COMMITTED_TIMEOUT_S)
        return committed.offset if committed.offset >= 0 else OFFSET_BEGINNING
