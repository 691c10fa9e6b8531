"""How many events a worker takes of one key: at most its share in any window. Pure; times in seconds of any clock."""

from collections import deque

SLOTS = 128
"""A window is remembered in so many parts, so it costs the same for a million calls as for a hundred. Events of one
part leave the window together, when the last of them is old enough: that leaves less than 1 % of a share unused."""

WITHOUT_SHARE_S = 1.0
"""After so long a worker without a share has one."""


class EventWindow:
    """The events of the last `window_s`.

    A call is taken as a whole or not at all. One of more events than the share is taken when the window is empty, and
    then nothing is until its events would have fitted.
    """

    def __init__(self, window_s: float = 1.0) -> None:
        self.window_s = window_s
        self.share = 0
        self.wanted = 0
        self.largest = 1
        """The events that callers asked for, whether taken or not, and those of the largest call. Who reads them sets
        them back."""
        self._parts: deque[list[float]] = deque()
        """Of each part: when it began, when its last event came, how many there are."""
        self._used = 0.0
        self._large = 0
        """The events of a call larger than the share, while they are paid for."""
        self._large_at_s = 0.0

    def take(self, events: int, now_s: float) -> float:
        """Takes a call of so many events and returns 0, or returns after how many seconds to try again."""
        self.wanted += events
        if events > self.largest:
            self.largest = events
        if self.share <= 0:
            return WITHOUT_SHARE_S
        if self._large:
            wait_s = self._large_at_s + self.window_s * max(1.0, self._large / self.share) - now_s
            if wait_s > 0:
                return wait_s
            self._large = 0
        self._forget(now_s)
        if self._used + events <= self.share:
            self._note(events, now_s)
            return 0.0
        if self._parts:
            return self._wait_s(events, now_s)
        self._large, self._large_at_s = events, now_s
        return 0.0

    def _forget(self, now_s: float) -> None:
        parts = self._parts
        while parts and parts[0][1] + self.window_s <= now_s:
            self._used -= parts.popleft()[2]

    def _note(self, events: int, now_s: float) -> None:
        self._used += events
        parts = self._parts
        if parts and now_s < parts[-1][0] + self.window_s / SLOTS:
            parts[-1][1] = now_s
            parts[-1][2] += events
        else:
            parts.append([now_s, now_s, events])

    def _wait_s(self, events: int, now_s: float) -> float:
        """After how long enough events have left the window, if no more come into its last part."""
        free = self.share - self._used
        for _, last_s, count in self._parts:
            free += count
            if free >= min(events, self.share):
                return last_s + self.window_s - now_s
        return self.window_s
