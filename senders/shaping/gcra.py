"""Paced permits: the generic cell rate algorithm over one number, the theoretical arrival time. Pure; times in µs.

A limit of N in a period spaces its permits by `interval_us`. A permit has a time. It may be used from then on, and is
void when it is late by `late_us`; a void permit is never given back, so a lost one leaves the limit under-used and
never exceeded. In a window no more can be used than have their times in it or within `late_us` before it. From that
follow, with a burst of 1 and `late_us` and `interval_us` as computed here, for all workers together:

- in any second, at most N/s + max(1, 2 %);
- in any minute, at most N, and so in any whole period of a limit by minute, hour or day.

A burst of B adds at most B - 1 to each.
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


@dataclass(frozen=True, slots=True)
class PacedLimit:
    """A limit that all workers share. `name` is its row."""

    name: str
    interval_us: int
    late_us: int
    burst: int = 1

    @classmethod
    def of(cls, name: str, rate: SendRate) -> "PacedLimit":
        """The limit with this rate, paced so that the promises of the module hold."""
        per_second = rate.count / rate.period_s
        extra = math.floor(max(1.0, 0.02 * per_second))
        late_us = min(MOST_LATE_US, int(extra * SECOND_US / per_second))
        window_s = max(rate.period_s, MINUTE_S)
        permits = per_second * window_s
        return cls(name, math.ceil((window_s * SECOND_US + late_us) / permits), late_us, rate.burst)

    @property
    def tolerance_us(self) -> int:
        """How much before its even spacing a permit may be used: the burst."""
        return (self.burst - 1) * self.interval_us

    @property
    def per_grant(self) -> int:
        """The most permits that a worker takes at once."""
        return max(1, GRANT_US // self.interval_us, self.burst)


@dataclass(frozen=True, slots=True)
class Grant:
    """Permits at `start_us`, and then every `interval_us`."""

    start_us: int
    interval_us: int
    count: int

    @property
    def times_us(self) -> list[int]:
        """The time of each permit."""
        return [self.start_us + number * self.interval_us for number in range(self.count)]


def grant(limit: PacedLimit, arrival_us: int, now_us: int, count: int) -> tuple[Grant | None, int]:
    """Takes `count` permits of a limit whose row says `arrival_us`. Returns them, and what the row says then.

    None if the limit is spent until later than AHEAD_US from now: ask again at `AHEAD_US` before the row's time. A row
    beyond the limit's horizon is of a clock that was set back, or of a slower limit: it counts as one of now.
    """
    at_us = now_us if arrival_us > now_us + horizon_us(limit) else max(arrival_us, now_us)
    if at_us - limit.tolerance_us > now_us + AHEAD_US:
        return None, arrival_us
    permits = Grant(at_us - limit.tolerance_us, limit.interval_us, count)
    return permits, at_us + count * limit.interval_us


def horizon_us(limit: PacedLimit) -> int:
    """How far ahead of the clock grants of this limit can bring its row."""
    return AHEAD_US + limit.tolerance_us + limit.per_grant * limit.interval_us
