"""The index of pending timers: which user is due next. The timers themselves live in each user's state."""

from heapq import heappop, heappush


class TimerIndex:
    """A heap of (due, key) in which each key counts at its latest setting only.

    An entry that was moved or cleared stays in the heap until it comes up, and is skipped there: both operations
    cost O(log n), and nothing scans.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []
        self._due: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: bytes, due_ms: int | None) -> None:
        """Sets or, with None, clears the instant at which `key` is next due."""
        if due_ms is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due_ms:
            self._due[key] = due_ms
            heappush(self._heap, (due_ms, key))

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
