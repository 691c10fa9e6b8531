"""Up to which time each class of the queue has been read: a waiting row is read once for each time it becomes due.

What was read is in the ready queue, or has its answer, and is not passed again: not by the scheduler, and not by
PostgreSQL, which would otherwise step over every row that was there before and that an old snapshot still keeps.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from senders.queue.ledger import DueStatus, QueueClass

WHOLE_S = 60.0
"""How often the classes are read from their beginning: for rows of others whose clock or commit was late."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class DueOrder:
    """Used in the event loop's thread only, and read by one task. Times in seconds are of the loop's clock.

    The time that a class is read by is here when its rows are due; in a line it is when they were admitted.

    `rewind` may come at any time, also between `expect` and `begin`, and between `after` and `read`: it counts.
    """

    def __init__(self) -> None:
        self._after: dict[QueueClass, datetime] = {}
        self._rewound: dict[QueueClass, datetime] = {}
        """To where a class was rewound since the last `after`."""
        self._partitions: frozenset[int] = frozenset()
        self._begun = False
        self._whole_at_s = 0.0

    def is_known(self, partitions: Collection[int], now_s: float = 0.0) -> bool:
        """Whether the classes of these partitions are known; if not, `expect` and `begin` make them so.

        Who gives no time, here and to `expect`, reads them from their beginning by `begin_again` alone.
        """
        return self._begun and self._partitions == frozenset(partitions) and now_s < self._whole_at_s

    def expect(self, partitions: Collection[int], now_s: float = 0.0) -> None:
        """The classes of these partitions are about to be found."""
        self._after = {}
        self._partitions = frozenset(partitions)
        self._begun = False
        self._whole_at_s = now_s + WHOLE_S

    def begin(self, classes: Iterable[QueueClass]) -> None:
        """Read these classes, which were found since `expect`, from their beginning."""
        self._after |= dict.fromkeys(classes, BEGINNING)
        self._begun = True

    def begin_again(self) -> None:
        """Read everything from its beginning the next time."""
        self._whole_at_s = 0.0

    def after(self, above: int | None = None, *, webhooks: bool | None = None) -> Mapping[QueueClass, datetime]:
        """Where to read on: the time of each class with a priority above this one, of webhooks only, or of none."""
        self._rewound.clear()
        classes = ((of, at) for of, at in self._after.items() if webhooks is None or of.of_webhooks is webhooks)
        return {of: at for of, at in classes if above is None or of.priority > above}

    def read(self, due: Iterable[DueStatus]) -> None:
        """These have been read since `after`, and all that became due before them in their classes."""
        for status in due:
            of = status.queue_class
            read_to = max(status.due_at, self._after[of])
            self._after[of] = min(read_to, self._rewound.get(of, read_to))

    def rewind(self, queue_class: QueueClass, due_at: datetime) -> None:
        """Something in this class is due since then that was not there, or was let go without an answer."""
        if queue_class.partition in self._partitions:
            for times in (self._after, self._rewound):
                times[queue_class] = min(due_at, times.get(queue_class, due_at))
