"""Kafka from the operator's side: topics made and checked, records published with every failure reported."""

import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Self

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__

from infra.kafka.connection import Connection, connect_admin
from infra.kafka.retry import retry
from infra.kafka.security import KafkaSecuritySettings
from schemas.codec import PARTITIONER
from schemas.errors import UserError
from schemas.topics import TOPICS, Topic

TIMEOUT_S = 30.0
ANSWER_S = 1.8
"""Within it a broker is connected to and answers, or a command says that none does: a person waits 3 s at most."""
SHORT_REST = 1_000


class TopicDisagreement(UserError):
    """A topic exists with another partition count than the one asked for."""


class PublishError(UserError):
    """Records that Kafka did not take, with the first reason."""


_VERSIONS_PLEASE = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""ApiVersionsRequest, version 0, which every broker answers at once: its size, key, version, number, and no client."""


class KafkaAway(UserError):
    """No broker answers at the address."""


def require_kafka(kafka: str, *, secured: bool = False) -> None:
    """Raises KafkaAway where no broker answers at any of the addresses within 1.8 s; all of them are asked at once.

    A `secured` one is only connected to; whether it lets the client in is another question.
    """
    addresses, end = kafka.split(","), time.monotonic() + ANSWER_S
    heard: SimpleQueue[bool] = SimpleQueue()
    for address in addresses:
        ask = partial(_ask, address.strip(), secured=secured, end=end, heard=heard)
        Thread(target=ask, daemon=True).start()  # to look up a name may take longer than anybody waits
    with suppress(Empty):
        for _ in addresses:
            if heard.get(timeout=max(0.0, end - time.monotonic())):
                return
    raise KafkaAway(f"Kafka does not answer at {kafka}; `make status` tells what runs, `make up` starts it")


def _ask(address: str, *, secured: bool, end: float, heard: SimpleQueue[bool]) -> None:
    """Puts whether a broker says which requests it takes: a process that hangs takes connections too, and is silent."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), ANSWER_S) as connection:
            connection.settimeout(max(0.001, end - time.monotonic()))
            connection.sendall(b"" if secured else _VERSIONS_PLEASE)
            heard.put(secured or bool(connection.recv(1)))
    except (OSError, ValueError):
        heard.put(False)


def client_config(kafka: str, **more: str | int | float | bool) -> dict[str, str | int | float | bool]:
    """The settings of a client of one command, TLS and SASL included.

    Raises KafkaAway if no address answers, AccessDenied if the broker rejects the client: librdkafka would retry for
    ever.
    """
    connection = Connection(kafka, KafkaSecuritySettings().kafka_security)
    require_kafka(kafka, secured=bool(connection.security))
    if connection.security:
        connect_admin(connection, TIMEOUT_S)
    return {**connection.client(), **more}


def ensure_topics(
    kafka: str, user_partitions: int, replication: int = 1, topics: Iterable[Topic] = TOPICS
) -> list[str]:
    """Creates the topics that are missing and returns their names; raises TopicDisagreement for a wrong count."""
    admin = AdminClient(client_config(kafka))
    known = admin.list_topics(timeout=TIMEOUT_S).topics
    missing = []
    for topic in topics:
        wanted = topic.partitions(user_partitions)
        if topic.name not in known:
            missing.append(NewTopic(topic.name, wanted, replication, config=topic.config()))
        elif (found := len(known[topic.name].partitions)) != wanted:
            raise TopicDisagreement(
                f"topic {topic.name} has {found} partitions, not {wanted}; "
                f"use --partitions {found}, or delete the topic and publish again"
            )
    for made in admin.create_topics(missing).values() if missing else ():
        try:
            made.result(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was quicker
                raise
    return [topic.topic for topic in missing]


class Publisher:
    """A producer that never loses a record silently: leaving the `with` block flushes, and raises PublishError."""

    def __init__(self, kafka: str, **config: str | int | float | bool) -> None:
        settings: dict[str, str | int | float | bool] = {
            "partitioner": PARTITIONER,
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 200_000,
        }
        self._producer = Producer(client_config(kafka, **(settings | config)))
        self._failed: list[str] = []
        self.sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()

    def send(self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None) -> None:
        """Queues one record; waits where the queue is full."""
        where = {} if partition is None else {"partition": partition}
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._delivered, **where)  # type: ignore[arg-type]
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self, timeout_s: float = TIMEOUT_S) -> None:
        """Waits until all is written; raises PublishError where something is not."""
        left = self._producer.flush(timeout_s)
        if left:
            raise PublishError(f"records not written within {timeout_s:g} s: {left}; is Kafka up?")
        if self._failed:
            count, first = len(self._failed), self._failed[0]
            self._failed.clear()
            raise PublishError(f"records refused: {count}, the first with: {first}")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.sent += 1
        else:
            self._failed.append(f"{message.topic()}: {error.str()}")


