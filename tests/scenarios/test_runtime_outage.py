"""The broker goes away in the middle of work, longer than sessions and transactions last, and comes back."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_servers import RealServers
from runtime_app import Names
from runtime_harness import Crew, Feed, Reader, audit, make_topics

from infra.local.kafka.server import KafkaServer
from infra.local.layout import Layout
from infra.local.ports import Ports

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

PARTITIONS = 4
EVENTS = 20_000
AWAY_S = float(os.environ.get("RUNTIME_OUTAGE_S", "15"))
"""Longer than the session of 6 s and the transaction timeout of 10 s."""


@pytest.fixture
def broker(servers: RealServers, tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of the test's own, for it is taken away."""
    own = KafkaServer(Layout.of_project().at_home(tmp_path / "broker"), Ports(servers.ports.base + 50))
    own.start()
    yield own
    own.stop()


def test_a_broker_that_is_away_costs_time_and_nothing_else(
    broker: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    kafka, names = f"127.0.0.1:{broker.port}", Names(topic_prefix)
    make_topics(kafka, names, PARTITIONS)
    reader = Reader(kafka, names, PARTITIONS)
    with Crew(kafka, topic_prefix, PARTITIONS, tmp_path) as crew:
        for slot in range(2):
            crew.start(slot)
        crew.wait_until_recovered()
        feed = Feed(kafka, names, EVENTS, per_s=4_000, seed=1)
        feed.start()
        time.sleep(2.0)  # in the middle of it
        broker.stop()
        _pass(crew, AWAY_S)
        broker.start()
        feed.join()
        end = time.monotonic() + 120
        while reader.lag() != 0:
            crew.revive()
            assert time.monotonic() < end, f"lag {reader.lag()}\n{crew.tail(0)}\n{crew.tail(1)}"
            time.sleep(0.2)
        _pass(crew, 3.0)  # the last timers
        for slot in range(2):
            crew.stop(slot, within_s=5.0)
    found = audit(reader, names, PARTITIONS)
    reader.close()
    assert found.clean, found
    assert found.compared["records"] == EVENTS + EVENTS // 10


def _pass(crew: Crew, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        crew.revive()
        time.sleep(0.2)
