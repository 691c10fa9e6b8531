"""The commands that may be sent now, between the scheduler and the lanes of one process.

It is short, because the ledger is the queue. The highest priority comes first, then what became due first.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from senders.policy.pipeline import DeliveryRequest
from senders.queue.ledger import DueCommand

CAPACITY = 64
"""Also the most commands taken at once."""


@dataclass(slots=True)
class DeliveryJob:
    """A command that may be sent, and how far its sending has got."""

    due: DueCommand
    request: DeliveryRequest
    started: bool = False
    """Whether its ledger row says `started`."""
    handed_over: bool = False
    """Whether the receiver may have the mail."""


class ReadyQueue:
    """Knows each job from `put` until `done`, so that the scheduler does not take the same command twice.

    `on_release` is called with each job that was let go before its mail began.
    """

    def __init__(self, on_release: Callable[[DeliveryJob], None] = lambda _: None) -> None:
        self._jobs: asyncio.PriorityQueue[tuple[int, datetime, int, DeliveryJob]] = asyncio.PriorityQueue()
        self._in_hand: set[str] = set()
        self._numbers = count()
        self._waiting: dict[int, int] = {}
        """How many jobs of each priority wait here."""
        self._on_release = on_release

    @property
    def in_hand(self) -> Collection[str]:
        """The ids of the commands that wait here or are with a lane."""
        return self._in_hand

    @property
    def room(self) -> int:
        """How many more jobs the scheduler should take."""
        return CAPACITY - self._jobs.qsize()

    @property
    def low(self) -> bool:
        """Whether it is time to take more: at least half of the queue is free."""
        return self.room >= CAPACITY // 2

    @property
    def lowest_priority(self) -> int | None:
        """The lowest priority that waits here."""
        return min(self._waiting, default=None)

    @property
    def has_urgent_room(self) -> bool:
        """Whether jobs may be put that overtake others: up to twice the capacity."""
        return self._jobs.qsize() < 2 * CAPACITY

    def put(self, job: DeliveryJob) -> None:
        """Queue a job. Never waits."""
        priority = job.due.command.priority
        waiting = self._waiting.get(priority, 0) + 1
        entry = (-priority, job.due.due_at, next(self._numbers), job)
        self._in_hand.add(job.due.command.id)
        try:
            self._jobs.put_nowait(entry)
        except BaseException:
            self._in_hand.discard(job.due.command.id)
            raise
        self._waiting[priority] = waiting

    async def get(self) -> DeliveryJob:
        """The next job; waits for one."""
        *_, job = await self._jobs.get()
        priority = job.due.command.priority
        self._waiting[priority] -= 1
        if not self._waiting[priority]:
            del self._waiting[priority]
        return job

    def done(self, job: DeliveryJob) -> None:
        """Let a job go, whatever became of it."""
        self._in_hand.discard(job.due.command.id)
        if not job.started:
            self._on_release(job)
