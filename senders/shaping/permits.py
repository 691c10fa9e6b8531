"""The permits that a worker holds of one limit, and its idea of the server's clock. Pure; times in µs."""

from collections import deque
from dataclasses import dataclass

from senders.shaping.gcra import GRANT_US, Grant, PacedLimit, PermitRequest

DRIFT = 100e-6
"""How much two clocks may part in a second: five times what cheap quartz does."""
TRIPS = 3
"""Of so many last answers the fastest tells how long answers take: two hiccups in a row widen no limit."""


@dataclass(slots=True)
class PermitCounts:
    """What became of permits so far."""

    granted: int = 0
    used: int = 0
    void: int = 0
    late: int = 0
    """Of those granted, the ones that were void when they came."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the server's clock shows: something between the two. Answers of the server take `trip_us`."""

    earliest_us: int
    latest_us: int
    trip_us: int = 0

    @property
    def now_us(self) -> int:
        """The best guess: all workers are right by it where the way to the server takes as long as the way back."""
        return (self.earliest_us + self.latest_us) // 2

    @property
    def error_us(self) -> int:
        """How far apart the two are."""
        return self.latest_us - self.earliest_us


class PermitBook:
    """Used in the event loop's thread only."""

    def __init__(self, limit: PacedLimit) -> None:
        self.limit = limit
        self.counts = PermitCounts()
        self._permits: deque[tuple[int, int, int]] = deque()
        """Of each permit, from when it may be used, as of when it is late, and its spread."""
        self._spent_until_us = 0
        self._spread: tuple[int, int] = 0, 0
        """The spread of the limit's row, and until when it is kept."""

    def add(self, granted: Grant, now: ClockReading) -> None:
        """Takes in a grant. Permits of a burst have their times in the past: they may be used at once."""
        for at_us in granted.times_us:
            permit = at_us, max(at_us, granted.fresh_us), granted.spread_us
            self._permits.append(permit)
            self.counts.late += self._is_void(permit, now)
        self.counts.granted += granted.count

    def spent(self, until_us: int) -> None:
        """Notes that the limit gives no permit before then."""
        self._spent_until_us = until_us

    def shared(self, spread_us: int, until_us: int) -> None:
        """Notes the spread of the limit's row."""
        self._spread = spread_us, until_us

    def next_us(self, now: ClockReading) -> int | None:
        """From when a permit may be used; None if the worker holds none."""
        while self._permits and self._is_void(self._permits[0], now):
            self._permits.popleft()
            self.counts.void += 1
        return self._permits[0][0] if self._permits else None

    def _is_void(self, permit: tuple[int, int, int], now: ClockReading) -> bool:
        """Whether a permit is so late that, by the server's clock, it may be later than `late_us` and its spread."""
        _, as_of_us, spread_us = permit
        late_us = self.limit.late_us
        return now.now_us > as_of_us + min(late_us, late_us + spread_us - now.error_us)

    def use(self, now: ClockReading) -> bool:
        """Uses a permit, if one may be used now."""
        at_us = self.next_us(now)
        if at_us is None or at_us > now.now_us:
            return False
        self._permits.popleft()
        self.counts.used += 1
        return True

    def request(self, now: ClockReading, waiting: int) -> PermitRequest | None:
        """The permits to ask for now, with so many mails waiting for one.

        The next grant is asked for before the last one ends, so that none of the limit is lost between them.
        """
        if now.now_us < self._spent_until_us:
            return None
        own_us, (shared_us, until_us) = self.limit.spread_for(now.trip_us), self._spread
        limit = self.limit.widened(max(own_us, shared_us if now.now_us < until_us else 0))
        if self.next_us(now) is not None and self._permits[-1][0] > now.now_us + GRANT_US + 2 * limit.spread_us:
            return None
        count = min(limit.per_grant(own_us), waiting - len(self._permits))
        return PermitRequest(limit, count, own_us) if count > 0 else None

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
        self._trips_us: deque[int] = deque(maxlen=TRIPS)

    @property
    def known(self) -> bool:
        """Whether the server has said anything yet."""
        return self._error_us != float("inf")

    @property
    def trip_us(self) -> int:
        """How long answers take; 0 before the first one."""
        return min(self._trips_us, default=0)

    def observe(self, sent_us: int, received_us: int, server_us: int) -> None:
        """Notes an answer: the server's clock showed `server_us` at a moment between the two of ours.

        If it cannot have shown that, it was set, or it is another server's: then only this answer counts.
        """
        error_us = float(received_us - sent_us)
        self._trips_us.append(received_us - sent_us)
        if error_us <= self._error_at(received_us) or self._contradicts(sent_us, received_us, server_us):
            self._ahead_us, self._error_us, self._at_us = float(server_us - received_us), error_us, received_us

    def _contradicts(self, sent_us: int, received_us: int, server_us: int) -> bool:
        return not self.reading(sent_us).earliest_us <= server_us <= self.reading(received_us).latest_us

    def reading(self, our_us: int) -> ClockReading:
        """What the server's clock shows when ours shows `our_us`. Only if it is `known`."""
        drift_us = abs(our_us - self._at_us) * DRIFT
        earliest_us = our_us + self._ahead_us - drift_us
        return ClockReading(int(earliest_us), int(earliest_us + self._error_us + 2 * drift_us) + 1, self.trip_us)

    def _error_at(self, our_us: int) -> float:
        return self._error_us + (our_us - self._at_us) * 2 * DRIFT if self.known else float("inf")
