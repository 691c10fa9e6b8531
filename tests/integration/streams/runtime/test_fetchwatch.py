"""A client that silently fetches nothing any more, on a real broker: it fetches again, and disturbs no other partition.

Such a client cannot be produced at will. One whose partition was paused without the intake's knowledge looks the same
from outside. The watch counts checks, so the tests check as often as needed, and do not wait for time to pass.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.own_broker import own_broker
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from structlog.testing import capture_logs

from infra.kafka.connection import Connection
from infra.kafka.offsets import EndOffsets
from infra.kafka.stalls import FAIL_AFTER, SEEK_AFTER
from infra.kafka.topics import TopicPartition
from streams.runtime.fetchwatch import FetchWatch
from streams.runtime.intake import Intake
from streams.runtime.intake_settings import IntakeSettings

pytestmark = pytest.mark.servers

RECORDS = 100


class WatchedIntake:
    """An intake of a topic with one partition and an empty second one, and the watch of it."""

    def __init__(self, kafka: str, name: str, **settings: Any) -> None:
        self.kafka, self.place, self.other = kafka, TopicPartition(f"{name}rows", 0), TopicPartition(f"{name}none", 0)
        self.places: frozenset[TopicPartition] = frozenset()
        self.offsets: list[int] = []
        self.stalled: list[TopicPartition] = []
        self.ended: list[str] = []
        self.pauses_at: int | None = None
        self.intake = Intake(Connection(kafka), IntakeSettings(name, batch=10, **settings), self)
        self.ends = EndOffsets(AdminClient(Connection(kafka).client()))
        self.watch = FetchWatch(self.intake, self.ends, self.stalled.append, self.ended.append)

    # The intake's listener.

    def assigned(self, places: frozenset[TopicPartition], membership: object) -> None:  # noqa: ARG002
        self.places = places

    def revoked(self, places: frozenset[TopicPartition], lost: bool) -> None:
        pass

    def arrived(self) -> None:
        """In the consume thread: may pause the partition behind the intake's back while more of it is at hand."""
        if self.pauses_at is not None and self.intake.held >= self.pauses_at:
            self.intake._consumer.pause([confluent_kafka.TopicPartition(*self.place)])
            self.pauses_at = None

    def failed(self, reason: str) -> None:
        raise AssertionError(reason)

    # What tests do.

    def write_and_pause(self) -> int:
        """Writes records, most of which are silently not fetched; returns the position."""
        self.pauses_at = 30
        self.write()
        wait_until(lambda: self.pauses_at is None and self.end() == RECORDS, "it is paused in the midst of the records")
        self.check()  # from here on it is known where it stands
        assert self.stands_at() < RECORDS
        return self.stands_at()

    def write(self, count: int = RECORDS) -> None:
        producer = Producer({"bootstrap.servers": self.kafka})
        for _ in range(count):
            producer.produce(self.place.topic, b"x", partition=0)
        producer.flush(30)

    def check(self, times: int = 1) -> None:
        for _ in range(times):
            asyncio.run(self.watch.check())

    def take(self) -> None:
        for arrival in self.intake.take():
            self.offsets += [record.offset() or 0 for record in arrival.records]
            self.intake.release(arrival.partition, len(arrival.records))

    def takes_all(self, count: int) -> bool:
        self.take()
        return len(self.offsets) >= count

    def stands_at(self) -> int:
        return self.intake.call(lambda: self.intake._positions[self.place]).result(60)

    def end(self) -> int:
        return self.ends.last_stable([self.place]).get(self.place, -1)


@contextmanager
def reading(kafka: str, name: str, **settings: Any) -> Iterator[WatchedIntake]:
    made = WatchedIntake(kafka, name, **settings)
    admin = AdminClient({"bootstrap.servers": kafka})
    topics = [made.place.topic, made.other.topic]
    for future in admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values():
        future.result(30)
    made.intake.start()
    made.intake.subscribe(topics)
    wait_until(lambda: made.places, "it is assigned")
    wait_until(lambda: len(made.ends.last_stable(made.places)) == 2, "where they end is known")
    made.intake.start_at(dict.fromkeys(made.places, 0)).result(60)
    yield made
    made.intake.stop()
    made.intake.join(60)


@pytest.fixture
def rows(servers: RealServers, topic_prefix: str) -> Iterator[WatchedIntake]:
    with reading(servers.kafka, topic_prefix) as made:
        yield made


def test_a_stalled_partition_is_fetched_again_without_loss_or_duplicates(rows: WatchedIntake) -> None:
    rows.write_and_pause()
    with capture_logs() as log:
        rows.check(SEEK_AFTER)
    assert rows.stalled == [rows.place]
    assert [(line["event"], line["place"], line["end"], line["refused"]) for line in log] == [
        ("fetch_stalled", str(rows.place), RECORDS, None)
    ]
    rows.write()
    wait_until(lambda: rows.takes_all(2 * RECORDS), "all of it comes")
    assert rows.offsets == list(range(2 * RECORDS))
    rows.check(FAIL_AFTER)
    assert (len(rows.stalled), rows.ended) == (1, [])


