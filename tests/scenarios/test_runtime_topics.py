"""A topic deleted, made anew or grown under a running worker, or before it starts.

What is right, for an input, an output and the changelog alike: the worker says which topic it is and ends with 70
within seconds, for a supervisor to try again; a start that cannot go well says what to mend and ends with 2. Never are
offsets of one topic taken for those of another, nor a topic made again as a side effect.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.runtime_bench import EVENTS, PARTITIONS, Bench, running_bench
from drivers.whole_pipeline import new_topics

from schemas.topics import JOURNAL
from streams.runtime.ending import NEEDS_REPAIR, RESTART_STATUS

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

ENDS_S = 60.0


@pytest.fixture
def bench(servers: RealServers, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    with running_bench(servers.kafka, topic_prefix, tmp_path) as made:
        yield made


def working(bench: Bench) -> None:
    """A worker that has recovered and committed something."""
    bench.crew.start(0)
    bench.feed(EVENTS // 4)
    bench.wait(lambda: bench.lag() == 0, "the first records are committed")


def delete(bench: Bench, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bench.kafka})
    admin.delete_topics([topic])[topic].result(30)
    bench.wait(lambda: topic not in admin.list_topics(timeout=10).topics, f"{topic} is gone")


def make(bench: Bench, topic: str, partitions: int = PARTITIONS, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": bench.kafka})
    made = NewTopic(topic, partitions, 1, config={"message.timestamp.type": "LogAppendTime", **config})
    admin.create_topics([made])[topic].result(30)


def ended(bench: Bench, status: int, *words: str) -> None:
    """The worker ended by itself with this status, and its last word names these."""
    process = bench.crew.processes.pop(0)
    assert process.wait(ENDS_S) == status, bench.crew.tail(0)
    last = bench.crew.tail(0, lines=1)
    assert all(word in last for word in words), bench.crew.tail(0)


def once_the_group_is_empty(bench: Bench, do: Callable[[], object]) -> None:
    """A static member stays in its group until its session ends."""

    def done() -> bool:
        try:
            do()
        except KafkaException as exception:
            if exception.args[0].code() not in (KafkaError.NON_EMPTY_GROUP, KafkaError.UNKNOWN_MEMBER_ID):
                raise
            return False
        return True

    bench.wait(done, "the group is empty")


@pytest.mark.parametrize(
    "which",
    [
        lambda n: n.changelog,
        pytest.param(lambda n: n.events, marks=pytest.mark.slow),
        pytest.param(lambda n: n.journal, marks=pytest.mark.slow),
        pytest.param(lambda n: n.orders, marks=pytest.mark.slow),
    ],
    ids=["the changelog", "an input", "the journal", "the topic of an ordinary agent"],
)
def test_a_topic_deleted_under_a_worker_ends_it_and_a_start_without_it_is_refused(
    bench: Bench, which: Callable[..., str]
) -> None:
    topic = which(bench.names)
    working(bench)
    delete(bench, topic)
    ended(bench, RESTART_STATUS, topic, "gone")
    bench.crew.start(0)
    ended(bench, NEEDS_REPAIR, topic)
    assert topic not in AdminClient({"bootstrap.servers": bench.kafka}).list_topics(timeout=10).topics


@pytest.mark.slow
def test_an_input_made_anew_under_a_worker_is_never_read_at_the_old_offsets(bench: Bench) -> None:
    """Kafka forgets a group's offsets with the topic, so a successor may begin at the new first record; where a last
    checkpoint brought them back, it refuses."""
    working(bench)
    delete(bench, bench.names.events)
    make(bench, bench.names.events)
    ended(bench, RESTART_STATUS, bench.names.events)
    bench.feed(400, seed=2)
    successor = bench.crew.start(0)
    bench.wait(lambda: successor.poll() is not None or bench.lag() == 0, "it refuses, or all is committed")
    if successor.poll() is None:
        thirds = [m for m in bench.reader.all(bench.names.commands) if b'"third-2.' in m.value()]
        assert len(thirds) > 50, "the new records were passed over"
    else:
        ended(bench, NEEDS_REPAIR, bench.names.events, "recreated")


@pytest.mark.slow
def test_offsets_beyond_the_end_of_an_input_are_refused(bench: Bench) -> None:
    """As a topic leaves it that was made anew while an old commit was on its way, or that lost its last records."""
    working(bench)
    bench.crew.stop(0)
    group = Consumer({"bootstrap.servers": bench.kafka, "group.id": bench.names.app, "enable.auto.commit": False})
    beyond = [TopicPartition(bench.names.events, 1, 10**6)]
    once_the_group_is_empty(bench, lambda: group.commit(offsets=beyond, asynchronous=False))
    group.close()
    bench.crew.start(0)
    ended(bench, NEEDS_REPAIR, f"{bench.names.events}[1]", "1000000")


@pytest.mark.slow
def test_state_without_offsets_is_refused(bench: Bench) -> None:
    """Kafka forgets the offsets of a group that is away for a week; from the beginning, all would be applied twice."""
    working(bench)
    bench.crew.stop(0)
    admin = AdminClient({"bootstrap.servers": bench.kafka})
    name = bench.names.app
    once_the_group_is_empty(bench, lambda: admin.delete_consumer_groups([name])[name].result(30))
    bench.crew.start(0)
    ended(bench, NEEDS_REPAIR, bench.names.changelog, "no offsets")


@pytest.mark.slow
def test_an_input_with_more_partitions_than_the_others_ends_the_worker_and_is_refused(bench: Bench) -> None:
    working(bench)
    admin = AdminClient({"bootstrap.servers": bench.kafka})
    admin.create_partitions([NewPartitions(bench.names.events, PARTITIONS + 1)])[bench.names.events].result(30)
    ended(bench, RESTART_STATUS, bench.names.events)
    bench.crew.start(0)
    ended(bench, NEEDS_REPAIR, bench.names.events, f"{PARTITIONS + 1} partitions")


@pytest.mark.slow
def test_an_input_with_times_of_its_publishers_is_refused(bench: Bench) -> None:
    """A record dated an hour ahead, as brokers still take them, would take the clock there, and every timer fire."""
    working(bench)
    resource = ConfigResource(ResourceType.TOPIC, bench.names.events)
    resource.add_incremental_config(
        ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    )
    admin = AdminClient({"bootstrap.servers": bench.kafka})
    admin.incremental_alter_configs([resource])[resource].result(30)
    producer = Producer({"bootstrap.servers": bench.kafka})
    producer.produce(bench.names.events, b"{}", b"user-1", 0, timestamp=time.time_ns() // 10**6 + 60_000)
    assert producer.flush(30) == 0
    ended(bench, NEEDS_REPAIR, f"{bench.names.events}[0]@", "LogAppendTime")


def test_the_command_that_starts_a_worker_says_in_one_line_which_topic_is_missing(servers: RealServers) -> None:
    topic = JOURNAL.name
    new_topics(servers.kafka)
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.delete_topics([topic])[topic].result(30)
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, "it is gone")
    started = subprocess.run(
        [sys.executable, "-m", "cli.main", "run", "streams"],
        env=os.environ | {"EBBTIDE_KAFKA": servers.kafka},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == NEEDS_REPAIR
    assert started.stderr == f"ebbtide: no topic {topic}; run `ebbtide topics` first\n"
