"""With any backlog, a worker's memory stays bounded, and no partition starves: not behind one that has everything,
not behind an input that is far ahead, not behind a broker that does not answer.

What bounds it: 20,000 records handed over and not yet applied (streams/runtime/intake.py), 4 MiB that librdkafka
fetches ahead, and what one checkpoint writes. Nothing grows with what waits at the broker: ten million cost what one
million do.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer, TopicPartition
from drivers.own_broker import OwnBroker, own_broker
from drivers.real_servers import RealServers
from drivers.runtime_bench import PARTITIONS, Bench, running_bench

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

log = logging.getLogger(__name__)

GROWTH_MIB = 350
"""Of the worker above what it takes at rest, at any time. Of records of 35 bytes, whose costs are all overhead, a
million took 239 to 270 MiB in three runs, most of it in the first half. A fetch is bounded compressed: with 1 MiB of a
partition, of such records many times that, it was 368 to 428."""
WEIGHT = orjson.dumps({"weight": 2.0})


@pytest.fixture(scope="module")
def broker(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with own_broker(servers, tmp_path_factory.mktemp("backlog")) as made:
        yield made


@pytest.fixture
def bench(broker: OwnBroker, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    with running_bench(broker.address, topic_prefix, tmp_path) as made:
        yield made


def flood(bench: Bench, topic: str, count: int, partitions: int = PARTITIONS, first: int = 0) -> None:
    """Writes records of 50 users a partition, round robin; returns when they are written."""
    producer = Producer(
        {
            "bootstrap.servers": bench.kafka,
            "linger.ms": 50,
            "queue.buffering.max.messages": 500_000,
            "compression.type": "lz4",
        }
    )
    for number in range(first, first + count):
        partition = number % partitions
        value = WEIGHT if topic == bench.names.weights else b'{"id":"%d","type":"page_viewed"}' % number
        while True:
            try:
                producer.produce(topic, value, f"{partition}-{number // partitions % 50}", partition)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


def resident_mib(bench: Bench, field: str) -> float:
    """The worker's memory: VmRSS now, VmHWM at its highest; empty if it has just ended."""
    status = Path(f"/proc/{bench.crew.processes[0].pid}/status").read_text()
    return max((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{field}:")), default=0)


def begin(bench: Bench, **variables: str) -> float:
    """A worker at rest; what it takes."""
    bench.crew.start(0, **variables)
    bench.crew.wait_until_recovered()
    return resident_mib(bench, "VmRSS")


def left(bench: Bench, topic: str, partition: int) -> int:
    """Records of one partition that the group has not committed."""
    return bench.reader.left(TopicPartition(topic, partition))


def settled(bench: Bench, at_rest_mib: float, within_s: float = 240) -> None:
    """All is committed in the end, and at no time did a worker take much."""
    highest: list[float] = []

    def done() -> bool:
        bench.crew.revive()
        highest.append(resident_mib(bench, "VmHWM"))
        return bench.lag() == 0

    bench.wait(done, "all is committed", within_s)
    early, late = (max(highest[: len(highest) // 2 + 1]) - at_rest_mib, max(highest) - at_rest_mib)
    log.info("at rest %.0f MiB; above it %.0f MiB in the first half, %.0f in all", at_rest_mib, early, late)
    assert late < GROWTH_MIB


@pytest.mark.parametrize("waiting", [200_000, 1_000_000])
def test_records_that_wait_at_the_broker_take_no_memory(bench: Bench, waiting: int) -> None:
    """The bound is the same for both."""
    flood(bench, bench.names.weights, waiting // 10)
    flood(bench, bench.names.events, waiting)
    settled(bench, begin(bench))


def test_a_broker_that_does_not_answer_while_records_wait_takes_no_memory_and_spoils_nothing(
    bench: Bench, broker: OwnBroker
) -> None:
    flood(bench, bench.names.events, 200_000)
    at_rest = begin(bench, RUNTIME_SLOW_S="0.00002")
    bench.wait(lambda: bench.lag() < 190_000, "it is at work")
    broker.freeze()
    try:
        time.sleep(12.0)  # longer than the session and the transaction may last
    finally:
        broker.thaw()
    settled(bench, at_rest)
    bench.crew.kill(0)
    found = bench.audit()
    assert found.clean, found


def test_a_partition_that_has_everything_does_not_starve_the_others(bench: Bench) -> None:
    flood(bench, bench.names.events, 300_000, partitions=1)
    at_rest = begin(bench, RUNTIME_SLOW_S="0.00003")
    flood(bench, bench.names.events, 100, first=1_000_000)
    bench.wait(
        lambda: all(left(bench, bench.names.events, p) == 0 for p in range(1, PARTITIONS)), "the others are done"
    )
    assert left(bench, bench.names.events, 0) > 100_000, "it was done before the others"
    settled(bench, at_rest)


def test_an_input_that_is_far_ahead_of_the_other_waits_for_it(bench: Bench) -> None:
    """All weights are older than all events: the events that arrive meanwhile are held, and no more of them."""
    flood(bench, bench.names.weights, 300_000)
    flood(bench, bench.names.events, 300_000)
    settled(bench, begin(bench))