def test_a_partition_that_stays_stalled_ends_the_process(rows: WatchedIntake) -> None:
    at = rows.write_and_pause()
    rows.check(SEEK_AFTER - 1)
    assert not rows.stalled
    rows.intake.refetch = lambda *_: rows.intake.call(lambda: True)  # type: ignore[method-assign]
    rows.check(FAIL_AFTER - SEEK_AFTER)
    assert (rows.stalled, rows.ended) == ([rows.place], [])
    rows.check()
    assert rows.ended == [
        f"{rows.place} is at offset {at} of {RECORDS}, and the client fetches nothing from it, even after a seek"
    ]


def test_a_client_that_refuses_the_seek_ends_the_process_too(rows: WatchedIntake) -> None:
    rows.intake.call(lambda: rows.intake._consumer.unassign()).result(60)
    rows.write()
    with capture_logs() as log:
        rows.check(FAIL_AFTER + 1)
    assert "Erroneous state" in log[0]["refused"]
    assert len(rows.ended) == 1


def test_a_partition_that_moved_meanwhile_is_not_fetched_again(rows: WatchedIntake) -> None:
    rows.write()
    wait_until(lambda: rows.takes_all(RECORDS), "it is read")
    assert not rows.intake.refetch(rows.place, RECORDS - 1).result(60)
    assert rows.intake.refetch(rows.place, RECORDS).result(60)
    rows.write()
    wait_until(lambda: rows.takes_all(2 * RECORDS), "the rest is read")
    assert rows.offsets == list(range(2 * RECORDS))


def test_aborted_records_markers_and_open_transactions_do_not_count_as_stalled(rows: WatchedIntake) -> None:
    producer = Producer({"bootstrap.servers": rows.kafka, "transactional.id": rows.place.topic})
    producer.init_transactions(30)
    for ends in (producer.commit_transaction, producer.abort_transaction, lambda _: producer.flush(30)):
        producer.begin_transaction()
        for _ in range(10):
            producer.produce(rows.place.topic, b"x", partition=0)
        producer.flush(30)
        ends(30)
    wait_until(lambda: rows.end() == 22 and rows.stands_at() == 22, "it stands behind the second marker")
    rows.check(FAIL_AFTER + 1)
    rows.take()
    assert rows.offsets == list(range(10))
    assert (rows.stalled, rows.ended) == ([], [])
    producer.abort_transaction(30)
    wait_until(lambda: rows.stands_at() == 33, "it stands behind the third")


def test_a_full_intake_and_a_paused_partition_do_not_count_as_stalled(servers: RealServers, topic_prefix: str) -> None:
    with reading(servers.kafka, topic_prefix, held_records=20) as rows:
        rows.write()
        wait_until(lambda: rows.intake.held >= 20 and rows.end() == RECORDS, "it is full")
        rows.check(FAIL_AFTER + 1)
        rows.intake.starve(frozenset({rows.other}))
        wait_until(lambda: rows.intake.paused == {rows.place}, "it is paused in favour of the other")
        rows.check(FAIL_AFTER + 1)
        assert not rows.intake.refetch(rows.place, rows.stands_at()).result(60)
        assert (rows.stalled, rows.ended, rows.intake.paused) == ([], [], {rows.place})
        wait_until(lambda: rows.takes_all(RECORDS), "all of it comes")
    assert rows.offsets == list(range(RECORDS))


def test_a_broker_that_does_not_answer_restarts_the_count(
    servers: RealServers, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_broker(servers, tmp_path) as broker, reading(broker.address, topic_prefix) as rows:
        rows.write_and_pause()
        rows.check(SEEK_AFTER - 1)
        broker.freeze()
        monkeypatch.setattr(rows.ends, "_timeout_s", 1.0)  # only while nothing answers
        try:
            wait_until(lambda: rows.end() < 0, "it does not answer")
            rows.check()
        finally:
            monkeypatch.undo()
            broker.thaw()
        wait_until(lambda: rows.end() == RECORDS, "it answers")
        rows.check(SEEK_AFTER - 1)
        assert not rows.stalled
        # the client may say only now that the broker was away, which begins the count once more
        wait_until(lambda: rows.check() or rows.stalled == [rows.place], "it is fetched afresh")
        wait_until(lambda: rows.takes_all(RECORDS), "all of it comes")
    assert rows.offsets == list(range(RECORDS))


def test_a_look_at_an_intake_that_has_ended_is_none(servers: RealServers, topic_prefix: str) -> None:
    with reading(servers.kafka, topic_prefix) as rows:
        rows.write_and_pause()
        rows.check(SEEK_AFTER)
        rows.intake.stop()
        rows.intake.join(60)
        rows.check()
    assert not rows.ended
