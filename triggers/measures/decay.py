"""Decay: how scores add up and fade, and the exact millisecond at which one falls below a line.

Exponential scores are one number: additions commute by scaling, so an event that comes late counts exactly as if it
had come in time (but for the ceiling, which is applied in the order of arrival). The other curves do not scale; they
keep their additions, at most MAX_PARTS of them: beyond that the two oldest become one at the newer's time, worth what
both are worth now. So no addition makes a score fall; the older one's share then fades as the newer's does, which is
wrong by no more than it was worth. A late addition counts exactly there too, again but for the ceiling.

Between additions every score falls or stays: points are never negative.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

MAX_PARTS = 256
MAX_SCORE = 1e15
"""The ceiling of scores without one. Beyond it doubles no longer count ones, and hostile points would grow for ever."""
_ROUNDED_DOWN = 1 - 2**-50
"""Keeps rounding from lifting a score above its ceiling."""
_FAR_MS = 100 * 365 * 86_400_000
"""The end of the search for a crossing: a score that lasts a century does not fade."""


class ScoreState(Struct, array_like=True, gc=False):
    """A score as of `at`. `parts` are the additions that curves other than exponential keep, oldest first."""

    value: float = 0.0
    at: int = 0
    last_event: str = ""
    parts: list[tuple[float, int]] = []


class Curve(Protocol):
    """How a score fades."""

    def read(self, state: ScoreState, at: int) -> float:
        """The value at an instant; for an earlier instant, the value at the last addition."""

    def add(self, state: ScoreState, points: float, at: int, ceiling: float) -> bool:
        """Adds `points`, zero or more, earned at `at`. Returns whether two additions were merged for it."""

    def falls_below(self, state: ScoreState, line: float) -> int | None:
        """The first millisecond at or after the last addition with a value below `line`, or None."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """Halves every `half_life_ms`."""

    half_life_ms: int

    def read(self, state: ScoreState, at: int) -> float:
        elapsed = at - state.at
        return state.value * 2.0 ** (-elapsed / self.half_life_ms) if elapsed > 0 else state.value

    def add(self, state: ScoreState, points: float, at: int, ceiling: float) -> bool:
        elapsed = at - state.at
        if elapsed > 0:
            value = state.value * 2.0 ** (-elapsed / self.half_life_ms) + points
            state.at = at
        elif elapsed == 0:
            value = state.value + points
        else:
            value = state.value + points * 2.0 ** (elapsed / self.half_life_ms)
        state.value = value if value < ceiling else ceiling
        return False

    def falls_below(self, state: ScoreState, line: float) -> int | None:
        """Solves for the time, then corrects it by exact evaluation on either side."""
        if state.value < line:
            return state.at
        at = state.at + int(self.half_life_ms * math.log2(state.value / line))
        while at > state.at and self.read(state, at - 1) < line:
            at -= 1
        while self.read(state, at) >= line:
            at += 1
        return at


@dataclass(frozen=True, slots=True)
class _Summed:
    """A curve that keeps its additions; subclasses give the share of an addition that remains after a time."""

    def share(self, age_ms: int) -> float:
        raise NotImplementedError

    def read(self, state: ScoreState, at: int) -> float:
        at = max(at, state.at)
        return math.fsum(points * self.share(at - since) for points, since in state.parts)

    def add(self, state: ScoreState, points: float, at: int, ceiling: float) -> bool:
        now = max(at, state.at)
        parts = [part for part in state.parts if self.share(now - part[1]) > 0]
        left = self.share(now - at)
        room = ceiling - self.read(state, now)
        if left > 0 and room > 0:
            parts.append((min(points, room / left), at))
            parts.sort(key=lambda part: part[1])
        too_many = len(parts) > MAX_PARTS
        while len(parts) > MAX_PARTS:
            parts[:2] = [self._merged(parts[0], parts[1], now)]
        state.parts = parts
        state.at = now
        state.value = self.read(state, now)
        return too_many

    def _merged(self, older: tuple[float, int], newer: tuple[float, int], now: int) -> tuple[float, int]:
        worth = older[0] * (self.share(now - older[1]) / self.share(now - newer[1]))
        return newer[0] + worth * _ROUNDED_DOWN, newer[1]

    def falls_below(self, state: ScoreState, line: float) -> int | None:
        """By bisection over whole milliseconds: exact, since the value never rises between additions."""
        low, high = state.at, state.at + _FAR_MS
        if self.read(state, low) < line:
            return low
        if self.read(state, high) >= line:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self.read(state, middle) < line:
                high = middle
            else:
                low = middle
        return high


@dataclass(frozen=True, slots=True)
class Linear(_Summed):
    """Each addition falls evenly to nothing over `lifetime_ms`."""

    lifetime_ms: int

    def share(self, age_ms: int) -> float:
        return max(0.0, 1.0 - age_ms / self.lifetime_ms)


@dataclass(frozen=True, slots=True)
class Step(_Summed):
    """Each addition counts whole until it is `lifetime_ms` old, then not at all."""

    lifetime_ms: int

    def share(self, age_ms: int) -> float:
        return 1.0 if age_ms < self.lifetime_ms else 0.0


@dataclass(frozen=True, slots=True)
class Power(_Summed):
    """An addition of age t keeps (1 + t/scale)^-exponent (the Pareto, or Lomax, tail)."""

    scale_ms: int
    exponent: float

    def share(self, age_ms: int) -> float:
        return float((1.0 + age_ms / self.scale_ms) ** -self.exponent)
