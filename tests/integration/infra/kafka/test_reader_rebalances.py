"""Readers of one group that join and leave: only partitions that move stop, and each record is read."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as enumerate_threads
from typing import Any, ClassVar

import confluent_kafka
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.limits import HANGS_AFTER_S
from drivers.own_broker import own_broker
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
BUSY_NO_LONGER_S = 15.0
"""Of these readers: their 4 s, a session of 3 s, and the join of the other one."""


class Keeper(BatchReader[tuple[int, int]]):
    """Notes what it is assigned, what is revoked, and what it reads."""

    group: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]
    poll_within_ms = 4_000

    def __init__(self, connection: Connection, url: str) -> None:
        halt = Event()
        super().__init__(connection, Database(url, Outage("timescale"), halt), halt, session_timeout_ms=3_000)
        self.held: set[int] = set()
        self.joined = False
        self.ever_revoked: set[int] = set()
        self.may_write, self.may_join = Event(), Event()
        self.may_write.set()
        self.may_join.set()
        self.read: list[tuple[int, int]] = []
        self.thread = Thread(target=self.run)
        self.thread.start()

    def decode(self, record: Message) -> tuple[int, int]:
        return record.partition() or 0, record.offset() or 0

    def write(self, connection: psycopg.Connection[Any], items: Sequence[tuple[int, int]]) -> int:  # noqa: ARG002
        self.read += items
        self.may_write.wait(HANGS_AFTER_S)
        return 0

    def assigned(self, partitions: list[confluent_kafka.TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        self.held |= {each.partition for each in partitions}
        self.joined = True
        self.may_join.wait(HANGS_AFTER_S)
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


@pytest.mark.parametrize("busy_with", ["may_write", "may_join"])
def test_a_reader_that_is_busy_for_long_leaves_its_partitions_to_others_and_comes_back(
    servers: RealServers, database_url: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, busy_with: str
) -> None:
    topic = f"{topic_prefix}numbers"
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    monkeypatch.setattr(Keeper, "group", topic, raising=False)
    monkeypatch.setattr(Keeper, "topics", (topic,), raising=False)
    producer = Producer({"bootstrap.servers": servers.kafka})

    def publish() -> None:
        for partition in range(PARTITIONS):
            producer.produce(topic, b"x", partition=partition)
        assert producer.flush(30) == 0

    with ExitStack() as open_readers:
        readers: list[Keeper] = []

        def joins() -> Keeper:
            reader = Keeper(Connection(servers.kafka), database_url)
            open_readers.callback(reader.end)
            readers.append(reader)
            return reader

        busy = joins()
        getattr(busy, busy_with).clear()
        open_readers.callback(lambda: [each.set() for each in (busy.may_write, busy.may_join)])
        publish()
        wait_until(lambda: busy.read if busy_with == "may_write" else busy.joined, "it is busy")
        other = joins()
        wait_until(lambda: len({each for each, _ in other.read}) == PARTITIONS, "the other reads all", BUSY_NO_LONGER_S)

        getattr(busy, busy_with).set()
        wait_until(lambda: len(other.held) == PARTITIONS // 2, "the first one is back")
        wait_until(lambda: busy.held | other.held == set(range(PARTITIONS)), "each partition has a reader")
        publish()
        wait_until(lambda: {(p, 1) for p in range(PARTITIONS)} <= {*busy.read, *other.read}, "each record is read")


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


def test_a_reader_whose_commit_gets_no_answer_ends_when_it_is_told_to(
    servers: RealServers, database_url: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"{topic_prefix}numbers"
    monkeypatch.setattr(Keeper, "group", topic, raising=False)
    monkeypatch.setattr(Keeper, "topics", (topic,), raising=False)
    with own_broker(servers, tmp_path) as broker:
        admin = AdminClient({"bootstrap.servers": broker.address})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        monkeypatch.setattr(Keeper, "written", lambda _self, _items: broker.freeze(), raising=False)
        reader = Keeper(Connection(broker.address), database_url)
        try:
            wait_until(lambda: reader.joined, "the reader has joined")
            producer = Producer({"bootstrap.servers": broker.address})
            producer.produce(topic, b"x")
            producer.flush(5)
            wait_until(lambda: reader.read, "the record is written, and the broker freezes")
            reader.halt.set()
            reader.thread.join(5)
            assert not reader.thread.is_alive()
        finally:
            broker.thaw()
            reader.end()
            closing = [thread for thread in enumerate_threads() if thread.name == f"close-{topic}"]
            wait_until(lambda: not any(thread.is_alive() for thread in closing), "the group is left")
