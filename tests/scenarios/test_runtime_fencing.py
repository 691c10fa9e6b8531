"""A transaction that the broker ends, not the worker: it took too long, or its producer was replaced in its midst."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.own_broker import own_broker
from drivers.real_servers import RealServers
from drivers.runtime_bench import EVENTS, Bench, running_bench

from streams.runtime.ending import RESTART_STATUS

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

IMPATIENT = "transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n"
"""By itself a broker looks every ten seconds for transactions that took too long."""


@pytest.fixture(scope="module")
def kafka(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_broker(servers, tmp_path_factory.mktemp("fencing"), IMPATIENT) as broker:
        yield broker.address


@pytest.fixture
def bench(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    with running_bench(kafka, topic_prefix, tmp_path) as made:
        yield made


def audited(bench: Bench) -> None:
    """Everything is applied in the end, once, and part of it was in a transaction that was aborted."""
    bench.wait_done()
    bench.crew.wait_until_recovered()
    for slot in list(bench.crew.processes):
        bench.crew.stop(slot)
    found = bench.audit()
    assert found.clean, found
    assert bench.size(bench.names.commands) > found.compared["commands"] + 10, "nothing was aborted"


@pytest.mark.parametrize("place", ["after_produce", "after_send_offsets", "before_commit"])
def test_a_transaction_that_the_broker_gave_up_is_done_again(bench: Bench, place: str) -> None:
    """The commit takes longer than the transaction may, while the member lives on in its group."""
    bench.feed()
    worker = bench.crew.start(0, EBBTIDE_FAILPOINT=f"{place}:1:wait=5", RUNTIME_TRANSACTION_MS="2000")
    bench.wait(lambda: worker.poll() is not None or bench.lag() == 0, "it commits, or ends")
    assert worker.poll() in (None, RESTART_STATUS), bench.crew.tail(0)
    audited(bench)
    assert "checkpoint_failed" in bench.crew.log(0).read_text()


def test_a_worker_that_is_replaced_in_the_middle_of_a_commit_ends_and_its_transaction_is_void(bench: Bench) -> None:
    """Two processes in one slot: the later takes the transactional id and the membership of the earlier."""
    bench.feed()
    earlier = bench.crew.start(0, EBBTIDE_FAILPOINT="before_commit:1:stop")
    bench.crew.wait_until_stopped(0)
    bench.crew.start(0)  # logs into the same file
    bench.wait(lambda: bench.lag() < EVENTS, "its successor commits")
    earlier.send_signal(signal.SIGCONT)
    assert earlier.wait(60) == RESTART_STATUS, bench.crew.tail(0)
    audited(bench)


@pytest.mark.parametrize("place", ["after_produce", "before_commit"])
def test_a_worker_that_wakes_in_a_commit_after_its_partitions_went_gives_it_up(bench: Bench, place: str) -> None:
    """Stopped for longer than session and transaction last, it is a zombie with a transaction in its hands."""
    bench.feed()
    zombie = bench.crew.start(0, EBBTIDE_FAILPOINT=f"{place}:1:stop", RUNTIME_TRANSACTION_MS="3000")
    bench.crew.wait_until_stopped(0)
    bench.crew.start(1)
    bench.wait(lambda: bench.lag() == 0, "the other has taken over")
    zombie.send_signal(signal.SIGCONT)
    bench.feed(seed=2)
    audited(bench)
