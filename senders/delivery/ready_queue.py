"""The commands that may be sent now. The scheduler puts them in, the lanes take them out.

All lanes take from one queue, in the order in which the scheduler put the commands in. Lanes of their own for a domain
or a channel would each have such a queue.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from senders.policy.pipeline import DeliveryRequest
from senders.queue.ledger import DueCommand

CAPACITY = 64
"""Also the most commands taken at once. Their recipients are read then: with more of them, the last one's are older."""


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
    """Knows each job from `put` until `done`, so that the scheduler does not take the same command twice."""

    def __init__(self) -> None:
        self._jobs: asyncio.Queue[DeliveryJob] = asyncio.Queue()
        self._in_hand: set[str] = set()

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

    def put(self, job: DeliveryJob) -> None:
        """Queue a job. Never waits."""
        self._in_hand.add(job.due.command.id)
        try:
            self._jobs.put_nowait(job)
        except BaseException:
            self._in_hand.discard(job.due.command.id)
            raise

    async def get(self) -> DeliveryJob:
        """The next job; waits for one."""
        return await self._jobs.get()

    def done(self, job: DeliveryJob) -> None:
        """Let a job go, whatever became of it."""
        self._in_hand.discard(job.due.command.id)
