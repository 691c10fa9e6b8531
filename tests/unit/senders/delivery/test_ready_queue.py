"""The ready queue: what waits and what is on its way, and room for what overtakes."""

from datetime import UTC, datetime
from typing import Any

from drivers.running_senders import a_command

from schemas.vocabulary import LedgerState
from senders.delivery.ready_queue import CAPACITY, DeliveryJob, ReadyQueue
from senders.queue.ledger import DueCommand

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def a_job(priority: int) -> DeliveryJob:
    command = a_command("u1", "h", priority=priority)
    request: Any = None  # the queue does not look at it
    return DeliveryJob(DueCommand(command, 0, LedgerState.ADMITTED, 0, NOW, NOW), request)


def id_of(job: DeliveryJob) -> str:
    return job.due.command.id


def test_a_job_that_begins_waits_no_more_and_stays_in_hand() -> None:
    queue, job = ReadyQueue(), a_job(50)
    queue.put(job)

    queue.begin(id_of(job))

    assert queue.job(id_of(job)) is job
    assert (dict(queue.waiting), list(queue.in_hand), queue.lowest_priority) == ({}, [id_of(job)], None)


def test_a_full_queue_has_room_for_what_overtakes_it() -> None:
    queue = ReadyQueue()
    assert queue.lowest_priority is None
    for _ in range(CAPACITY):
        queue.put(a_job(50))
    assert (queue.low, queue.room, queue.has_urgent_room, queue.lowest_priority) == (False, 0, True, 50)
    for _ in range(CAPACITY):
        queue.put(a_job(90))
    assert not queue.has_urgent_room


def test_a_large_queue_takes_no_more_at_once_than_a_small_one() -> None:
    queue = ReadyQueue(capacity=10 * CAPACITY)
    for _ in range(CAPACITY):
        queue.put(a_job(50))

    assert (queue.room, queue.low) == (CAPACITY, True)


def test_a_job_let_go_before_its_mail_began_is_reported_and_one_that_began_is_not() -> None:
    released: list[DeliveryJob] = []
    queue = ReadyQueue(released.append)
    waiting, begun = a_job(50), a_job(50)
    for job in (waiting, begun):
        queue.put(job)
    queue.begin(id_of(begun))
    begun.started = True
    for job in (waiting, begun):
        queue.done(id_of(job))

    assert released == [waiting]
    assert not queue.in_hand
    assert queue.lowest_priority is None


def test_a_job_that_is_taken_out_is_forgotten_without_a_word() -> None:
    released: list[DeliveryJob] = []
    queue, job = ReadyQueue(released.append), a_job(50)
    queue.put(job)

    queue.take_out(id_of(job))

    assert (released, list(queue.in_hand), queue.room) == ([], [], CAPACITY)


def test_letting_a_job_go_that_was_taken_out_meanwhile_changes_nothing() -> None:
    released: list[DeliveryJob] = []
    queue, job = ReadyQueue(released.append), a_job(50)
    queue.put(job)
    queue.take_out(id_of(job))

    queue.done(id_of(job))

    assert (released, list(queue.in_hand)) == ([], [])
