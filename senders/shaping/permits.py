"""The permits that a worker holds of one limit, and its idea of the server's clock. Pure; times in µs."""

from collections import deque
from dataclasses import dataclass

from senders.shaping.gcra import GRANT_US, Grant, PacedLimit

DRIFT = 100e-6
"""How much two clocks may part in a second: five times what cheap quartz does."""


@dataclass(slots=True)
class PermitCounts:
    """What became of permits so far."""

    granted: int = 0
    used: int = 0
    void: int = 0


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the server's clock shows: something between the two."""

    earliest_us: int
    latest_us: int


class PermitBook:
    """Used in the event loop's thread only."""

    def __init__(self, limit: PacedLimit) -> None:
        self.limit = limit
        self.counts = PermitCounts()
        self._permits: deque[tuple[int, int]] = deque()
        """Of each permit, from when and until when it may be used."""
        self._spent_until_us = 0

    def add(self, granted: Grant, now: ClockReading) -> None:
        """Takes in a grant. Permits of a burst have their times in the past: they may be used at once."""
        for at_us in granted.times_us:
            self._permits.append((at_us, max(at_us, now.earliest_us) + self.limit.late_us))
        self.counts.granted += granted.count

    def spent(self, until_us: int) -> None:
        """Notes that the limit gives no permit before then."""
        self._spent_until_us = until_us

    def next_us(self, now: ClockReading) -> int | None:
        """From when a permit may be used; None if the worker holds none."""
        while self._permits and self._permits[0][1] < now.latest_us:
            self._permits.popleft()
            self.counts.void += 1
        return self._permits[0][0] if self._permits else None

    def use(self, now: ClockReading) -> bool:
        """Uses a permit, if one may be used now."""
        at_us = self.next_us(now)
        if at_us is None or at_us > now.earliest_us:
            return False
        self._permits.popleft()
        self.counts.used += 1
        return True

    def wanted(self, now: ClockReading, waiting: int) -> int:
        """How many permits to ask for now, with so many mails waiting for one.

        The next grant is asked for before the last one ends, so that none of the limit is lost between them.
        """
        if now.latest_us < self._spent_until_us:
            return 0
        if self.next_us(now) is not None and self._permits[-1][0] > now.earliest_us + GRANT_US:
            return 0
        return max(0, min(self.limit.per_grant, waiting - len(self._permits)))

    def wake_us(self, now: ClockReading) -> int:
        """When to look again, with mails waiting: at the next permit, or when the limit gives one again."""
        at_us = self.next_us(now)
        return self._spent_until_us if at_us is None else at_us


class ServerClock:
    """The server's clock, from what it said and when it was asked. The answer that came fastest is the best one."""

    def __init__(self) -> None:
        self._ahead_us = 0.0
        """How far the server's clock is ahead of ours, at least."""
        self._error_us = float("inf")
        self._at_us = 0

    @property
    def known(self) -> bool:
        """Whether the server has said anything yet."""
        return self._error_us != float("inf")

    def observe(self, sent_us: int, received_us: int, server_us: int) -> None:
        """Notes an answer: the server's clock showed `server_us` at a moment between the two of ours."""
        error_us = float(received_us - sent_us)
        if error_us <= self._error_at(received_us):
            self._ahead_us, self._error_us, self._at_us = float(server_us - received_us), error_us, received_us

    def reading(self, our_us: int) -> ClockReading:
        """What the server's clock shows when ours shows `our_us`. Only if it is `known`."""
        drift_us = (our_us - self._at_us) * DRIFT
        earliest_us = our_us + self._ahead_us - drift_us
        return ClockReading(int(earliest_us), int(earliest_us + self._error_us + 2 * drift_us) + 1)

    def _error_at(self, our_us: int) -> float:
        return self._error_us + (our_us - self._at_us) * 2 * DRIFT if self.known else float("inf")
