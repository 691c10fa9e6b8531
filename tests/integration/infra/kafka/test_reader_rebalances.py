"""Readers of one group that join and leave: only partitions that move stop, and each record is read."""

from collections.abc import Sequence
from contextlib import ExitStack
from threading import Event, Thread
from typing import Any, ClassVar

import confluent_kafka
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until

from infra.kafka import batch_reader
from infra.kafka.batch_reader import BatchReader
from infra.kafka.connection import Connection
from infra.kafka.progress import Progress
from infra.postgres.database import Database
from infra.service.outages import Outage

pytestmark = pytest.mark.servers

PARTITIONS = 8


class Keeper(BatchReader[tuple[int, int]]):
    """Notes what it is assigned, what is revoked, and what it reads."""

    group: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]

    def __init__(self, connection: Connection, url: str) -> None:
        halt = Event()
        super().__init__(connection, Database(url, Outage("timescale"), halt), halt, session_timeout_ms=3_000)
        self.held: set[int] = set()
        self.joined = False
        self.ever_revoked: set[int] = set()
        self.read: list[tuple[int, int]] = []
        self.thread = Thread(target=self.run)
        self.thread.start()

    def decode(self, record: Message) -> tuple[int, int]:
        return record.partition() or 0, record.offset() or 0

    def write(self, connection: psycopg.Connection[Any], items: Sequence[tuple[int, int]]) -> int:  # noqa: ARG002
        self.read += items
        return 0

    def assigned(self, partitions: list[confluent_kafka.TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        self.held |= {each.partition for each in partitions}
        self.joined = True
        return partitions

    def revoked(self, partitions: list[confluent_kafka.TopicPartition]) -> None:
        moved = {each.partition for each in partitions}
        self.held -= moved
        if not self.halt.is_set():
            self.ever_revoked |= moved

    def end(self) -> None:
        self.halt.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_a_join_stops_only_the_partitions_that_move_and_a_leave_stops_none(
    servers: RealServers, database_url: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"{topic_prefix}numbers"
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    monkeypatch.setattr(Keeper, "group", topic, raising=False)
    monkeypatch.setattr(Keeper, "topics", (topic,), raising=False)
    producer = Producer({"bootstrap.servers": servers.kafka})
    everything = set(range(PARTITIONS))

    with ExitStack() as open_readers:

        def joins() -> Keeper:
            reader = Keeper(Connection(servers.kafka), database_url)
            open_readers.callback(reader.end)
            return reader

        first = joins()
        wait_until(lambda: first.held == everything, "the first reader has every partition")
        second = joins()
        wait_until(lambda: len(first.held) == len(second.held) == PARTITIONS // 2, "both have half of them")
        assert first.held | second.held == everything
        assert first.ever_revoked == second.held, "the partitions that stay are never revoked"

        for partition in everything:
            producer.produce(topic, b"x", partition=partition)
        assert producer.flush(30) == 0
        wait_until(lambda: len(first.read) + len(second.read) == PARTITIONS, "each record is read")
        assert {partition for partition, _ in second.read} == second.held

        second.end()
        wait_until(lambda: first.held == everything, "the first reader holds all partitions again")
        assert len(first.ever_revoked) == PARTITIONS // 2, "and was not interrupted for that"


def test_offsets_that_kafka_did_not_take_are_committed_later_although_no_record_comes(
    servers: RealServers, database_url: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    class RefusedOnce(Consumer):
        def commit(self, **what: Any) -> Any:
            if not refused:
                refused.append(what)
                raise KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
            return super().commit(**what)

    monkeypatch.setattr(batch_reader, "Consumer", RefusedOnce)
    topic = f"{topic_prefix}numbers"
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    monkeypatch.setattr(Keeper, "group", topic, raising=False)
    monkeypatch.setattr(Keeper, "topics", (topic,), raising=False)
    producer = Producer({"bootstrap.servers": servers.kafka})
    producer.produce(topic, b"x")
    assert producer.flush(30) == 0

    with ExitStack() as opened, Progress(servers.kafka) as progress:
        opened.callback(Keeper(Connection(servers.kafka), database_url).end)
        wait_until(lambda: refused, "the first commit is refused")
        wait_until(lambda: progress.lag(topic, [topic]) == 0, "all is committed")
