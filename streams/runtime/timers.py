"""The index of pending timers: which user is due next. The timers themselves live in each user's state."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

SMALL = 1_000
"""Of a heap no larger than this nobody minds the half that is stale."""


class TimerIndex:
    """A heap of (due, key) in which each key counts at its latest setting only.

    An entry that was moved or cleared stays in the heap until it comes up, and is skipped there: both operations
    cost O(log n), and nothing scans. Where more than half of a heap is such entries, it is made anew.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []
        self._due: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._due)

    @property
    def entries(self) -> int:
        """How many entries the heap holds, stale ones too."""
        return len(self._heap)

    def set(self, key: bytes, due_ms: int | None) -> None:
        """Sets or, with None, clears the instant at which `key` is next due."""
        if due_ms is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due_ms:
            self._due[key] = due_ms
            heappush(self._heap, (due_ms, key))
            if len(self._heap) > 2 * len(self._due) + SMALL:
                self._heap = [(due_ms, key) for key, due_ms in self._due.items()]
                heapify(self._heap)

    def fill(self, due_ms_by_key: Iterable[tuple[bytes, int]]) -> None:
        """Sets many at once, of keys that are not set: what a recovery found."""
        self._due.update(due_ms_by_key)
        self._heap = [(due_ms, key) for key, due_ms in self._due.items()]
        heapify(self._heap)

    def clear(self) -> None:
        """Forgets everything."""
        self._heap.clear()
        self._due.clear()

    def pop_due(self, now_ms: int) -> bytes | None:
        """Takes out the key that is due first, or None where nothing is due at `now_ms`."""
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, key = heappop(self._heap)
            if self._due.get(key) == due_ms:
                del self._due[key]
                return key
        return None
