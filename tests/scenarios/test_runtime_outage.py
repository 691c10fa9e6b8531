"""The broker goes away in the middle of work, in order or at once, and comes back: it costs time and nothing else."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.own_broker import OwnBroker, own_broker
from drivers.real_servers import RealServers
from drivers.runtime_bench import Bench, running_bench
from drivers.runtime_harness import Feed

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

EVENTS = 20_000
LONG_S = float(os.environ.get("RUNTIME_OUTAGE_S", "60"))
SHORT_S = 15.0
"""Longer than the session of 6 s and the transaction timeout of 10 s."""


@pytest.fixture(scope="module")
def broker(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with own_broker(servers, tmp_path_factory.mktemp("outage")) as made:
        yield made


@pytest.fixture
def bench(broker: OwnBroker, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    with running_bench(broker.address, topic_prefix, tmp_path) as made:
        yield made


def begin(bench: Bench, events: int = EVENTS, per_s: float = 4_000) -> Feed:
    """Events on their way, the first of them written."""
    feed = Feed(bench.kafka, bench.names, events, per_s, seed=1)
    feed.start()
    bench.wait(lambda: bench.size(bench.names.events) > 0, "the first events are written")
    return feed


def away(bench: Bench, broker: OwnBroker, seconds: float) -> None:
    """Time without a broker; workers that end are started again, as a supervisor does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        bench.crew.revive()
        time.sleep(0.2)
    broker.start()


def audited(bench: Bench, feed: Feed, events: int = EVENTS) -> None:
    """Everything is applied in the end, once."""
    feed.join()
    bench.wait_done()
    for slot in list(bench.crew.processes):
        bench.crew.kill(
            slot
        )  # one may be about to give up a commit that does not come back (streams/runtime/commit.py)
    found = bench.audit()
    assert found.clean, found
    assert found.compared["records"] == events + events // 10


@pytest.mark.parametrize("seconds", [SHORT_S, LONG_S], ids=["longer than a session", "a minute"])
def test_a_broker_that_is_away_costs_time_and_nothing_else(bench: Bench, broker: OwnBroker, seconds: float) -> None:
    bench.crew.start(0)
    bench.crew.start(1)
    bench.crew.wait_until_recovered()
    feed = begin(bench)
    broker.stop()
    away(bench, broker, seconds)
    audited(bench, feed)


def test_a_broker_that_is_killed_in_the_middle_of_commits_loses_nothing(bench: Bench, broker: OwnBroker) -> None:
    bench.crew.start(0)
    bench.crew.start(1)
    bench.crew.wait_until_recovered()
    feed = begin(bench, per_s=1_000)
    for _ in range(3):
        before = bench.size(bench.names.journal)
        bench.wait(
            lambda before=before: bench.crew.revive() or bench.size(bench.names.journal) > before + 8,
            "checkpoints are committed",
        )
        broker.kill()
        broker.start()
    audited(bench, feed)


@pytest.mark.parametrize("place", ["after_produce", "after_send_offsets"])
def test_a_broker_that_is_killed_within_a_transaction_loses_nothing(
    bench: Bench, broker: OwnBroker, place: str
) -> None:
    """The worker holds still at one place of a commit while the broker dies, and goes on when it is back."""
    worker = bench.crew.start(0, EBBTIDE_FAILPOINT=f"{place}:3:stop")
    feed = begin(bench)
    bench.crew.wait_until_stopped(0)
    broker.kill()
    broker.start()
    bench.crew.send(0, signal.SIGCONT)
    bench.wait(lambda: worker.poll() is not None or bench.lag() == 0, "it commits, or ends")
    bench.crew.revive()
    audited(bench, feed)


def test_a_broker_that_is_away_during_a_recovery_only_delays_it(bench: Bench, broker: OwnBroker) -> None:
    bench.crew.start(0)
    feed = begin(bench)
    feed.join()
    bench.wait(lambda: bench.lag() == 0, "there is a state to recover")
    bench.crew.kill(0)
    bench.crew.start(0, EBBTIDE_FAILPOINT="in_recovery:1:stop")
    bench.crew.wait_until_stopped(0)
    broker.stop()
    bench.crew.send(0, signal.SIGCONT)
    away(bench, broker, SHORT_S)
    audited(bench, feed)


def test_a_worker_that_waits_for_a_broker_before_it_begins_stops_in_time(bench: Bench, broker: OwnBroker) -> None:
    broker.freeze()
    try:
        bench.crew.start(0)
        bench.wait(lambda: "checkpoint_waits" in bench.crew.log(0).read_text(), "it waits")
        process = bench.crew.processes[0]
        process.terminate()
        assert process.wait(5.0) == 0
    finally:
        broker.thaw()


def test_a_broker_that_is_away_during_a_rebalance_only_delays_it(bench: Bench, broker: OwnBroker) -> None:
    bench.crew.start(0)
    bench.crew.wait_until_recovered()
    feed = begin(bench)
    bench.crew.start(1)
    bench.wait(lambda: "partitions_revoked" in bench.crew.tail(0), "the first gives its partitions up")
    broker.kill()
    away(bench, broker, SHORT_S)
    audited(bench, feed)
