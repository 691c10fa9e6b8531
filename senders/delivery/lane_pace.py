"""How many mails of each lane begin in a second, as of the last half minute."""

from senders.shaping.lane_state import LaneKey

WINDOW_S = 30.0
MAX_LANES = 10_000


class LanePace:
    """Two counters a lane: of this window, and of the one before. Used in the event loop's thread only."""

    def __init__(self) -> None:
        self._counts: dict[LaneKey, tuple[int, int, int]] = {}
        """The number of the window, what began in it, and in the one before."""

    def began(self, lane: LaneKey, now_s: float) -> None:
        """A mail begins."""
        window, this, before = self._at(lane, now_s)
        self._counts.pop(lane, None)
        if len(self._counts) >= MAX_LANES:
            del self._counts[next(iter(self._counts))]
        self._counts[lane] = window, this + 1, before

    def per_second(self, lane: LaneKey, now_s: float) -> float:
        """The mails that began in the last WINDOW_S, a second."""
        window, this, before = self._at(lane, now_s)
        left = 1 - (now_s / WINDOW_S - window)
        return (this + before * left) / WINDOW_S

    def _at(self, lane: LaneKey, now_s: float) -> tuple[int, int, int]:
        window = int(now_s / WINDOW_S)
        number, this, before = self._counts.get(lane, (window, 0, 0))
        if number == window:
            return window, this, before
        return window, 0, this if number == window - 1 else 0
