"""How far consumer groups have read, for commands that show it or wait for it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Self

from confluent_kafka import Consumer, Message, TopicPartition

from infra.kafka.client import TIMEOUT_S
from infra.kafka.retry import retry
from infra.kafka.topic_reader import Watermarks, read_to_ends, reader_config, watermarks

SHORT_REST = 1_000
"""Up to so many offsets, `Progress.lags` reads the records that are left to count them."""


class Progress:
    """How far groups have read. It keeps its connections; `close` ends them.

    It uses a consumer and not the admin client: right after topics are created, that one's list_offsets gives up on
    NOT_LEADER_FOR_PARTITION, and its list_consumer_group_offsets crashed the process (confluent-kafka 2.16.1).
    """

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._consumers: dict[str, Consumer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        for consumer in self._consumers.values():
            consumer.close()
        self._consumers.clear()

    def ends(self, topic: str) -> Watermarks:
        """The topic's first and next offsets as they are now; both empty if the topic does not exist."""
        return watermarks(self._consumer("ebbtide-progress"), topic)

    def lag(self, group: str, topics: Iterable[str]) -> int:
        """How many offsets of `topics` the group has not committed; see `lags`."""
        return sum(self.lags(group, topics).values())

    def lags(self, group: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
        """How many offsets of each partition of `topics` the group has not committed.

        A transaction ends with a marker, which takes an offset and which no reader ever sees. So a short rest is read:
        if it holds no record, the group is at the end.
        """
        spans = {topic: self.ends(topic) for topic in topics}
        wanted = [TopicPartition(topic, p) for topic, span in spans.items() for p in span.high]
        consumer = self._consumer(group)
        committed = retry(lambda: consumer.committed(wanted, timeout=TIMEOUT_S), TIMEOUT_S) if wanted else []
        behind = {}
        for tp in committed:
            span = spans[tp.topic]
            at = max(tp.offset, span.low[tp.partition])
            if at < span.high[tp.partition]:
                behind[tp.topic, tp.partition] = at
        lags = dict.fromkeys(((tp.topic, tp.partition) for tp in committed), 0)
        rest = {(topic, p): spans[topic].high[p] - at for (topic, p), at in behind.items()}
        if sum(rest.values()) > SHORT_REST:
            return lags | rest
        readable = Counter((message.topic() or "", message.partition() or 0) for message in self._readable(behind))
        return lags | readable

    def _readable(self, starts: dict[tuple[str, int], int]) -> Iterator[Message]:
        """The committed records from these offsets to the ends of their partitions."""
        if starts:
            consumer = self._consumer("ebbtide-progress")
            consumer.assign([TopicPartition(topic, p, at) for (topic, p), at in starts.items()])
            yield from read_to_ends(consumer, set(starts))
            consumer.unassign()

    def _consumer(self, group: str) -> Consumer:
        if group not in self._consumers:
            self._consumers[group] = Consumer(reader_config(self._kafka, group))
        return self._consumers[group]
