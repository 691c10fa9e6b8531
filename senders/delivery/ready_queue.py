"""The commands that may be sent now, between the scheduler and the lanes of one process.

It is short, because the ledger is the queue. Which of them begins next is the lane board's decision.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

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

    def due_since(self, at: datetime) -> None:
        """Its row waits in no line any more, and is not due before this time."""
        self.due = replace(self.due, due_at=at, behind=None)


class ReadyQueue:
    """Knows each job from `put` until `done`, so that the scheduler does not take the same command twice.

    `on_release` is called with each job that was let go before its mail began.
    """

    def __init__(self, on_release: Callable[[DeliveryJob], None] = lambda _: None, capacity: int = CAPACITY) -> None:
        self._jobs: dict[str, DeliveryJob] = {}
        self._waiting: dict[str, DeliveryJob] = {}
        self._priorities: dict[int, int] = {}
        """How many jobs of each priority wait here."""
        self._from_lines: dict[int, int] = {}
        """How many jobs wait here that came from each line."""
        self._on_release = on_release
        self._capacity = capacity

    @property
    def in_hand(self) -> Collection[str]:
        """The ids of the commands that wait here or are being sent."""
        return self._jobs.keys()

    @property
    def waiting(self) -> Mapping[str, DeliveryJob]:
        """The jobs that wait here, by the ids of their commands."""
        return self._waiting

    @property
    def room(self) -> int:
        """How many more jobs the scheduler should take now."""
        return min(CAPACITY, self._capacity - len(self._waiting))

    @property
    def low(self) -> bool:
        """Whether it is time to take more: at least half of the queue is free."""
        return len(self._waiting) <= self._capacity // 2

    @property
    def lowest_priority(self) -> int | None:
        """The lowest priority that waits here."""
        return min(self._priorities, default=None)

    @property
    def has_urgent_room(self) -> bool:
        """Whether jobs may be put that overtake others: up to twice the capacity."""
        return len(self._waiting) < 2 * self._capacity

    def from_line(self, line: int) -> int:
        """How many jobs wait here that came from this line in the ledger."""
        return self._from_lines.get(line, 0)

    def put(self, job: DeliveryJob) -> None:
        """Queue a job. Never waits."""
        command = job.due.command
        self._count(job, 1)
        self._jobs[command.id] = self._waiting[command.id] = job

    def job(self, command_id: str) -> DeliveryJob:
        """A job that is in hand."""
        return self._jobs[command_id]

    def begin(self, command_id: str) -> None:
        """A job waits no more: it is being sent."""
        self._count(self._waiting.pop(command_id), -1)

    def take_out(self, command_id: str) -> None:
        """Forget a job that waits: its ledger row gets an answer instead, or another worker has it."""
        self.begin(command_id)
        del self._jobs[command_id]

    def done(self, command_id: str) -> None:
        """Let a job go, whatever became of it. One that was taken out meanwhile is gone already."""
        waiting = self._waiting.pop(command_id, None)
        if waiting is not None:
            self._count(waiting, -1)
        job = self._jobs.pop(command_id, None)
        if job is not None and not job.started:
            self._on_release(job)

    def _count(self, job: DeliveryJob, change: int) -> None:
        _add(self._priorities, job.due.command.priority, change)
        if job.due.behind is not None:
            _add(self._from_lines, job.due.behind, change)


def _add(counts: dict[int, int], key: int, change: int) -> None:
    """Change a count; those that are 0 are left out."""
    counts[key] = counts.get(key, 0) + change
    if not counts[key]:
        del counts[key]
