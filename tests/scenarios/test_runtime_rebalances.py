"""Partitions move while a commit, a long run or another move is under way. Nothing is lost, doubled or late."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer, Producer
from drivers.real_servers import RealServers
from drivers.runtime_bench import EVENTS, Bench, running_bench

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

REVOKE_S = 9.0
"""The longest that a revocation may keep the group waiting: 8 s for the last checkpoint, and some."""


@pytest.fixture
def bench(servers: RealServers, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    with running_bench(servers.kafka, topic_prefix, tmp_path) as made:
        yield made


def revocations(bench: Bench, slot: int) -> list[float]:
    """How long each took, in seconds."""
    lines = (orjson.loads(line) for line in bench.crew.log(slot).read_text().splitlines() if line.startswith("{"))
    return [line["took_s"] for line in lines if line["event"] in ("partitions_revoked", "partitions_lost")]


class Guest:
    """A member of the group that is there at once, and leaves with the block: it takes partitions and reads nothing."""

    def __init__(self, bench: Bench) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bench.kafka,
                "group.id": bench.names.app,
                "partition.assignment.strategy": "range",
                "session.timeout.ms": 6_000,
                "enable.auto.commit": False,
            }
        )
        self._consumer.subscribe([bench.names.events, bench.names.weights, bench.names.orders])

    def poll(self) -> None:
        self._consumer.poll(0.05)

    def __enter__(self) -> "Guest":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def audited(bench: Bench) -> None:
    bench.wait_done()
    bench.crew.wait_until_recovered()
    took = [s for slot in bench.crew.processes for s in revocations(bench, slot)]
    for slot in list(bench.crew.processes):
        bench.crew.stop(slot)
    found = bench.audit()
    assert found.clean, found
    assert max(took, default=0.0) < REVOKE_S, took


@pytest.mark.parametrize(
    ("holds_s", "uncommitted"), [(3, False), (14, True)], ids=["in time", "longer than a revocation waits"]
)
def test_partitions_that_are_revoked_during_a_commit_are_handed_over_whole(
    bench: Bench, holds_s: int, uncommitted: bool
) -> None:
    bench.crew.start(0, EBBTIDE_FAILPOINT=f"before_commit:2:wait={holds_s}")
    bench.crew.wait_until_recovered()
    bench.feed()
    bench.wait(lambda: "failpoint before_commit" in bench.crew.tail(0), "a commit is under way")
    with Guest(bench) as guest:
        bench.wait(lambda: guest.poll() or revocations(bench, 0), "its partitions are revoked")
    assert revocations(bench, 0)[0] > 0.5, "the revocation waited for nothing, so nothing was shown"
    assert ("revoked_uncommitted" in bench.crew.log(0).read_text()) == uncommitted
    bench.feed(seed=2)
    audited(bench)


def test_partitions_that_are_revoked_while_the_loop_is_busy_wait_for_one_run_only(bench: Bench) -> None:
    """Each run of up to a thousand records takes two seconds here, and nothing can interrupt it."""
    bench.crew.start(0, RUNTIME_SLOW_S="0.002")
    bench.crew.wait_until_recovered()
    bench.feed()
    bench.wait(lambda: bench.lag() < EVENTS, "it is at work")
    bench.crew.start(1)
    audited(bench)
    assert revocations(bench, 0)


def test_workers_that_join_and_leave_in_quick_succession_delay_and_damage_nothing(bench: Bench) -> None:
    """Two tables: the batches', and that of an ordinary agent which counts orders one by one."""
    producer = Producer({"bootstrap.servers": bench.kafka, "partitioner": "murmur2_random"})
    bench.crew.start(0)
    bench.crew.wait_until_recovered()
    orders = 0
    for turn in range(8):
        bench.feed(EVENTS // 8, seed=turn)
        for _ in range(40):
            producer.produce(bench.names.orders, str(orders).encode(), f"customer-{orders % 7}")
            orders += 1
        producer.flush()
        slot = 1 + turn % 2
        if slot in bench.crew.processes:
            if turn % 3:
                bench.crew.kill(slot)
            else:
                bench.crew.stop(slot, within_s=8.0)
        bench.crew.start(slot)
        if turn % 2:
            bench.crew.wait_until_recovered(slot)  # else the next comes while this one starts or recovers
    began = time.monotonic()
    bench.wait(lambda: bench.crew.revive() or bench.lag() == 0, "all is committed")
    assert time.monotonic() - began < 40.0
    bench.wait(lambda: len(bench.reader.all(bench.names.receipts)) >= orders, "all receipts are written")
    audited(bench)
    got = Counter(m.value().decode() for m in bench.reader.all(bench.names.receipts))
    assert got == Counter(f"{number} {number // 7 + 1}" for number in range(orders))
