"""Paced permits: the generic cell rate algorithm over one number, the theoretical arrival time. Pure; times in µs.

A limit of N in a period spaces its permits by `interval_us`. A permit has a time. It may be used from then on, and is
void when it is late by `late_us`; a void permit is never given back, so a lost one leaves the limit under-used and
never exceeded. In a window no more can be used than have their times in it or within `late_us` before it. From that
follow, with a burst of 1 and `late_us` and `interval_us` as computed here, for all workers together:

- in any second, at most N/s + max(1, 2 %);
- in any minute, at most N, and so in any whole period of a limit by minute, hour or day.

A burst of B adds at most B - 1 to each.

A worker knows the server's clock only to within its round trip to the server. Where that is longer than a permit may be
late, the limit gets a `spread_us`: that of the slowest worker, in the limit's row, for all of them. Permits are then
granted so much further ahead that they arrive in time, and are spaced so much wider that the minute holds. The second
holds as far as the way to the server takes as long as the way back.
"""

import math
from dataclasses import dataclass

from senders.shaping.quantities import SendRate

SECOND_US = 1_000_000
MOST_LATE_US = 50_000
"""Later than this, an event loop is so busy that a permit is of no use."""
MINUTE_S = 60
AHEAD_US = 300_000
"""How far in the future permits are granted: what a killed worker loses of a limit is less than twice this."""
GRANT_US = 100_000
"""The stretch of a limit that one grant takes, or one permit if that is longer."""
FIRST_SPREAD_US = 16_000
MOST_SPREAD_US = FIRST_SPREAD_US << 9
"""Eight seconds. Permits of a worker whose answers take longer are void."""
KEEP_SPREAD_US = 60 * SECOND_US
"""How long a limit stays wide after the last grant to a worker that needs it."""


@dataclass(frozen=True, slots=True)
class PacedLimit:
    """A limit that all workers share. `name` is its row."""

    name: str
    rate: SendRate
    interval_us: int
    late_us: int
    spread_us: int = 0

    @classmethod
    def of(cls, name: str, rate: SendRate, spread_us: int = 0) -> "PacedLimit":
        """The limit with this rate, paced so that the promises of the module hold."""
        per_second = rate.count / rate.period_s
        extra = math.floor(max(1.0, 0.02 * per_second))
        late_us = min(MOST_LATE_US, int(extra * SECOND_US / per_second))
        window_s = max(rate.period_s, MINUTE_S)
        permits = per_second * window_s
        interval_us = math.ceil((window_s * SECOND_US + late_us + spread_us) / permits)
        return cls(name, rate, interval_us, late_us, spread_us)

    def widened(self, spread_us: int) -> "PacedLimit":
        """The same limit for workers whose answers take so long."""
        return self if spread_us == self.spread_us else PacedLimit.of(self.name, self.rate, spread_us)

    def spread_for(self, trip_us: int) -> int:
        """The spread that a worker needs whose answers take `trip_us`: 0 as long as permits may be late by twice that.

        It doubles from step to step, so that the limit does not change with each answer.
        """
        if trip_us <= self.late_us // 2:
            return 0
        steps = (max(trip_us, FIRST_SPREAD_US) - 1) // FIRST_SPREAD_US
        return min(FIRST_SPREAD_US << steps.bit_length(), MOST_SPREAD_US)

    @property
    def tolerance_us(self) -> int:
        """How much before its even spacing a permit may be used: the burst."""
        return (self.rate.burst - 1) * self.interval_us

    def per_grant(self, spread_us: int = 0) -> int:
        """The most permits that a worker takes at once that needs this spread."""
        return max(1, (GRANT_US + 2 * spread_us) // self.interval_us, self.rate.burst)


@dataclass(frozen=True, slots=True)
class PermitRequest:
    """So many permits of a limit, asked for by a worker that itself needs a spread of `spread_us`."""

    limit: PacedLimit
    count: int
    spread_us: int = 0

    @property
    def ahead_us(self) -> int:
        """How far in the future the permits may begin. A slow worker asks for more, or the fast ones would take all."""
        return AHEAD_US + 2 * self.limit.spread_us + (2 * GRANT_US if self.spread_us else 0)

    @property
    def horizon_us(self) -> int:
        """How far ahead of the clock grants of this limit can bring its row while it has no spread."""
        return AHEAD_US + self.limit.tolerance_us + self.limit.per_grant() * self.limit.interval_us


def spread_horizon_us(spread_us: int) -> int:
    """How much further than that grants with this spread can bring it: what is asked for ahead, a grant and a gap."""
    return 5 * spread_us + min(3 * GRANT_US, 1000 * spread_us)


@dataclass(frozen=True, slots=True)
class Grant:
    """Permits at `start_us`, and then every `interval_us`. Those with an earlier time count as of `fresh_us`."""

    start_us: int
    interval_us: int
    count: int
    fresh_us: int
    spread_us: int = 0

    @property
    def times_us(self) -> list[int]:
        """The time of each permit."""
        return [self.start_us + number * self.interval_us for number in range(self.count)]


@dataclass(frozen=True, slots=True)
class LimitRow:
    """What workers share of a limit: when its next permit is, and the spread, which is kept until `spread_until_us`."""

    arrival_us: int = 0
    spread_us: int = 0
    spread_until_us: int = 0


def grant(request: PermitRequest, row: LimitRow, now_us: int) -> tuple[Grant | None, LimitRow]:
    """Takes permits of a limit. Returns them, and its row as it is then. `permit_table` does the same in SQL.

    None if the row has a wider spread than the request, or if the limit is spent: ask again with that spread, or at
    `ahead_us` before the row's time. A row beyond the horizon is of a clock that was set back, or of a slower limit: it
    counts as one of now. Where the spread changes, a gap of the difference keeps uses on both sides of it apart.
    """
    limit = request.limit
    if limit.spread_us < row.spread_us and now_us < row.spread_until_us:
        return None, row
    gap_us = abs(limit.spread_us - row.spread_us)
    widest_us = max(limit.spread_us, row.spread_us)
    horizon_us = request.horizon_us + spread_horizon_us(widest_us)
    arrival_us = now_us if row.arrival_us > now_us + horizon_us else row.arrival_us
    at_us = max(arrival_us + gap_us, now_us + limit.spread_us)
    if at_us - limit.tolerance_us > now_us + request.ahead_us:
        return None, row
    start_us, fresh_us = at_us - limit.tolerance_us, now_us + limit.spread_us
    until_us = now_us + KEEP_SPREAD_US if request.spread_us >= limit.spread_us else 0
    taken = LimitRow(at_us + request.count * limit.interval_us, limit.spread_us, max(row.spread_until_us, until_us))
    return Grant(start_us, limit.interval_us, request.count, fresh_us, limit.spread_us), taken
