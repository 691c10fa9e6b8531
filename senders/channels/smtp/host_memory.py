"""Remembers for a while what went wrong with hosts, so that not every connection finds it out again."""

import time
from collections.abc import Callable

MAX_ENTRIES = 10_000


class HostMemory:
    """Bounded: when it is full, the oldest entry goes."""

    def __init__(self, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._until: dict[str, float] = {}

    def note(self, key: str, keep_s: float | None = None) -> bool:
        """Remember it from now on, for `keep_s` if that is given.

        Returns whether it was not remembered before, or not for long enough."""
        known = self._until.pop(key, None)
        if len(self._until) >= MAX_ENTRIES:
            del self._until[next(iter(self._until))]
        self._until[key] = self._clock() + (self._keep_s if keep_s is None else keep_s)
        return known is None

    def has(self, key: str) -> bool:
        """Whether it was noted lately."""
        return self._clock() < self._until.get(key, float("-inf"))

    def forget(self, key: str) -> bool:
        """Forget it; returns whether there was anything to forget."""
        return self._until.pop(key, None) is not None
