"""An index of pending timers: which key is due next. The timers themselves are in each key's state."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

SMALL = 1_000
"""A heap of up to this many entries is not rebuilt, even if more than half of them are stale."""


class TimerIndex:
    """A heap of (due, key) in which only the latest setting of each key counts.

    A changed or cleared entry stays in the heap as stale until it is popped, and is skipped then. So every operation
    costs O(log n). The heap is rebuilt when more than half of it is stale.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []
        self._due: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._due)

    @property
    def entries(self) -> int:
        """The number of entries in the heap, including stale ones."""
        return len(self._heap)

    def set(self, key: bytes, due_ms: int | None) -> None:
        """Sets when `key` is next due; None clears it."""
        if due_ms is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due_ms:
            self._due[key] = due_ms
            heappush(self._heap, (due_ms, key))
            if len(self._heap) > 2 * len(self._due) + SMALL:
                self._heap = [(due_ms, key) for key, due_ms in self._due.items()]
                heapify(self._heap)

    def fill(self, due_ms_by_key: Iterable[tuple[bytes, int]]) -> None:
        """Sets many keys at once, none of which is set yet. For a recovery."""
        self._due.update(due_ms_by_key)
        self._heap = [(due_ms, key) for key, due_ms in self._due.items()]
        heapify(self._heap)

    def clear(self) -> None:
        """Removes everything."""
        self._heap.clear()
        self._due.clear()

    def pop_due(self, now_ms: int) -> tuple[int, bytes] | None:
        """Removes and returns the entry (due, key) that is due first; None if none is due at `now_ms`."""
        while self._heap and self._heap[0][0] <= now_ms:
            entry = heappop(self._heap)
            due_ms, key = entry
            if self._due.get(key) == due_ms:
                del self._due[key]
                return entry
        return None
