"""One or two workers of the runtime on a real broker: start, stop, die at a chosen place, be fenced, be idle."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from real_servers import RealServers
from runtime_app import Names
from runtime_harness import Audit, Crew, Feed, Reader, audit, make_topics

pytestmark = [pytest.mark.servers, pytest.mark.slow]

PARTITIONS = 4
EVENTS = 4_000


@dataclass
class Bench:
    """The topics of one test, a crew, and an eye on both."""

    kafka: str
    names: Names
    crew: Crew
    reader: Reader

    def feed(self, events: int = EVENTS, per_s: float = 1e9, seed: int = 1) -> None:
        """Writes events, all at once unless told otherwise."""
        feed = Feed(self.kafka, self.names, events, per_s, seed, users=300)
        feed.start()
        feed.join()

    def wait(self, until: Callable[[], object], what: str, within_s: float = 60.0) -> None:
        """Waits until something holds, with the workers' logs where it never does."""
        end = time.monotonic() + within_s
        while not until():
            logs = "\n".join(map(self.crew.tail, self.crew.processes))
            assert time.monotonic() < end, f"never: {what}\n{logs}"
            time.sleep(0.1)

    def lag(self) -> int:
        """Records not yet committed; more than there are while the broker does not say."""
        lag = self.reader.lag()
        return 10**9 if lag is None else lag

    def size(self, topic: str) -> int:
        """How many offsets the topic has used: records, aborted ones too, and control records."""
        return self.reader.size(topic)

    def wait_done(self) -> None:
        """Waits until all is committed and no timer is left."""
        self.wait(lambda: self.lag() == 0, "all is committed")
        self.wait(lambda: self._quiet() == self.users(), "every user's timer has fired")

    def _quiet(self) -> int:
        ids = [orjson.loads(m.value())["id"] for m in self.reader.all(self.names.commands)]
        return len({name.split("-")[2] for name in ids if name.startswith("quiet-")})

    def users(self) -> int:
        return len({m.key() for m in self.reader.all(self.names.events) if b"poison" not in m.value()})

    def audit(self) -> Audit:
        """What the workers left, compared with what the journal says."""
        return audit(self.reader, self.names, PARTITIONS)


@pytest.fixture
def bench(servers: RealServers, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    names = Names(topic_prefix)
    make_topics(servers.kafka, names, PARTITIONS)
    reader = Reader(servers.kafka, names, PARTITIONS)
    with Crew(servers.kafka, topic_prefix, PARTITIONS, tmp_path) as crew:
        yield Bench(servers.kafka, names, crew, reader)
    reader.close()


@pytest.mark.parametrize("cython", ["with Cython", "without Cython"])
def test_a_worker_stops_in_time_and_its_successor_goes_on_from_the_changelog(bench: Bench, cython: str) -> None:
    variables = {"NO_CYTHON": "1"} if cython == "without Cython" else {}
    bench.crew.start(0, **variables)
    bench.feed()
    bench.wait(lambda: bench.lag() < EVENTS, "something is committed")
    assert bench.crew.stop(0, within_s=5.0) < 5.0
    bench.feed(seed=2)
    bench.crew.start(0, **variables)
    bench.wait_done()
    bench.crew.stop(0, within_s=5.0)
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
    bench.crew.stop(0, within_s=5.0)
    found = bench.audit()
    assert found.clean, found


def test_after_an_abort_the_same_records_are_committed_once(bench: Bench) -> None:
    bench.feed()
    bench.crew.start(0, EBBTIDE_FAILPOINT="abort_before_commit")
    bench.wait_done()
    assert "checkpoint_failed" in bench.crew.log(0).read_text()
    bench.crew.stop(0, within_s=5.0)
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
    bench.crew.stop(0, within_s=5.0)
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