@dataclass(frozen=True, slots=True)
class Watermarks:
    """The first and the next offset of each partition of a topic."""

    low: dict[int, int]
    high: dict[int, int]


class Progress:
    """How far readers are, asked over kept connections; `close` ends them.

    By a consumer and not by the admin client: right after topics are made, that one's list_offsets gives up on
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
        """The topic's ends as they are now; both empty where there is no such topic."""
        consumer = self._consumer("ebbtide-progress")
        found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        if found.error is not None:
            return Watermarks({}, {})

        def marks_of(partition: int) -> tuple[int, int]:
            where = TopicPartition(topic, partition)
            return retry(lambda: consumer.get_watermark_offsets(where, timeout=TIMEOUT_S), TIMEOUT_S)

        marks = {p: marks_of(p) for p in found.partitions}
        return Watermarks({p: low for p, (low, _) in marks.items()}, {p: high for p, (_, high) in marks.items()})

    def lag(self, group: str, topics: Iterable[str]) -> int:
        """How many offsets of `topics` the group has not committed; see `lags`."""
        return sum(self.lags(group, topics).values())

    def lags(self, group: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
        """How many offsets of each partition of `topics` the group has not committed.

        A transaction ends with a marker that takes an offset and that no reader ever sees, so a short rest is looked
        at: where nothing readable is left in it, the group is at the end.
        """
        spans = {topic: self.ends(topic) for topic in topics}
        asked = [TopicPartition(topic, p) for topic, span in spans.items() for p in span.high]
        consumer = self._consumer(group)
        answer = retry(lambda: consumer.committed(asked, timeout=TIMEOUT_S), TIMEOUT_S) if asked else []
        behind = {}
        for tp in answer:
            span = spans[tp.topic]
            at = max(tp.offset, span.low[tp.partition])
            if at < span.high[tp.partition]:
                behind[tp.topic, tp.partition] = at
        lags = dict.fromkeys(((tp.topic, tp.partition) for tp in answer), 0)
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
            yield from _to_the_ends(consumer, set(starts))
            consumer.unassign()

    def _consumer(self, group: str) -> Consumer:
        if group not in self._consumers:
            self._consumers[group] = Consumer(reader_config(self._kafka, group))
        return self._consumers[group]


def read_all(kafka: str, topic: str, since_ms: int | None = None) -> Iterator[Message]:
    """Each committed record of the topic up to the end it had when asked; from its beginning, or from `since_ms`."""
    with Progress(kafka) as progress:
        ends = progress.ends(topic)
    high = {p: end for p, end in ends.high.items() if end > 0}
    if not high:
        return
    consumer = Consumer(reader_config(kafka, "ebbtide-reader"))
    starts = [TopicPartition(topic, p, ends.low[p]) for p in high]  # half a second sooner than by OFFSET_BEGINNING
    if since_ms is not None:
        asked = [TopicPartition(topic, p, since_ms) for p in high]
        starts = retry(lambda: consumer.offsets_for_times(asked, timeout=TIMEOUT_S), TIMEOUT_S)
    consumer.assign(starts)
    try:
        yield from _to_the_ends(consumer, {(topic, p) for p in high})
    finally:
        consumer.close()


def reader_config(kafka: str, group: str) -> dict[str, str | int | float | bool]:
    """A consumer that reads committed records, says where a partition ends, and commits nothing by itself."""
    more: dict[str, str | int | bool] = {
        "group.id": group,
        "fetch.wait.max.ms": 50,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",  # where the first records were deleted meanwhile
    }
    return client_config(kafka, **more)


def arrived(consumer: Consumer, wait_s: float = 0.2) -> list[Message]:
    """What has come by now; where that is nothing, the first that comes within `wait_s`, and what came with it.

    `consume` alone waits all of its time wherever there are fewer messages than it may return.
    """
    first = consumer.poll(wait_s)
    return [] if first is None else [first, *consumer.consume(1000, 0)]


def _to_the_ends(consumer: Consumer, left: set[tuple[str, int]]) -> Iterator[Message]:
    while left:
        for message in arrived(consumer):
            error, place = message.error(), (message.topic() or "", message.partition() or 0)
            if error is None:
                if place in left:
                    yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(place)
            else:
                raise KafkaException(error)
