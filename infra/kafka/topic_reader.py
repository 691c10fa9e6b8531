"""Reads a topic from its beginning to its end, for commands. Readers that follow a topic are in `batch_reader`."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.kafka.client import TIMEOUT_S, client_config
from infra.kafka.retry import retry
from schemas.codec import partition_for


@dataclass(frozen=True, slots=True)
class Watermarks:
    """The first and the next offset of each partition of a topic."""

    low: dict[int, int]
    high: dict[int, int]


def watermarks(consumer: Consumer, topic: str) -> Watermarks:
    """The offsets as they are now; both empty if the topic does not exist."""
    found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if found.error is not None:
        return Watermarks({}, {})

    def offsets_of(partition: int) -> tuple[int, int]:
        where = TopicPartition(topic, partition)
        return retry(lambda: consumer.get_watermark_offsets(where, timeout=TIMEOUT_S), TIMEOUT_S)

    offsets = {p: offsets_of(p) for p in found.partitions}
    return Watermarks({p: low for p, (low, _) in offsets.items()}, {p: high for p, (_, high) in offsets.items()})


def read_all(
    kafka: str, topic: str, since_ms: int | None = None, keys: Collection[bytes] | None = None
) -> Iterator[Message]:
    """Each committed record of the topic, from its beginning or from `since_ms`, up to the end at the time of the
    call. With `keys`, only the partitions in which records with these keys belong."""
    consumer = Consumer(reader_config(kafka, "ebbtide-reader"))
    try:
        ends = watermarks(consumer, topic)
        filled = [p for p, end in ends.high.items() if end > 0]
        if keys is not None and filled:
            wanted_by = {partition_for(key, len(ends.high)) for key in keys}
            filled = [p for p in filled if p in wanted_by]
        if not filled:
            return
        starts = [TopicPartition(topic, p, ends.low[p]) for p in filled]  # half a second faster than OFFSET_BEGINNING
        if since_ms is not None:
            wanted = [TopicPartition(topic, p, since_ms) for p in filled]
            starts = retry(lambda: consumer.offsets_for_times(wanted, timeout=TIMEOUT_S), TIMEOUT_S)
        consumer.assign(starts)
        yield from read_to_ends(consumer, {(topic, p) for p in filled})
    finally:
        consumer.close()


def read_partition(kafka: str, topic: str, partition: int) -> Iterator[Message]:
    """Each committed record of one partition, from its beginning up to the end at the time of the call; none if there
    is no such partition."""
    consumer = Consumer(reader_config(kafka, "ebbtide-reader"))
    try:
        ends = watermarks(consumer, topic)
        if ends.high.get(partition, 0) > 0:
            consumer.assign([TopicPartition(topic, partition, ends.low[partition])])
            yield from read_to_ends(consumer, {(topic, partition)})
    finally:
        consumer.close()


def partition_count(kafka: str, topic: str) -> int:
    """How many partitions the topic has; 0 if it does not exist."""
    consumer = Consumer(reader_config(kafka, "ebbtide-reader"))
    try:
        found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        return 0 if found.error is not None else len(found.partitions)
    finally:
        consumer.close()


def reader_config(kafka: str, group: str) -> dict[str, str | int | float | bool]:
    """A consumer that reads committed records, reports the end of each partition, and commits nothing by itself."""
    more: dict[str, str | int | bool] = {
        "group.id": group,
        "fetch.wait.max.ms": 50,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",  # if the first records were deleted meanwhile
    }
    return client_config(kafka, **more)


def arrived(consumer: Consumer, wait_s: float = 0.2) -> list[Message]:
    """The messages that the client already has; otherwise the first within `wait_s`, and those that came with it.

    `consume` always waits its whole time if there are fewer messages than it may return.
    """
    first = consumer.poll(wait_s)
    return [] if first is None else [first, *consumer.consume(1000, 0)]


def read_to_ends(
    consumer: Consumer, left: set[tuple[str, int]], ends: dict[tuple[str, int], int] | None = None
) -> Iterator[Message]:
    """The records of these assigned partitions, until each has reported its end. Raises KafkaException.

    `ends` gets the next offset behind each end, which may be that of no record: a transaction ends with a marker.
    """
    while left:
        for message in arrived(consumer):
            error, place = message.error(), (message.topic() or "", message.partition() or 0)
            if error is None:
                if place in left:
                    yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(place)
                if ends is not None:
                    ends[place] = message.offset() or 0
            else:
                raise KafkaException(error)
