"""The broker's disk is full: it ends, the worker waits or ends, and with space again nothing is lost or doubled."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.own_broker import OwnBroker, own_broker
from drivers.real_servers import RealServers
from drivers.runtime_bench import Bench, running_bench
from drivers.runtime_harness import Feed
from drivers.small_disk import fill, small_disk

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

EVENTS = 12_000
DISK_MIB = 400


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_MIB) as made:
        yield made


@pytest.fixture
def broker(servers: RealServers, disk: Path) -> Iterator[OwnBroker]:
    with own_broker(servers, disk, in_memory=False) as made:
        yield made


@pytest.fixture
def bench(broker: OwnBroker, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    with running_bench(broker.address, topic_prefix, tmp_path) as made:
        yield made


def test_a_full_disk_stops_the_work_and_loses_nothing(bench: Bench, broker: OwnBroker, disk: Path) -> None:
    bench.crew.start(0)
    bench.crew.wait_until_recovered()
    feed = Feed(bench.kafka, bench.names, EVENTS, per_s=1_500, seed=1)
    feed.start()
    bench.wait(lambda: bench.size(bench.names.journal) > 0, "it is at work")
    ballast = fill(disk)
    bench.wait(lambda: bench.crew.revive() or broker.process() is None, "the broker gives up", 120)
    ballast.unlink()
    broker.start()
    feed.join()
    bench.wait_done()
    bench.crew.wait_until_recovered()
    bench.crew.stop(0)
    found = bench.audit()
    assert found.clean, found
    assert found.compared["records"] == EVENTS + EVENTS // 10
