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
    await ownership.give_up([2])
    ownership.hold([1, 2])
    assert (ownership.held, ownership.arriving) == ({1}, set()), "one given up meanwhile is not held"


async def test_giving_a_partition_up_waits_for_its_transactions_only() -> None:
    ownership = holding(1, 2)
    with ownership.transaction(2):
        with ownership.transaction(1):
            giving_up = asyncio.create_task(ownership.give_up([1]))
            await asyncio.sleep(0)
            assert not giving_up.done()
            assert ownership.held == {2}
        await giving_up
        assert ownership.open_transactions == 1
    assert ownership.open_transactions == 0


async def test_a_transaction_that_lasts_too_long_is_left_and_logged() -> None:
    ownership = holding(1, stop_within_s=0.01)
    with ownership.transaction(1), capture_logs() as logs:
        await ownership.give_up([1])
    assert [(line["event"], line["count"]) for line in logs] == [("mail_still_in_flight", 1)]


async def test_a_stopped_worker_takes_no_partition() -> None:
    ownership = holding(1)
    await ownership.stop()
    ownership.assign([2])
    assert (ownership.held, ownership.arriving) == (set(), set())
