"""Which partitions a delivery worker holds, and how it gives them up."""

import asyncio

from structlog.testing import capture_logs

from senders.delivery.ownership import PartitionOwnership


def holding(*partitions: int, stop_within_s: float = 5.0) -> PartitionOwnership:
    ownership = PartitionOwnership(stop_within_s)
    ownership.assign(partitions)
    ownership.hold(ownership.arriving)
    return ownership


async def test_an_assigned_partition_is_held_only_after_it_was_claimed() -> None:
    ownership = PartitionOwnership(5.0)
    ownership.assign([1, 2])
    assert (ownership.held, ownership.arriving) == (set(), {1, 2})
    ownership.give_up([2])
    ownership.hold([1, 2])
    assert (ownership.held, ownership.arriving) == ({1}, set()), "one given up meanwhile is not held"


async def test_a_partition_is_given_up_at_once_and_its_transaction_goes_on() -> None:
    ownership = holding(1, 2)
    with ownership.transaction():
        ownership.give_up([1])
        assert (ownership.held, ownership.open_transactions) == ({2}, 1)
    assert ownership.open_transactions == 0


async def test_a_stop_waits_for_every_transaction() -> None:
    ownership = holding(1)
    with ownership.transaction():
        stopping = asyncio.create_task(ownership.stop())
        await asyncio.sleep(0)
        assert (ownership.held, stopping.done()) == (set(), False)
    await stopping


async def test_a_transaction_that_lasts_longer_than_the_stop_is_left_and_logged() -> None:
    ownership = holding(1, stop_within_s=0.01)
    with ownership.transaction(), capture_logs() as logs:
        await ownership.stop()
    assert [(line["event"], line["count"]) for line in logs] == [("mail_still_in_flight", 1)]


async def test_a_stopped_worker_takes_no_partition() -> None:
    ownership = holding(1)
    await ownership.stop()
    ownership.assign([2])
    assert (ownership.held, ownership.arriving) == (set(), set())
