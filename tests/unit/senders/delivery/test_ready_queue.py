"""The ready queue: the highest priority first, then what became due first, and room for what overtakes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from drivers.running_senders import a_command

from schemas.vocabulary import LedgerState
from senders.delivery.ready_queue import CAPACITY, DeliveryJob, ReadyQueue
from senders.queue.ledger import DueCommand

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def a_job(priority: int, age_s: int = 0) -> DeliveryJob:
    command, due_at = a_command("u1", "h", priority=priority), NOW - timedelta(seconds=age_s)
    request: Any = None  # the queue does not look at it
    return DeliveryJob(DueCommand(command, 0, LedgerState.ADMITTED, 0, NOW, due_at), request)


async def test_the_highest_priority_comes_first_then_the_longest_waiting() -> None:
    queue = ReadyQueue()
    low, young, old, high = a_job(10, 99), a_job(50, 1), a_job(50, 2), a_job(90)
    for job in (low, young, old, high):
        queue.put(job)
    assert [await queue.get() for _ in range(4)] == [high, old, young, low]


async def test_a_full_queue_has_room_for_what_overtakes_it() -> None:
    queue = ReadyQueue()
    assert queue.lowest_priority is None
    for _ in range(CAPACITY):
        queue.put(a_job(50))
    assert (queue.low, queue.has_urgent_room, queue.lowest_priority) == (False, True, 50)
    for _ in range(CAPACITY):
        queue.put(a_job(90))
    assert not queue.has_urgent_room
    for _ in range(CAPACITY):
        assert (await queue.get()).due.command.priority == 90


async def test_a_job_let_go_before_its_mail_began_is_reported_and_one_that_began_is_not() -> None:
    released: list[DeliveryJob] = []
    queue = ReadyQueue(released.append)
    waiting, begun = a_job(50), a_job(50)
    for job in (waiting, begun):
        queue.put(job)
    begun.started = True
    for job in (waiting, begun):
        queue.done(job)
    assert released == [waiting]
    assert not queue.in_hand
