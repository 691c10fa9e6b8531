"""One or two workers of the runtime on a real broker: start, stop, die at a chosen place, be fenced, be idle."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from drivers.real_servers import RealServers
from drivers.runtime_bench import EVENTS, Bench, running_bench
from drivers.runtime_harness import Feed

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture
def bench(servers: RealServers, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    with running_bench(servers.kafka, topic_prefix, tmp_path) as made:
        yield made


@pytest.mark.parametrize("cython", ["with Cython", "without Cython"])
def test_a_worker_stops_in_time_and_its_successor_continues_from_the_changelog(bench: Bench, cython: str) -> None:
    variables = {"NO_CYTHON": "1"} if cython == "without Cython" else {}
    bench.crew.start(0, **variables)
    bench.feed()
    bench.wait(lambda: bench.lag() < EVENTS, "something is committed")
    bench.crew.stop(0)
    bench.feed(seed=2)
    bench.crew.start(0, **variables)
    bench.wait_done()
    bench.crew.stop(0)
    found = bench.audit()
    assert found.clean, found
    assert found.compared["users"] == bench.users()


def test_a_death_at_any_place_loses_and_doubles_nothing(bench: Bench) -> None:
    """Places that random kills hit rarely."""
    places = ["after_produce", "after_send_offsets", "before_commit", "after_commit", "in_recovery"]
    for seed, place in enumerate(places):
        bench.feed(EVENTS // 4, seed=seed)
        doomed = bench.crew.start(0, EBBTIDE_FAILPOINT=place)
        assert doomed.wait(60) == -signal.SIGKILL, f"{place}\n{bench.crew.tail(0)}"
    bench.crew.start(0)
    bench.wait_done()
    bench.crew.stop(0)
    found = bench.audit()
    assert found.clean, found


def test_after_an_abort_the_same_records_are_committed_once(bench: Bench) -> None:
    bench.feed()
    bench.crew.start(0, EBBTIDE_FAILPOINT="abort_before_commit")
    bench.wait_done()
    assert "checkpoint_failed" in bench.crew.log(0).read_text()
    bench.crew.stop(0)
    found = bench.audit()
    assert found.clean, found
    aborted = bench.size(bench.names.commands) - found.compared["commands"]
    assert aborted > 10, "nothing was aborted, so nothing was shown"


def test_of_two_workers_in_one_slot_the_earlier_is_fenced_and_ends(bench: Bench) -> None:
    earlier = bench.crew.start(0)
    bench.feed(EVENTS // 2)
    bench.wait(lambda: bench.crew.has_recovered(0), "the first has begun")
    bench.crew.start(0)
    bench.feed(EVENTS // 2, seed=2)
    assert earlier.wait(60) == 70, bench.crew.tail(0)
    bench.wait_done()
    bench.crew.stop(0)
    found = bench.audit()
    assert found.clean, found


def test_a_worker_whose_client_silently_fetches_nothing_recovers_by_itself(bench: Bench) -> None:
    bench.crew.start(0)
    bench.wait(lambda: bench.crew.has_recovered(0), "it has begun")
    feed = Feed(bench.kafka, bench.names, EVENTS, 1_000, seed=1, users=300)
    feed.start()
    bench.wait(lambda: bench.size(bench.names.journal) > 4, "something is committed")
    bench.crew.send(0, signal.SIGURG)
    feed.join()
    bench.wait_done()
    assert bench.crew.log(0).read_text().count("fetch_stalled") in range(1, 13), bench.crew.tail(0)
    bench.crew.stop(0)
    assert not bench.crew.exits
    found = bench.audit()
    assert found.clean, found


def test_timers_fire_within_a_second_of_their_time_when_no_events_come(bench: Bench) -> None:
    bench.crew.start(0)
    bench.wait(lambda: bench.crew.has_recovered(0), "it has begun")
    bench.feed(200)
    bench.wait_done()
    for message in bench.reader.all(bench.names.commands):
        name = orjson.loads(message.value())["id"]
        if name.startswith("quiet-"):
            late_ms = message.timestamp()[1] - int(name.rsplit("-", 1)[1])
            assert late_ms < 1_500, f"{name} was written {late_ms} ms after it was due"  # a second, and the commit
    found = bench.audit()
    assert found.clean, found


def test_a_worker_at_rest_writes_nothing(bench: Bench) -> None:
    bench.crew.start(0)
    bench.feed(200)
    bench.wait_done()
    time.sleep(0.5)
    written = bench.size(bench.names.journal)
    time.sleep(2.0)
    assert bench.size(bench.names.journal) == written


def test_an_ordinary_agent_joins_the_transaction_of_the_batches(bench: Bench) -> None:
    """Each order's receipt says how many there were before it: a lost or doubled one shows in all later ones."""
    producer = Producer({"bootstrap.servers": bench.kafka, "partitioner": "murmur2_random"})
    bench.crew.start(0)
    for number in range(600):
        producer.produce(bench.names.orders, str(number).encode(), f"customer-{number % 7}")
        if number in (200, 400):
            producer.flush()
            bench.wait(lambda: bench.reader.all(bench.names.receipts), "a receipt is written")
            bench.crew.kill(0)
            bench.crew.start(0)
    producer.flush()
    bench.wait(lambda: len(bench.reader.all(bench.names.receipts)) >= 600, "all receipts are written")
    time.sleep(1.0)
    got = Counter(m.value().decode() for m in bench.reader.all(bench.names.receipts))
    assert got == Counter(f"{number} {number // 7 + 1}" for number in range(600))
