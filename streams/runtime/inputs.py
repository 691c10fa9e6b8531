"""The records on their way to the application: the merged inputs by partition number, other topics record by record.

Runs in the event loop, between the intake and the application. Feeds the partition clocks with what arrived, requests
the inputs' ends from the broker, and tells the intake which partitions others wait for.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from infra.kafka.offsets import EndOffsets
from infra.kafka.topics import TopicPartition
from streams.runtime.checkpoint import OffsetMetadata
from streams.runtime.clock import Batch, EndQuery, PartitionClock
from streams.runtime.ending import end_for_repair
from streams.runtime.intake import Arrival

END_QUERY_S = 0.02
"""The time between two requests for ends. It adds up to this much latency if a partition has idle inputs."""
TICK_S = 0.5
"""The time between two ticks of an idle partition. With the commit, a timer fires within a second."""
RECORDS_AT_ONCE = 500
"""How many records of another topic's partition are handed over at once."""


class Inputs:
    """`topics` are merged by partition number; batches are keyed by the first of them."""

    def __init__(
        self, topics: tuple[str, ...], ends: EndOffsets, batch_records: int, weights: Mapping[str, int] | None = None
    ) -> None:
        self._topics = topics
        self._weights = weights
        self._ends = ends
        self._batch_records = batch_records
        self._clocks: dict[int, PartitionClock[Message]] = {}
        self._other_records: defaultdict[TopicPartition, list[Message]] = defaultdict(list)
        self._ticked_s: dict[int, float] = {}
        self._known_ends: dict[TopicPartition, int] = {}
        self._starving: frozenset[TopicPartition] = frozenset()
        self._generation = 0
        self._pool = ThreadPoolExecutor(1, "ends")

    def begin(self, partitions: Mapping[int, tuple[Mapping[str, int], OffsetMetadata]]) -> None:
        """Starts new partitions: by number, the offset of each input and the metadata with the clock."""
        self.drop()
        for number, (offsets, metadata) in partitions.items():
            positions = {topic: offsets[topic] for topic in self._topics}
            self._clocks[number] = PartitionClock(number, positions, metadata.clock_ms, self._weights)

    def drop(self) -> None:
        """Drops everything that was not taken."""
        self._generation += 1
        self._clocks.clear()
        self._other_records.clear()
        self._ticked_s.clear()
        self._known_ends.clear()
        self._starving = frozenset()

    def known_end(self, partition: TopicPartition) -> int:
        """The partition's last known end; 0 if unknown."""
        return self._known_ends.get(partition, 0)

    def lags(self, ends: Mapping[TopicPartition, int], applied: Mapping[int, int]) -> dict[int, int]:
        """The lag of each partition number whose inputs' `ends` are all known. `applied` counts records."""
        found = {}
        for number, clock in self._clocks.items():
            tps = [TopicPartition(topic, number) for topic in self._topics]
            here = {tp.topic: ends[tp] for tp in tps if tp in ends}
            if len(here) == len(self._topics) and number in applied:
                found[number] = clock.lag(here, applied[number])
        return found

    def take(self, active: Set[TopicPartition]) -> dict[TopicPartition, list[Batch[Message] | Message]]:
        """What is ready in the partitions that the application takes records of."""
        taken: dict[TopicPartition, list[Batch[Message] | Message]] = {}
        for number, clock in self._clocks.items():
            tp = TopicPartition(self._topics[0], number)
            if tp in active and (batch := clock.take(self._batch_records)) is not None:
                taken[tp] = [batch]
        for tp, records in self._other_records.items():
            if records and tp in active:
                taken[tp] = list(islice(records, RECORDS_AT_ONCE))
                del records[:RECORDS_AT_ONCE]
        return taken

    def accept(self, arrival: Arrival) -> None:
        """Adds records that arrived. Ends the process if their timestamps cannot order the inputs."""
        partition, records = arrival.partition, arrival.records
        if partition.topic not in self._topics:
            self._other_records[partition] += records
            return
        for record in records[:1] + records[-1:]:
            if record.timestamp()[0] != TIMESTAMP_LOG_APPEND_TIME:
                end_for_repair(
                    f"{partition}@{record.offset()} has its publisher's time, which cannot order inputs: set "
                    f"message.timestamp.type=LogAppendTime on {partition.topic}, and move the group behind such records"
                )
        clock = self._clocks.get(partition.partition)
        if clock is not None:
            clock.push(partition.topic, records, [record.timestamp()[1] for record in records], arrival.position)

    def starving(self) -> frozenset[TopicPartition] | None:
        """The partitions that others wait for; None if they are the same as at the last call."""
        starving = frozenset(
            TopicPartition(topic, number) for number, clock in self._clocks.items() for topic in clock.starving()
        )
        if starving == self._starving:
            return None
        self._starving = starving
        return starving

    async def request_ends(self, should_stop: Callable[[], bool], received: asyncio.Event) -> None:
        """Requests the ends that the clocks need, until `should_stop`; sets `received` after each answer."""
        loop = asyncio.get_running_loop()
        while not should_stop():
            queries = self._end_queries()
            if queries:
                generation = self._generation
                partitions = [TopicPartition(topic, number) for number, q in queries.items() for topic in q.topics]
                ends = await loop.run_in_executor(self._pool, self._ends.last_stable, partitions)
                if generation == self._generation:
                    self._receive(queries, ends)
                    received.set()
            await asyncio.sleep(END_QUERY_S)

    def _end_queries(self) -> dict[int, EndQuery]:
        now_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        queries = {}
        for number, clock in self._clocks.items():
            query = clock.end_query(now_ms)
            if query is None:
                continue
            if query.tick:
                if now_s - self._ticked_s.get(number, 0.0) < TICK_S:
                    continue
                self._ticked_s[number] = now_s
            queries[number] = query
        return queries

    def _receive(self, queries: Mapping[int, EndQuery], ends: Mapping[TopicPartition, int]) -> None:
        self._known_ends.update(ends)
        for number, query in queries.items():
            tps = [TopicPartition(topic, number) for topic in query.topics]
            here = {tp.topic: ends[tp] for tp in tps if tp in ends}
            self._clocks[number].receive_ends(query, here)

    def close(self) -> None:
        """Ends the request thread."""
        self._pool.shutdown(wait=False)


def by_number(partitions: Iterable[TopicPartition], topics: tuple[str, ...]) -> dict[int, set[str]]:
    """The merged inputs among `partitions`, by partition number."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for tp in partitions:
        if tp.topic in topics:
            found[tp.partition].add(tp.topic)
    return dict(found)
