"""The consume thread on a real broker: paused partitions are resumed, and a fatal error is reported."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.limits import HANGS_AFTER_S
from drivers.real_servers import RealServers

from infra.kafka.connection import Connection
from infra.kafka.topics import TopicPartition
from streams.runtime.intake import Intake
from streams.runtime.intake_settings import IntakeSettings

pytestmark = pytest.mark.servers

RECORDS = 100


class Waiting:
    """A listener that notes what it hears."""

    def __init__(self) -> None:
        self.places: frozenset[TopicPartition] = frozenset()

    def assigned(self, places: frozenset[TopicPartition], membership: object) -> None:  # noqa: ARG002
        self.places = places

    def revoked(self, places: frozenset[TopicPartition], lost: bool) -> None:
        pass

    def arrived(self) -> None:
        pass

    def failed(self, reason: str) -> None:
        raise AssertionError(reason)


@contextmanager
def reading(kafka: str, settings: IntakeSettings, listener: Waiting, partitions: int, *names: str) -> Iterator[Intake]:
    """An intake that reads new topics of these names from their beginning; `listener` has its places."""
    admin = AdminClient({"bootstrap.servers": kafka})
    for made in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
        made.result(30)
    intake = Intake(Connection(kafka), settings, listener)
    intake.start()
    try:
        intake.subscribe(names)
        wait(lambda: listener.places, "it is assigned")
        intake.start_at(dict.fromkeys(listener.places, 0)).result(60)
        yield intake
    finally:
        intake.stop()
        intake.join(60)


@pytest.fixture
def full(servers: RealServers, topic_prefix: str) -> Iterator[Intake]:
    """An intake that holds all it may of a full topic, and waits for an empty one."""
    names = [f"{topic_prefix}{name}" for name in ("full", "empty")]
    listener = Waiting()
    settings = IntakeSettings(topic_prefix, held_records=20, batch=10)
    with reading(servers.kafka, settings, listener, 1, *names) as intake:
        producer = Producer({"bootstrap.servers": servers.kafka})
        for _ in range(RECORDS):
            producer.produce(names[0], b"x")
        producer.flush(30)
        wait(lambda: intake.held >= 20, "it is full")
        intake.starve(frozenset(place for place in listener.places if place.topic == names[1]))
        wait(lambda: intake.paused, "what is full is paused in favour of what is waited for")
        yield intake


def wait(until: Callable[[], object], what: str, within_s: float = HANGS_AFTER_S) -> None:
    end = time.monotonic() + within_s
    while not until():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize("way", ["begun anew", "taken away and given back"])
def test_a_partition_that_was_paused_flows_again_in_the_next_assignment(full: Intake, way: str) -> None:
    [place] = full.paused
    if way == "taken away and given back":
        full.call(lambda: full._consumer.unassign()).result(60)
    full.start_at({place: 0}).result(60)
    taken = 0

    def flows() -> bool:
        nonlocal taken
        for arrival in full.take():
            taken += len(arrival.records)
            full.release(arrival.partition, len(arrival.records))
        return taken >= RECORDS

    wait(flows, "all of it is read again")


def test_a_paused_partition_resumes_when_it_is_waited_for(full: Intake) -> None:
    [place] = full.paused
    full.take()
    full.release(place, full.held - 15)  # less than it may hold, and more than the half at which all flow again
    full.starve(frozenset({place}))
    wait(lambda: sum(len(arrival.records) for arrival in full.take()), "more of it is read")


def test_a_call_to_an_ended_intake_fails_at_once(full: Intake) -> None:
    """A recovery that calls during a stop would delay the stop for as long as an answer may take."""
    full.stop()
    full.join(60)
    with pytest.raises(KafkaException, match="ended"):
        full.committed([]).result(60)


class Held(Waiting):
    """A listener that deals with a revocation for as long as the test says, and survives the end."""

    def __init__(self) -> None:
        super().__init__()
        self.revoking, self.should_continue = threading.Event(), threading.Event()
        self.ends: list[str] = []

    def revoked(self, places: frozenset[TopicPartition], lost: bool) -> None:  # noqa: ARG002
        self.revoking.set()
        self.should_continue.wait(30)

    def failed(self, reason: str) -> None:
        self.ends.append(reason)


def test_a_consumer_that_is_fenced_while_it_gives_up_its_partitions_ends(
    servers: RealServers, topic_prefix: str
) -> None:
    """Records of the same poll are read again, but errors of the consumer are not: it would make no progress."""
    name = f"{topic_prefix}rows"
    listener = Held()
    settings = IntakeSettings(topic_prefix, "0", session_timeout_ms=1_000)
    with reading(servers.kafka, settings, listener, 2, name) as intake, ExitStack() as others:

        def joins(instance: str) -> Consumer:
            consumer = Consumer(replace(settings, instance=instance).consumer(Connection(servers.kafka)))
            others.callback(consumer.close)
            consumer.subscribe([name])
            return consumer

        def polled(*consumers: Consumer) -> bool:
            for consumer in consumers:
                consumer.consume(1, 0)
            return True

        intake._settings = replace(settings, poll_s=5.0)  # one poll, longer than all of this takes
        another = joins("1")
        wait(lambda: polled(another) and listener.revoking.is_set(), "it gives up its partitions for another")
        intake._settings = settings
        namesake = joins("0")
        wait(lambda: polled(another, namesake) and namesake.assignment(), "a namesake takes its place")
        listener.should_continue.set()
        wait(lambda: polled(another, namesake) and listener.ends, "it is told to end")
        assert "Static consumer fenced" in listener.ends[0]
