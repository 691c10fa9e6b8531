"""A reader whose client silently stops fetching, on a real broker: a seek helps, or the process ends.

Such a client cannot be had at will. One whose partition is paused looks the same from outside. The guard counts
checks, so the tests check as often as needed and wait for no time to pass.
"""

from collections.abc import Iterator, Sequence
from threading import Event, Thread
from typing import Any, ClassVar

import confluent_kafka
import psycopg
import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from structlog.testing import capture_logs

from infra.kafka import stalls
from infra.kafka.batch_reader import BatchReader
from infra.kafka.connection import Connection
from infra.kafka.stalls import FAIL_AFTER, SEEK_AFTER, FetchStalled
from infra.postgres.database import Database
from infra.service.outages import Outage

pytestmark = pytest.mark.servers


class Numbers(BatchReader[int]):
    """Keeps the offsets of what it reads, and can lose a partition silently."""

    group: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]

    def __init__(self, connection: Connection, database: Database, halt: Event) -> None:
        super().__init__(connection, database, halt)
        self.read: list[int] = []
        self.pause = False
        self.deaf = False
        self.paused = False

    def decode(self, record: Message) -> int:
        return record.offset() or 0

    def write(self, connection: psycopg.Connection[Any], items: Sequence[int]) -> int:  # noqa: ARG002
        self.read += items
        return 0

    def after_batch(self) -> None:
        if self.pause or self.deaf:
            self.consumer.pause([confluent_kafka.TopicPartition(self.topics[0], 0)])
            self.pause, self.paused = False, True


@pytest.fixture
def reader(
    servers: RealServers, database_url: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Numbers]:
    monkeypatch.setattr(stalls, "CHECK_INTERVAL_S", 0.0)
    topic = f"{topic_prefix}numbers"
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    monkeypatch.setattr(Numbers, "group", topic, raising=False)
    monkeypatch.setattr(Numbers, "topics", (topic,), raising=False)
    halt = Event()
    made = Numbers(Connection(servers.kafka), Database(database_url, Outage("timescale"), halt), halt)
    yield made
    halt.set()


def publish(servers: RealServers, reader: Numbers, count: int) -> None:
    """Records that arrive together: to the reader, a part of them would be an end too."""
    producer = Producer({"bootstrap.servers": servers.kafka, "linger.ms": 10_000})
    for _ in range(count):
        producer.produce(reader.topics[0], b"x", partition=0)
    assert producer.flush(30) == 0


def running(reader: Numbers, errors: list[Exception]) -> Thread:
    def run() -> None:
        try:
            reader.run()
        except Exception as error:  # noqa: BLE001  # the test looks at it
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    return thread


def test_a_partition_that_is_silently_not_fetched_is_read_after_a_seek(servers: RealServers, reader: Numbers) -> None:
    errors: list[Exception] = []
    with capture_logs() as log:
        thread = running(reader, errors)
        publish(servers, reader, 10)
        wait_until(lambda: len(reader.read) == 10, "the first records are read")
        reader.pause = True
        wait_until(lambda: reader.paused, "the partition is paused")
        publish(servers, reader, 10)
        wait_until(lambda: len(reader.read) == 20 or errors, "the others are read too")
        reader.halt.set()
        thread.join(30)
    assert errors == []
    assert reader.read == list(range(20))
    stalled = [line for line in log if line["event"] == "fetch_stalled"]
    assert [(line["at"], line["end"], line["refused"]) for line in stalled] == [(10, 20, None)]


def test_the_reader_ends_if_a_seek_does_not_help(servers: RealServers, reader: Numbers) -> None:
    errors: list[Exception] = []
    with capture_logs() as log:
        thread = running(reader, errors)
        publish(servers, reader, 10)
        wait_until(lambda: len(reader.read) == 10, "the first records are read")
        reader.deaf = True
        wait_until(lambda: reader.paused, "the partition is paused")  # else the reader may have the records by then
        publish(servers, reader, 5)
        thread.join(60)
    assert [type(error) for error in errors] == [FetchStalled]
    assert "even after a seek" in str(errors[0])
    assert len([line for line in log if line["event"] == "fetch_stalled"]) == 1
    assert SEEK_AFTER < FAIL_AFTER


def test_a_quiet_topic_and_an_unread_one_are_not_stalled(servers: RealServers, reader: Numbers) -> None:
    errors: list[Exception] = []
    with capture_logs() as log:
        thread = running(reader, errors)
        publish(servers, reader, 1)
        wait_until(lambda: reader.read, "the record is read")
        assert not thread.join(FAIL_AFTER * 0.2)
        reader.halt.set()
        thread.join(30)
    assert errors == []
    assert not [line for line in log if line["event"] == "fetch_stalled"]
